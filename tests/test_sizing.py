"""Pods and cost for a rate of requests."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, sizing
from benchmarks.contenders import OURS
from benchmarks.sizing import NODES, Deployment, bulk_rows, core_seconds, quantity, rows
from tests.test_benchmarks import seen, service_results

ROOT = Path(__file__).resolve().parents[1]
SMALL = Deployment(
    cores=1,
    memory_bytes=2**30,
    utilisation=0.5,
    least=2,
    most=100,
    percent=100,
    pods=2,
    period_s=60,
)


@pytest.fixture(scope="module")
def production() -> Deployment:
    return Deployment.rendered(ROOT / "kube-config" / "overlays" / "production")


def service() -> dict[str, Any]:
    found = service_results({OURS.name: seen(10.0)}, [11.0])
    return {"benchmark": "service", "machine": report.machine(), **found}


def test_a_request_costs_the_servers_processor_time() -> None:
    assert core_seconds(json.loads(json.dumps(service()))) == pytest.approx(0.2)


def test_a_request_costs_the_fastest_engine() -> None:
    engines = {
        "Keras predict": {"many_per_s": {"median": 99.0}},
        "OpenVINO float": {"many_per_s": {"median": 8.0}},
        "OpenVINO compiled": {"failure": "not compiled"},
    }
    results = {"benchmark": "engine", "machine": {"processors": 2}, "engines": engines}
    assert core_seconds(results) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"benchmark": "service", "servers": {OURS.name: {"failure": "it did not start"}}},
        {"benchmark": "engine", "machine": {"processors": 2}, "engines": {}},
    ],
)
def test_results_without_times_are_refused(results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no time per request"):
        core_seconds(results)


@pytest.mark.parametrize(("text", "value"), [("2", 2), ("250m", 0.25), ("3Gi", 3 * 2**30)])
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == value


def test_pods_keep_cores_at_the_target() -> None:
    assert SMALL.pods_for(1, 0.2) == 2  # never fewer than the least
    assert SMALL.pods_for(100, 0.2) == 40  # 20 cores at work, half of 40
    assert SMALL.pods_for(101, 0.2) == 41


def test_pods_grow_by_the_autoscalers_steps() -> None:
    assert SMALL.seconds_to_grow(5, 5) == 0
    assert SMALL.seconds_to_grow(1, 3) == 60  # by 2, which is more than 100 %
    assert SMALL.seconds_to_grow(3, 24) == 180  # 6, 12, 24
    assert SMALL.seconds_to_grow(3, 25) == 240


def test_cost_per_image_follows_from_the_pods() -> None:
    found = {row.requests_per_s: row for row in rows(SMALL, 0.2, core_hour=0.1, gib_hour=0.05)}
    row = found[100]
    assert (row.pods, row.cores, row.memory_gib) == (40, 40, 40)
    assert row.cost_per_hour == pytest.approx(6.0)
    assert row.cost_per_million == pytest.approx(6.0 / 0.36)
    assert list(found) == sorted(found)
    assert (min(found), max(found)) == (10, 10_000)


def test_a_million_studies_cost_the_same_on_any_number_of_nodes() -> None:
    found = bulk_rows(0.36, node_cores=10, node_hour=2.0)
    assert [row.nodes for row in found] == list(NODES)
    assert [row.hours * row.nodes for row in found] == pytest.approx([40.0] * len(NODES))
    assert [row.cost for row in found] == pytest.approx([80.0] * len(NODES))


def test_the_command_prints_a_table_of_the_manifests(
    production: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    measured = report.write("service", service())
    monkeypatch.setattr(sys, "argv", ["sizing", "--results", str(measured), "--node-hour", "3"])
    sizing.main()
    out = capsys.readouterr().out
    assert "5.00 requests per second per core" in out
    assert f"from {production.least} to {production.most} pods" in out
    assert f"* more than maxReplicas, {production.most}" in out
    assert "1,000,000 studies of 4 images" in out
    assert "at 3 per hour each" in out
    written = json.loads((tmp_path / "results" / "sizing.json").read_text())
    assert [row["pods"] for row in written["rows"]][-1] == production.pods_for(10_000, 0.2)


def test_the_command_without_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sizing", "--results", str(tmp_path / "service.json")])
    with pytest.raises(SystemExit, match="make bench-service"):
        sizing.main()
