"""Processes of one training: shares of batches, and how they end together."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.__main__ import main
from mammoscope.data.dataset import Example
from mammoscope.errors import RunError
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import Batches, PreprocessedExamples
from mammoscope.training.processes import Place, on_this_machine, run_together
from tests.training import work


def batches(images: int, place: Place, devices: int) -> Batches:
    """Batches of images whose grey is their number, in the order of the epoch 1."""
    pixels = np.broadcast_to(np.arange(images, dtype=np.uint8)[:, None, None], (images, 2, 2))
    examples = tuple(
        Example(Path(f"{number}.png"), number % 2, "train", str(number), str(number), True)
        for number in range(images)
    )
    config = TrainConfig.from_preset("smoke", {})
    made = Batches(
        PreprocessedExamples(examples, pixels, ("",) * images, {}), config, None, place, devices
    )
    made.begin_epoch(1)
    return made


@given(st.integers(1, 40), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_shares_are_equal_and_make_the_batches_of_one_process(
    images: int, count: int, each: int
) -> None:
    devices = count * each
    alone = batches(images, Place(0, 1, ""), devices)
    shares = [batches(images, Place(number, count, ""), devices) for number in range(count)]
    numbers = []
    for index in range(len(alone)):
        pixels, targets = alone[index]
        parts = [share[index] for share in shares]
        assert len({len(part) for part, _ in parts}) == 1
        assert (np.concatenate([part for part, _ in parts]) == pixels).all()
        labels = np.concatenate([target["logit"] for _, target in parts])
        assert (labels == targets["logit"]).all()
        assert len(pixels) % devices == 0
        numbers += pixels[:, 0, 0, 0].tolist()
    assert len(set(numbers)) == len(numbers) > images - devices


def test_all_processes_work(tmp_path: Path) -> None:
    places = on_this_machine(2)
    assert len({place.coordinator for place in places}) == 1
    assert places[0].coordinator.startswith("127.0.0.1:")
    assert run_together(places, partial(work.note, tmp_path)) is None
    cpus = [int((tmp_path / name).read_text().split()[1]) for name in ("0", "1")]
    assert sum(cpus) == max(2, len(os.sched_getaffinity(0)))


def test_the_error_of_a_process_ends_the_others() -> None:
    with pytest.raises(RunError, match="refused"):
        run_together(on_this_machine(2), work.refuse)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("killed", "Process 1 of 2 was killed by SIGKILL; the others were ended."),
        ("failed", "Process 1 of 2 failed with status 7; the others were ended."),
        ("lost", "A process on another machine has ended"),
    ],
)
def test_a_lost_process_ends_the_others(tmp_path: Path, how: str, message: str) -> None:
    lost = run_together(on_this_machine(2), partial(work.fail, how, tmp_path))
    assert lost is not None
    assert message in lost
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--processes 0", "0 is not above 0"),
        ("--processes 3", "cannot be divided among 3 processes"),
        ("--coordinator 10.0.0.1:9700", "must be given together"),
        ("--processes 2 --process 0", "must be given together"),
        ("--processes 2 --process 2 --coordinator 10.0.0.1:9700", "--process must be 0 to 1"),
        ("--processes 2 --process 0 --coordinator 10.0.0.1", "must be HOST:PORT"),
        ("--processes 2 --process 0 --coordinator 10.0.0.1:0", "must be HOST:PORT"),
        ("--processes 2 --process 0 --coordinator 10.0.0.1:65536", "must be HOST:PORT"),
    ],
)
def test_wrong_places_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    words = ["train", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options.split()]
    try:
        status = main(words)
    except SystemExit as err:
        status = err.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
