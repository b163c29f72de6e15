"""Ctrl-C during native code is raised after it."""

import signal
import threading
from collections.abc import Callable

import pytest

from mammoscope.system.interrupts import delaying_ctrl_c


def press_ctrl_c() -> None:
    """Call the handler as Python does; a real signal may reach a library's thread."""
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler)
    handler(signal.SIGINT, None)


@pytest.fixture(autouse=True)
def _default_handler():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if previous is not None:  # a library's
        signal.signal(signal.SIGINT, previous)


def interrupted(work: Callable[[Callable[[], None]], None]) -> None:
    """Run `work` in a block that delays Ctrl-C, which must end in KeyboardInterrupt."""

    def block() -> None:
        with delaying_ctrl_c() as raise_if_pressed:
            work(raise_if_pressed)

    with pytest.raises(KeyboardInterrupt):
        block()


def test_ctrl_c_is_raised_at_the_end_of_the_block():
    finished = []

    def work(_: object) -> None:
        press_ctrl_c()
        finished.append("the block")

    interrupted(work)
    assert finished == ["the block"]


def test_ctrl_c_is_raised_where_the_block_asks():
    finished = []

    def work(raise_if_pressed: Callable[[], None]) -> None:
        raise_if_pressed()
        press_ctrl_c()
        finished.append("a step")
        raise_if_pressed()
        finished.append("the next step")

    interrupted(work)
    assert finished == ["a step"]


def test_a_second_ctrl_c_is_raised_at_once():
    finished = []

    def work(_: object) -> None:
        press_ctrl_c()
        finished.append("first")
        press_ctrl_c()
        finished.append("second")

    interrupted(work)
    assert finished == ["first"]


def test_an_inner_block_leaves_the_delay_to_the_outer_one():
    finished = []

    def work(_: object) -> None:
        with delaying_ctrl_c():
            press_ctrl_c()
        finished.append("the inner block")

    interrupted(work)
    assert finished == ["the inner block"]


def test_an_error_in_the_block_is_not_hidden_by_ctrl_c():
    def block() -> None:
        with delaying_ctrl_c():
            press_ctrl_c()
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        block()


def test_other_threads_do_not_handle_ctrl_c():
    handlers = []

    def work() -> None:
        with delaying_ctrl_c():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
