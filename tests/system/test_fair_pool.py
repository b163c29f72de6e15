"""Threads take objects first come, first served."""

import threading
from collections.abc import Callable

import pytest

from mammoscope.system.fair_pool import FairPool


def start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.001)


def test_the_longest_waiting_thread_is_next():
    pool = FairPool(["only"])
    taken = []
    item = pool.take()

    def work(number: int) -> None:
        held = pool.take()
        taken.append(number)
        pool.give_back(held)

    threads = []
    for number in range(5):
        threads.append(start(lambda number=number: work(number)))
        until(lambda number=number: len(pool._waiting) == number + 1)
    assert pool.contended
    assert pool.take_idle() is None
    pool.give_back(item)
    for thread in threads:
        thread.join()
    assert taken == [0, 1, 2, 3, 4]
    assert not pool.contended
    assert pool.drain() == ["only"]
    assert pool.take_idle() is None


def test_nobody_overtakes_those_who_wait():
    pool = FairPool(["only"])
    item = pool.take()
    waiting = start(pool.take)
    until(lambda: pool.contended)
    pool.give_back(item)
    assert pool.take_idle() is None
    waiting.join()


def test_a_replacement_can_be_given_back():
    pool = FairPool(["first"])
    pool.take()
    pool.give_back("second")
    assert pool.take() == "second"


def test_an_error_of_the_check_ends_the_wait_and_loses_nothing():
    pool = FairPool(["only"])
    item = pool.take()

    def gone() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        pool.take(gone)
    pool.give_back(item)
    assert pool.take(gone) == "only"


def test_an_object_granted_during_an_error_goes_to_the_next():
    pool = FairPool(["only"])
    item = pool.take()

    def gone() -> None:
        pool.give_back(item)  # granted to the very thread that gives up
        raise ConnectionError

    with pytest.raises(ConnectionError):
        pool.take(gone)
    assert pool.take_idle() == "only"
