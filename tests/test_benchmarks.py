"""Parts of the benchmarks: numbers, load, processes, tables. The servers are local."""

import http.client
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import archive, bulk, comparison, engine, train
from benchmarks.comparison import Seen
from benchmarks.contenders import ALL, OTHERS, OURS, REFERENCES, Network
from benchmarks.environments import PEERS, ROOT, locked_requirements
from benchmarks.load import Request, WrongAnswerError, ask, closed_loop
from benchmarks.measurement import Spread, percentile, rate
from benchmarks.processes import Server, ServerDiedError, proportional_set_size
from benchmarks.report import Bar, machine, ratio, table
from benchmarks.service import first_answer
from mammoscope.model.artifact.card import Precision

Respond = Callable[[int], tuple[int, bytes]]
"""Number of the request, from 0, to status and body."""


def probability(answer: bytes) -> float:
    return float(json.loads(answer)["probability"])


REQUEST = Request("/predict", b"image", "image/jpeg", probability)
INT8 = [peer for peer in OTHERS if peer.int8]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    respond: ClassVar[Respond]
    closes: ClassVar[bool]
    state: ClassVar[dict[str, Any]]

    def do_POST(self):
        state = self.state
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with state["lock"]:
            number = state["requests"]
            state["requests"] += 1
            state["inside"] += 1
            state["most_inside"] = max(state["most_inside"], state["inside"])
            state["bodies"].append(body)
        status, answer = type(self).respond(number)
        with state["lock"]:
            state["inside"] -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        # Silently, like servers that drop idle connections.
        self.close_connection = self.closes

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(respond: Respond, *, closes: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run a threaded server; yields its port and its requests."""
    state: dict[str, Any] = {
        "lock": threading.Lock(), "requests": 0, "inside": 0, "most_inside": 0, "bodies": [],
    }  # fmt: skip
    handler = type("Handler", (_Handler,), {
        "respond": staticmethod(respond), "closes": closes, "state": state,
    })  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], state
        finally:
            server.shutdown()
            thread.join()


def right(number: int) -> tuple[int, bytes]:
    return 200, b'{"probability": 0.25}'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Numbers


def test_spread_is_median_and_range():
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=300),
    st.floats(0.5, 100).map(lambda percent: round(percent, 2)),
)
def test_percentile_is_nearest_rank(values: list[float], percent: float):
    found = percentile(values, percent)
    assert found in values
    enough = percent / 100 * len(values) * (1 - 1e-9)
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < enough or found == min(values)


def test_percentiles_of_a_hundred():
    values = [float(i) for i in range(100, 0, -1)]
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([1.0, 2.0, 9.0], 99) == 9.0


@given(st.floats(0.05, 2), st.floats(0, 1), st.floats(4.2, 30), st.integers(1, 4))
def test_rate_of_regular_events_does_not_depend_on_the_window(
    period: float, phase: float, length: float, at_a_time: int
):
    times = [i * period for i in range(-2, 800) for _ in range(at_a_time)]
    begin = (phase + 0.001) * period
    assert rate(times, begin, begin + length) == pytest.approx(at_a_time / period, rel=1e-6)


def test_rate_without_events_is_0():
    assert rate([], 0.0, 1.0) == 0.0
    assert rate([0.5, 3.0], 1.0, 2.0) == 0.0


def test_ratio_of_missing_values_is_none():
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(None, 2.0) is None
    assert ratio(3.0, None) is None
    assert ratio(3.0, 0.0) is None


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (2.0, True, "met"),
        (1.99, True, "missed"),
        (2.0, False, "met"),
        (2.01, False, "missed"),
        (None, True, "not measured"),
    ],
)
def test_bar(value: float | None, at_least: bool, verdict: str):
    bar = Bar("what", value, 2.0, at_least)
    assert bar.verdict == bar.to_json()["verdict"] == verdict
    assert bar.is_met == (verdict == "met")


def test_table_aligns_its_columns():
    assert table(("name", "n"), [("a", "1"), ("long name", "10")]) == (
        "name        n\na           1\nlong name  10"
    )


def test_machine_is_described():
    facts = machine()
    assert facts["processors"] >= 1
    assert facts["memory_gib"] > 0
    json.dumps(facts)


# Load


def test_closed_loop_keeps_as_many_requests_in_flight_as_there_are_clients():
    def slow(number: int) -> tuple[int, bytes]:
        time.sleep(0.03)
        return right(number)

    with serving(slow) as (port, state):
        result = closed_loop(port, [REQUEST], clients=4, seconds=0.5, warm_up_s=0.1)
    assert state["most_inside"] == 4
    assert result.errors == []
    assert min(result.latencies_s) >= 0.03
    # A closed loop: clients / latency; never more than the server could give.
    assert result.answers_per_s <= 4 / 0.03 * 1.05
    mean = sum(result.latencies_s) / len(result.latencies_s)
    assert result.answers_per_s == pytest.approx(4 / mean, rel=0.35)
    assert 0 < result.client_cpu_s_per_answer < 0.03
    assert result.answers >= len(result.latencies_s)


def test_closed_loop_waits_until_every_client_has_an_answer():
    def slow(number: int) -> tuple[int, bytes]:
        time.sleep(0.3)
        return right(number)

    with serving(slow) as (port, _):
        result = closed_loop(port, [REQUEST], clients=3, seconds=0.01, warm_up_s=0.0)
    assert len(result.latencies_s) >= 3


def test_closed_loop_sends_the_requests_in_turn():
    requests = [Request("/predict", body, "image/jpeg", probability) for body in (b"a", b"b")]
    with serving(right) as (port, state):
        closed_loop(port, requests, clients=1, seconds=0.1, warm_up_s=0.0)
    assert state["bodies"][:4] == [b"a", b"b", b"a", b"b"]


def test_closed_loop_reports_errors_and_does_not_count_them():
    def every_other(number: int) -> tuple[int, bytes]:
        return right(number) if number % 2 else (503, b"busy")

    with serving(every_other) as (port, state):
        result = closed_loop(port, [REQUEST], clients=1, seconds=0.4, warm_up_s=0.0)
    assert "503" in result.errors[0]
    assert len(result.latencies_s) + len(result.errors) <= state["requests"]
    assert len(result.latencies_s) <= len(result.errors) + 1


def test_closed_loop_ends_when_a_server_only_fails():
    with serving(lambda number: (500, b"")) as (port, _):
        result = closed_loop(port, [REQUEST], clients=8, seconds=60.0, warm_up_s=0.0)
    assert result.answers_per_s == 0.0
    assert len(result.errors) >= 50


def test_connections_closed_by_the_server_are_not_errors():
    with serving(right, closes=True) as (port, _):
        result = closed_loop(port, [REQUEST], clients=2, seconds=0.3, warm_up_s=0.0)
    assert result.errors == []
    assert len(result.latencies_s) > 4


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"probability": 0.5}'),
        (200, b'{"probability": 1.5}'),
        (200, b'{"probability": NaN}'),
        (200, b"not JSON"),
        (200, b"{}"),
        (200, b"[]"),
    ],
)
def test_wrong_answers_are_detected(status: int, body: bytes):
    with serving(lambda number: (status, body)) as (port, _):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with pytest.raises(WrongAnswerError):
            ask(connection, REQUEST)
        connection.close()


# Processes

# A server that leaves a grandchild in its own session, without a parent.
FAMILY = """
import subprocess, sys, time
middle = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', \
'import time; x = bytearray(64 << 20); time.sleep(600)'], start_new_session=True)"
subprocess.run([sys.executable, "-c", middle])
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill at once what a stopped server leaves running."""
    monkeypatch.setattr("benchmarks.processes._GRACE_S", 1.0)


def test_server_finds_and_stops_detached_processes(tmp_path: Path, little_grace: None):
    log = tmp_path / "log"
    with Server([sys.executable, "-c", FAMILY], tmp_path, {}, log) as server:
        deadline = time.monotonic() + 60
        while server.memory_bytes() < 64 << 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        family = server.family()
        assert len(family) == 2
        assert server.memory_bytes() > 64 << 20
    assert server.family() == set()
    assert all(proportional_set_size(pid) == 0 for pid in family)


def test_processor_time_is_that_of_all_processes(tmp_path: Path, little_grace: None):
    busy = (
        "import os, time\n"
        "while time.process_time() < 0.5: pass\n"
        "os.fork() or exec('while time.process_time() < 0.5: pass')\n"
        "time.sleep(600)"
    )
    with Server([sys.executable, "-c", busy], tmp_path, {}, tmp_path / "log") as server:
        deadline = time.monotonic() + 60
        while server.processor_s() < 0.95 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        assert 0.95 <= server.processor_s() < 1.5


def test_server_that_exits_reports_its_output(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; sys.exit('no model here')"]
    with (
        Server(command, tmp_path, {}, tmp_path / "log") as server,
        pytest.raises(ServerDiedError, match="no model here"),
    ):
        first_answer(server, free_port(), REQUEST)


def test_first_answer_waits_until_the_server_is_ready(tmp_path: Path):
    def ready_later(number: int) -> tuple[int, bytes]:
        return right(number) if number >= 3 else (503, b"loading")

    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        serving(ready_later) as (port, state),
        Server(command, tmp_path, {}, tmp_path / "log") as server,
    ):
        seconds = first_answer(server, port, REQUEST)
    assert state["requests"] == 4
    assert seconds >= 3 * 0.01


# Contenders


def test_every_peer_has_a_server_and_pinned_requirements():
    folders = {path for path in PEERS.iterdir() if path.is_dir()}
    assert folders == {c.folder for c in ALL if c is not OURS}
    for folder in folders:
        assert (folder / "server.py").is_file()
        lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
        assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
        assert all(re.fullmatch(r"[a-z][a-z0-9-]*(\[[a-z]+\])?==[0-9.]+", line) for line in lines)


def test_readme_describes_every_contender_and_command():
    readme = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert all(folder.name in readme for folder in PEERS.iterdir() if folder.is_dir())
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(
        target in readme for target in re.findall(r"^(bench[a-z-]*):", makefile, re.MULTILINE)
    )


def test_form_has_the_field_that_the_server_expects():
    image = bytes(range(256)) * 3
    request = OURS.request(image, "http://127.0.0.1/1.jpg")
    head = f"Content-Type: {request.content_type}\r\n\r\n".encode()
    (part,) = BytesParser().parsebytes(head + request.body).get_payload()
    assert part.get_payload(decode=True) == image
    assert part.get_param("name", header="Content-Disposition") == "file"
    assert part.get_content_type() == "image/jpeg"


def test_reference_gets_the_url():
    request = REFERENCES[0].request(b"image", "http://127.0.0.1/1.jpg")
    assert json.loads(request.body) == {"url": "http://127.0.0.1/1.jpg"}


def test_open_inference_protocol():
    (contender,) = [c for c in OTHERS if c.folder.name == "mlserver"]
    request = contender.request(b"image", "")
    (tensor,) = json.loads(request.body)["inputs"]
    assert tensor["data"] == ["aW1hZ2U="]
    assert request.probability(b'{"outputs": [{"data": [0.75]}]}') == 0.75


def test_port_is_put_into_arguments_and_variables(tmp_path: Path):
    network = Network(
        tmp_path, tmp_path / "a.keras", tmp_path / "a.onnx", tmp_path / "b.onnx", 704, 416, 1
    )
    echo = OURS.__class__(
        name="echo",
        python=lambda: Path(sys.executable),
        arguments=("-c", "import os, sys; print(sys.argv[1:], os.environ['X'])", "{port}"),
        folder=tmp_path,
        encode=OURS.encode,
        variables={"X": "at {port}"},
    )
    with echo.server(network, 4711, tmp_path / "log") as server:
        deadline = time.monotonic() + 60
        while "4711" not in server.last_words() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.last_words() == "['4711'] at 4711"


def test_peers_in_8_bits_get_that_network(tmp_path: Path):
    network = Network(tmp_path, tmp_path / "a.keras", tmp_path / "a", tmp_path / "b", 704, 416, 1)
    echo = replace(
        INT8[0],
        python=lambda: Path(sys.executable),
        arguments=("-c", "import os; print(os.environ['ONNX_MODEL'])"),
        folder=tmp_path,
    )
    for int8, name in ((True, "b"), (False, "a")):
        with replace(echo, int8=int8).server(network, 4711, tmp_path / f"{name}.log") as server:
            deadline = time.monotonic() + 60
            while not server.last_words() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert server.last_words() == str(tmp_path / name)


def test_requirements_of_a_lock():
    lock = {
        "default": {
            "b": {"version": "==2.0", "markers": "python_version >= '3.9'"},
            "a": {"version": "==1.0", "hashes": []},
        }
    }
    assert locked_requirements(lock, "default") == "a==1.0\nb==2.0 ; python_version >= '3.9'\n"


# Results


def seen(per_s: float, *, p99: float = 1.0, start: float = 6.0, memory: int = 900) -> Seen:
    return Seen(
        probabilities=[0.5],
        start_s=[start, start + 1, start + 2],
        memory_bytes=[memory],
        per_s={clients: [per_s * 0.9, per_s, per_s * 1.1] for clients in comparison.CLIENTS},
        latencies_s={clients: [p99 / 2] * 98 + [p99] * 2 for clients in comparison.CLIENTS},
        client_cpu_s=[0.001],
        server_cpu_s={clients: [0.21, 0.2, 0.19] for clients in comparison.CLIENTS},
    )


def service_results(found: dict[str, Seen], one_process: list[float]) -> dict[str, Any]:
    environment = {"installed_bytes": 400_000_000, "versions": {}}
    environments = dict.fromkeys(found, environment)
    return comparison.summary(found, one_process, environments, processors=2)


def bars(results: dict[str, Any]) -> dict[str, tuple[float | None, str]]:
    return {bar["what"]: (bar["value"], bar["verdict"]) for bar in results["bars"]}


def test_bars_of_the_service():
    one, two = (reference.name for reference in REFERENCES)
    found = {
        OURS.name: seen(10.0, p99=1.2, start=1.0, memory=250),
        one: seen(2.0),
        two: seen(2.5),
        OTHERS[0].name: seen(3.0, p99=3.0),
        OTHERS[1].name: seen(7.0, p99=1.0),
        INT8[0].name: seen(8.0, p99=1.6),
    }
    results = service_results(found, [10.0, 11.0, 12.0])
    assert bars(results) == {
        f"throughput at 8 clients / {one}": (pytest.approx(5.0), "missed"),
        f"throughput at 8 clients / {two}": (pytest.approx(4.0), "missed"),
        "throughput at 8 clients / best peer in float": (pytest.approx(10 / 7), "missed"),
        "throughput at 8 clients / best peer in 8 bits": (pytest.approx(10 / 8), "met"),
        # 1 ms of 100 is the load generator's, on one of two processors.
        "throughput at 8 clients / one process without HTTP": (
            pytest.approx(10 / 11 / 0.995),
            "missed",
        ),
        "p99 / p50 at 8 clients": (pytest.approx(2.0), "missed"),
        "p99 / p50 at 32 clients": (pytest.approx(2.0), "missed"),
        "p99 at 8 clients / best peer's": (pytest.approx(1.2), "missed"),
        "start to first answer, s": (2.0, "missed"),
        "memory, MB": (pytest.approx(250e-6), "met"),
        f"start / {one}": (pytest.approx(2 / 7), "met"),
        f"memory / {one}": (pytest.approx(250 / 900), "met"),
        "installed size, MB": (400.0, "met"),
    }
    assert results["servers"][one]["ours_times_this"] == pytest.approx(5.0)


def test_failed_peers_are_shown_but_not_compared():
    failing = seen(100.0)
    failing.errors.append("WrongAnswerError: status 503")
    absent = Seen(failure="it does not start")
    found = {OURS.name: seen(10.0), OTHERS[0].name: seen(5.0), OTHERS[1].name: failing,
             OTHERS[2].name: absent}  # fmt: skip
    results = service_results(found, [11.0])
    assert bars(results)["throughput at 8 clients / best peer in float"] == (
        pytest.approx(2.0),
        "met",
    )
    assert bars(results)[f"start / {REFERENCES[0].name}"] == (None, "not measured")
    results |= {
        "machine": machine(),
        "images": 16,
        "image_bytes": {"least": 1, "largest": 2},
        "input_size": [704, 416],
        "network_served": "bfloat16",
    }
    text = comparison.text(results)
    assert f"{OTHERS[2].name}: it does not start" in text
    assert "status 503" in text
    json.dumps(results)


def engine_answer(milliseconds: float, many: float, logits: list[float]) -> dict[str, Any]:
    return {
        "one_s": [milliseconds / 1000] * 3,
        "many_per_s": {"8 callers": many / 2, "batches of 8": many},
        "logits": logits,
        "versions": {},
    }


def test_engines_are_compared_with_keras_and_the_peak():
    found = {name: [] for name in (e.name for e in engine._ENGINES)}
    found[engine.BASELINE] = [engine_answer(400, 2.0, [0.5, -1.0])]
    found["OpenVINO float"] = [engine_answer(100, 6.0, [0.5, -1.25])]
    limits = {
        "multiply_adds": 10_000_000_000,
        "peaks_per_s": {
            "float32": {"NumPy": [150e9, 160e9, 170e9], "OpenVINO": [190e9, 200e9, 210e9]},
            "int8": {"OpenVINO": [400e9]},
        },
        "versions": {},
    }
    results = engine.summary(found, {engine.COMPILED: "not measured"}, limits, "float32")
    ours = results["engines"]["OpenVINO float"]
    assert ours["one_speed_up"] == pytest.approx(4.0)
    assert ours["many_speed_up"] == pytest.approx(3.0)
    assert ours["many_how"] == "batches of 8"
    assert ours["largest_logit_difference"] == 0.25
    assert results["peaks_per_s"]["float32"]["by"] == "OpenVINO"
    assert ours["share_of_peak"] == pytest.approx(6 * 20 / 200)
    text = engine.text({**results, "machine": machine(), "input_size": [704, 416]})
    assert "OpenVINO compiled: not measured" in text
    assert "60% of float32" in text


@pytest.mark.parametrize(
    ("precision", "share"),
    [("bfloat16", "40% of bf16"), ("float32", "60% of float32")],
)
def test_the_served_network_is_compared_with_the_peak_of_its_precision(
    precision: Precision, share: str
):
    found = {name: [] for name in (e.name for e in engine._ENGINES)}
    found[engine.COMPILED] = [engine_answer(100, 6.0, [0.5, -1.25])]
    limits = {
        "multiply_adds": 10_000_000_000,
        "peaks_per_s": {
            "float32": {"NumPy": [200e9]},
            "bf16": {"OpenVINO": [300e9]},
            "int8": {"OpenVINO": [400e9]},
        },
        "versions": {},
    }
    results = engine.summary(found, {}, limits, precision)
    text = engine.text({**results, "machine": machine(), "input_size": [704, 416]})
    assert share in text
    assert f"OpenVINO compiled: {precision}" in text


def test_training_pipelines_are_compared():
    answer = {"images": 48, "batch_size": 16, "versions": {}}
    answers = {
        ("ours", "float32"): [{**answer, "per_s": [3.0, 3.2]}],
        ("plain", "float32"): [{**answer, "per_s": [2.0]}],
        ("ours", "mixed_bfloat16"): [{**answer, "per_s": [6.0]}],
        ("plain", "mixed_bfloat16"): [],
    }
    results = train.summary(answers, {("plain", "mixed_bfloat16"): "out of memory"})
    ratios = {
        (row["pipeline"], row["precision"]): (row["times_plain"], row["times_plain_float32"])
        for row in results["pipelines"]
        if "failure" not in row
    }
    assert ratios == {
        ("ours", "float32"): (pytest.approx(1.55), pytest.approx(1.55)),
        ("plain Keras", "float32"): (1.0, 1.0),
        ("ours", "mixed_bfloat16"): (None, 3.0),
    }
    text = train.text({**results, "machine": machine(), "input_size": [299, 299]})
    assert "plain Keras, mixed_bfloat16 FAILED: out of memory" in text


def test_multiply_adds_are_counted_from_the_graph():
    import numpy as np
    import openvino
    from openvino import opset13

    from benchmarks.workers.limits import multiply_adds

    image = opset13.parameter([1, 3, 8, 8], np.float32)
    padded = ([1, 1], [1, 1], [1, 1])
    kernel = opset13.constant(np.ones((4, 3, 3, 3), np.float32))
    maps = opset13.convolution(image, kernel, [2, 2], *padded[:2], padded[2])
    by_channel = opset13.constant(np.ones((4, 1, 1, 3, 3), np.float32))
    maps = opset13.group_convolution(maps, by_channel, [1, 1], *padded[:2], padded[2])
    flat = opset13.reshape(maps, np.array([1, 64]), special_zero=False)
    dense = opset13.constant(np.ones((10, 64), np.float32))
    result = opset13.matmul(flat, dense, transpose_a=False, transpose_b=True)
    model = openvino.Model([result], [image])
    convolution, depthwise, product = 4 * 4 * 4 * 27, 4 * 4 * 4 * 9, 64 * 10
    assert multiply_adds(model) == convolution + depthwise + product


def test_the_archive_worker_is_compared_with_predict():
    results = {
        "machine": machine(),
        "studies": 4,
        "predict": {"elapsed_s": 4.0, "cpu_s": 6.0, "orthanc_s": 0.0},
        "worker": {"elapsed_s": 8.0, "cpu_s": 10.0, "orthanc_s": 2.0},
        "share": 4 / 6,
        "cpu_share": 0.6,
        "missing_reports": -1,  # one was doubled
    }
    assert [bar.verdict for bar in archive.bars(results)] == ["met", "missed"]
    assert "predict takes 0.60 of the worker's processor time" in archive.text(results)
    taken = archive.Taken(8.0, 10.0, 2.0).without(archive.Taken(3.0, 4.0, 0.5))
    assert taken == (5.0, 6.0, 1.5)


def test_bulk_is_compared_with_predict():
    results = {
        "machine": machine(),
        "images": 2000,
        "images_per_s": {"predict": 4.0, "bulk": 3.8},
        "share_with_start": 0.8,
        "share": 0.95,
        "starting_s": 16.0,
        "files": [10_000, 100_000],
        "driver_bytes": [400 << 20, 404 << 20],
    }
    assert [bar.verdict for bar in bulk.bars(results)] == ["met", "missed", "met"]
    assert "3.80 images per second with bulk and 4.00 with predict" in bulk.text(results)
    assert "with it, 0.80 of predict's" in bulk.text(results)
