"""Images are read in child processes: same results, and no lasting effects."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammoscope.errors import (
    ClientGoneError,
    DecodingLimitError,
    ImageError,
    NotAMammogramError,
    UnsupportedImageError,
)
from mammoscope.imaging.display_image import DisplayOptions, make_display_image
from mammoscope.imaging.network_input import ReadingOptions, make_network_input
from mammoscope.imaging.pool import PoolLimits, ReadingPool
from mammoscope.imaging.pool import pool as pool_module
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.settings.channels import ChannelsName
from tests.dicom_objects import mammogram_object

SIZE = (96, 72)
OPTIONS = ReadingOptions(SIZE)
KEY = bytes(range(32))
ROOT = Path(__file__).resolve().parents[3]
LIMITS = PoolLimits(memory_bytes=512 << 20, cpu_s=2, wall_s=5.0)


@pytest.fixture(scope="module")
def pool() -> Iterator[ReadingPool]:
    with ReadingPool(2, LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def images(phantom_folder: Path) -> list[bytes]:
    files = [path.read_bytes() for path in sorted(phantom_folder.iterdir())]
    return [*files, mammogram_object()]


def slow_jpeg(scans: int = 20_000) -> bytes:
    """A progressive JPEG with many empty refinements: 330 kB, half a minute."""
    stream = io.BytesIO()
    Image.new("L", (2048, 2048), 128).save(stream, "JPEG", progressive=True)
    plain = stream.getvalue()
    marks = [i for i in range(len(plain) - 1) if plain[i : i + 2] == b"\xff\xda"]
    again = plain[marks[3] : marks[4]]
    return plain[: marks[4]] + again * scans + plain[marks[4] :]


def deep_png() -> bytes:
    """A small file with 49 million 16-bit samples."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((7000, 7000), np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def numbers(pool: ReadingPool) -> list[int]:
    return [process._number for process in pool._pool._idle if process is not None]


@pytest.mark.parametrize("channels", ["ranks", "three"])
def test_results_equal_those_in_the_same_process(
    pool: ReadingPool, images: list[bytes], channels: ChannelsName
) -> None:
    for data in images:
        options = ReadingOptions(SIZE, channels, pseudonym_key=KEY, display=True)
        here, there = make_network_input(data, options), pool.read(data, options)
        for name in ("source", "laterality", "view", "exposure", "warnings"):
            assert getattr(there, name) == getattr(here, name)
        for field in dataclasses.fields(Preprocessed):
            expected = getattr(here.preprocessed, field.name)
            assert np.array_equal(getattr(there.preprocessed, field.name), expected), field.name
        assert np.array_equal(there.display, here.display)
        assert set(there.stage_s) == {"decode", "prepare"}
        assert pool.read(data, OPTIONS).display is None


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", mammogram_object()[:2000]])
def test_refusals_equal_those_in_the_same_process(pool: ReadingPool, data: bytes) -> None:
    with pytest.raises(ImageError) as here:
        make_network_input(data, OPTIONS)
    with pytest.raises(ImageError) as there:
        pool.read(data, OPTIONS)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    assert there.value.known == here.value.known


def test_memory_is_limited(images: list[bytes]) -> None:
    pool = ReadingPool(1, PoolLimits(memory_bytes=96 << 20, cpu_s=20, wall_s=30.0))
    try:
        with pytest.raises(DecodingLimitError, match="memory"):
            pool.read(deep_png(), OPTIONS)
        pool.read(images[0], OPTIONS)
    finally:
        pool.close()


def test_processor_time_is_limited_for_each_image(pool: ReadingPool, images: list[bytes]) -> None:
    pool.read(images[0], OPTIONS)
    before = set(numbers(pool))
    with pytest.raises(DecodingLimitError):
        pool.read(slow_jpeg(), OPTIONS)
    assert len(before - set(numbers(pool))) == 1  # the process that read it has ended
    pool.read(images[0], OPTIONS)


@pytest.mark.parametrize("limit", ["CONTENDED_CPU_SHARE", "CONTENDED_WALL_SHARE"])
def test_slow_images_get_less_time_while_others_wait(
    images: list[bytes], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(pool_module, limit, 0.002)
    with ReadingPool(1, PoolLimits(cpu_s=300, wall_s=900.0)) as pool:
        refused: list[DecodingLimitError] = []

        def read_slow() -> None:
            with pytest.raises(DecodingLimitError) as caught:
                pool.read(slow_jpeg(), OPTIONS)
            refused.append(caught.value)

        reader = threading.Thread(target=read_slow)
        reader.start()
        while pool._pool._idle:
            time.sleep(0.01)
        time.sleep(1)
        assert not refused  # no other image waits, so it has 300 s
        pool.read(images[0], OPTIONS)
        reader.join(60)
        assert refused


def test_a_cancelled_reading_is_stopped(pool: ReadingPool, images: list[bytes]) -> None:
    began = time.monotonic()

    def gone() -> None:
        if time.monotonic() - began > 0.2:
            raise ClientGoneError

    with pytest.raises(ClientGoneError):
        pool.read(slow_jpeg(), OPTIONS, gone)
    for data in images:
        pool.read(data, OPTIONS)


def test_a_waiting_request_can_be_cancelled(images: list[bytes]) -> None:
    pool = ReadingPool(1, PoolLimits(memory_bytes=512 << 20, cpu_s=2, wall_s=5.0))

    def occupy() -> None:
        with pytest.raises(DecodingLimitError):
            pool.read(slow_jpeg(), OPTIONS)

    def leave() -> None:
        raise ClientGoneError

    busy = threading.Thread(target=occupy)
    busy.start()
    try:
        time.sleep(0.3)
        with pytest.raises(ClientGoneError):
            pool.read(images[0], OPTIONS, leave)
        pool.read(images[0], OPTIONS)  # waits in the queue
    finally:
        busy.join()
        pool.close()


def test_killed_processes_are_replaced(pool: ReadingPool, images: list[bytes]) -> None:
    for number in numbers(pool):
        os.kill(number, signal.SIGKILL)
    for _ in range(len(numbers(pool))):
        with pytest.raises(DecodingLimitError):
            pool.read(images[0], OPTIONS)
    pool.read(images[0], OPTIONS)
    pool._forkserver._process.kill()
    time.sleep(0.2)
    for _ in range(3):
        pool.read(images[0], OPTIONS)


def test_processes_have_no_socket_and_no_standard_stream(pool: ReadingPool) -> None:
    for number in numbers(pool):
        held = [str(link.readlink()) for link in Path(f"/proc/{number}/fd").iterdir()]
        assert not any(name.startswith("socket:") for name in held), held
        assert held.count(os.devnull) == 3


def test_descriptors_do_not_leak(pool: ReadingPool, images: list[bytes]) -> None:
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def read_all() -> None:
        for _ in range(pool.processes):
            pool.read(images[0], OPTIONS)

    read_all()
    before = held()
    for _ in range(3):
        with pytest.raises(NotAMammogramError):
            pool.read(not_a_mammogram(), OPTIONS)
        killed = numbers(pool)
        for number in killed:
            os.kill(number, signal.SIGKILL)
        for _ in killed:
            with pytest.raises(DecodingLimitError):
                pool.read(images[0], OPTIONS)
        read_all()
    assert held() == before


def not_a_mammogram() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("fork", [False, True])
def test_processes_end_with_their_parent(fork: bool) -> None:
    program = (
        "import time; from mammoscope.imaging.pool import ReadingPool; "
        f"pool = ReadingPool(2, fork={fork}); "
        "processes = [pool._forkserver.fork() for _ in range(2)]; "
        "print(pool._forkserver._process.pid, *[p._number for p in processes], flush=True); "
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        started = [int(number) for number in parent.stdout.readline().split()]
        assert len(started) == 3
        parent.kill()
    deadline = time.monotonic() + 30
    while any(is_alive(number) for number in started):
        assert time.monotonic() < deadline, "the processes outlive their parent"
        time.sleep(0.1)


FORKING_PROGRAM = """
import json, logging, os, signal, socket, sys, time
from pathlib import Path

from mammoscope.system.cpus import ONE_THREAD

os.environ.update(ONE_THREAD)

from mammoscope.imaging.network_input import ReadingOptions
from mammoscope.imaging.pool import ReadingPool

listener = socket.create_server(("127.0.0.1", 0))
signal.signal(signal.SIGUSR1, lambda *_: None)
secret = os.memfd_create("secret")
image = Path(sys.argv[1]).read_bytes()

def read():
    return pool.read(image, ReadingOptions((96, 72))).preprocessed.pixels.tolist()

def facts(number):
    process = Path(f"/proc/{number}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    links = [link.readlink() for link in (process / "fd").iterdir()]
    return {
        "is_fork": (process / "cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes(),
        "caught": int(status["SigCgt"], 16),
        "threads": int(status["Threads"]),
        "files": sorted(str(link).partition(":")[0] for link in links),
        "session": os.getsid(number) == os.getsid(0),
    }

pool = ReadingPool(1, fork=True)
server = pool._forkserver._process
pixels = [read()]
first = facts(server.pid)
reading = facts(pool._pool._idle[0]._number)
os.kill(pool._pool._idle[0]._number, signal.SIGKILL)
server.kill()
os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
try:
    read()
except Exception as err:
    lost = type(err).__name__
pixels.append(read())
second = facts(pool._forkserver._process.pid)
print(json.dumps([pixels, first, reading, lost, second, "pydicom" in sys.modules]))
"""


def test_a_forked_pool_has_nothing_of_its_parent(tmp_path: Path, images: list[bytes]) -> None:
    file = tmp_path / "image"
    file.write_bytes(images[0])
    result = subprocess.run(
        [sys.executable, "-c", FORKING_PROGRAM, file],
        cwd=ROOT, check=False, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    pixels, server, reading, lost, replacement, has_decoders = json.loads(result.stdout)
    expected = make_network_input(images[0], OPTIONS).preprocessed.pixels.tolist()
    assert pixels == [expected, expected]
    assert lost == "DecodingLimitError"
    assert not has_decoders  # the forkserver imports them, while its parent continues
    assert server["is_fork"]
    assert reading["is_fork"]
    assert not replacement["is_fork"]
    for each in (server, reading):
        assert each["threads"] == 1
        assert not each["caught"] & 1 << (signal.SIGUSR1 - 1)
        assert not each["session"]
    assert server["files"] == ["/dev/null", "/dev/null", "pipe", "socket"]
    assert reading["files"] == ["/dev/null"] * 3 + ["/memfd", "pipe", "pipe"]


def is_alive(number: int) -> bool:
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False
    return "\nState:\tZ" not in status


@pytest.mark.parametrize("longest_side", [None, 100])
def test_display_images_are_those_of_the_same_process(
    pool: ReadingPool, longest_side: int | None
) -> None:
    options = DisplayOptions(longest_side)
    data = mammogram_object()
    here, there = make_display_image(data, options), pool.read_display(data, options)
    assert np.array_equal(here.pixels, there.pixels)
    assert there.pixels.dtype == np.uint16
    assert (here.window, here.source_size, here.geometry) == (
        there.window,
        there.source_size,
        there.geometry,
    )
    with pytest.raises(UnsupportedImageError):
        pool.read_display(b"no image", options)


def test_reading_processes_hold_no_http_client() -> None:
    module = "mammoscope.imaging.pool.forkserver"
    program = f"import sys, {module}; print(*(n for n, m in sys.modules.items() if m is not None))"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = set(result.stdout.split())
    assert {"cv2", "pydicom"} <= loaded
    assert loaded.isdisjoint({"requests", "urllib3"})


def test_reading_imports_nothing_after_the_fork(tmp_path: Path, images: list[bytes]) -> None:
    """What is imported in a reading process is in memory once for each."""
    files = [tmp_path / str(number) for number in range(len(images))]
    for file, data in zip(files, images, strict=True):
        file.write_bytes(data)
    program = """
import sys
from pathlib import Path
from PIL import Image
from mammoscope.imaging.network_input import ReadingOptions, make_network_input
from mammoscope.imaging.pool import forkserver

Image.preinit()
before = set(sys.modules)
for file in sys.argv[1:]:
    make_network_input(Path(file).read_bytes(), ReadingOptions((96, 72)))
print(*set(sys.modules) - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, *files], cwd=ROOT, check=True, capture_output=True
    )
    assert result.stdout.split() == []
