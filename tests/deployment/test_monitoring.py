"""Alerts, dashboard and scaling use metrics that the service exposes."""

import json
import re
from typing import Any

import pytest
import yaml

from mammoscope.archive.monitoring import Monitoring
from mammoscope.archive.state import Stage, State
from mammoscope.errors import ArchiveUnreachableError, MammoscopeError
from mammoscope.service.app import monitoring_of
from mammoscope.settings.service import ServiceSettings
from tests.deployment.manifests import MANIFESTS, ROOT, spec_of
from tests.deployment.objects import Object
from tests.fake_engine import CARD, IMAGE, FakeEngine, app_with, upload

BY_PROMETHEUS = {"namespace", "pod"}
"""Labels that Prometheus adds to the metrics of a ServiceMonitor's pods."""


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(
        (MANIFESTS / "components" / "monitoring" / "dashboard.json").read_text("utf-8")
    )


@pytest.fixture(scope="module")
def alerts() -> list[Object]:
    path = MANIFESTS / "components" / "monitoring" / "prometheusrule.yaml"
    groups = yaml.safe_load(path.read_text("utf-8"))["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def queries(
    dashboard: Object, alerts: list[Object], rendered: dict[str, list[Object]]
) -> list[str]:
    """All Prometheus queries of the dashboard, the alerts and KEDA."""
    triggers = spec_of(rendered["overlays/observed"], "ScaledObject")["triggers"]
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
        *(rule["expr"] for rule in alerts),
        *(each["metadata"]["query"] for each in triggers if each["type"] == "prometheus"),
    ]


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, set[str]]]:
    """The service's samples, their labels, and the labels' values."""
    engine = FakeEngine()
    engine.card = CARD.model_copy(update={"distributions": {"logit": tuple(range(9))}})
    app = app_with(ServiceSettings(), engine)
    found: dict[str, dict[str, set[str]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mammoscope.service.drift.LEAST", 1)
        app.test_client().post("/predict", **upload(IMAGE))
        for family in monitoring_of(app).registry.collect():
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    codes = {each.code for each in mammoscope_errors()}
    for labels in found.values():
        labels.get("route", set()).update(routes)
        labels.get("code", set()).update(codes)
    return found


def mammoscope_errors(root: type[MammoscopeError] = MammoscopeError) -> set[type[MammoscopeError]]:
    return {root}.union(*(mammoscope_errors(each) for each in root.__subclasses__()))


def test_dashboard_and_alerts_are_complete(
    dashboard: Object, alerts: list[Object], queries: list[str]
) -> None:
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for text in queries:
        assert all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}")), text
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in alerts)


def unknown(query: str, told: dict[str, dict[str, set[str]]]) -> list[str]:
    """Names, labels and values in a query that the service does not expose."""
    wrong = []
    for name, selector in re.findall(r"\b(mammoscope_\w+)(\{[^}]*\})?", query):
        if name not in told:
            wrong.append(name)
            continue
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
            values = told[name].get(label)
            if values is None and label not in BY_PROMETHEUS:
                wrong.append(f"{name} has no label {label}")
            if label in ("route", "code", "stage") and operator != "!=":
                wrong += [
                    f"{name} {label} {each}" for each in set(value.split("|")) - (values or set())
                ]
    known = BY_PROMETHEUS.union({"le"}, *(labels for labels in told.values()))
    for names in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", query):
        if "mammoscope_" in query:
            wrong += [f"by {each}" for each in set(names.split(", ")) - known]
    return wrong


def test_queries_use_metrics_that_the_service_exposes(
    queries: list[str], told: dict[str, dict[str, set[str]]]
) -> None:
    assert {query: wrong for query in queries if (wrong := unknown(query, told))} == {}
    assert sum("mammoscope_" in query for query in queries) > 10


@pytest.mark.parametrize(
    "query",
    [
        "mammoscope_requests",
        'mammoscope_queue_waiting{queue="1"}',
        'mammoscope_requests_total{code="busy"}',
        'mammoscope_requests_total{route=~"/predict|/infer"}',
        "sum by (state) (mammoscope_places)",
    ],
)
def test_queries_for_unknown_metrics_are_detected(
    query: str, told: dict[str, dict[str, set[str]]]
) -> None:
    assert unknown(query, told)


def test_every_metric_of_the_service_is_used(
    queries: list[str], told: dict[str, dict[str, set[str]]]
) -> None:
    families = {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in told}
    own = {name for name in families if name.startswith("mammoscope_")}
    assert {name for name in own if not any(name in query for query in queries)} == set()


def test_drift_alert_agrees_with_the_docs(alerts: list[Object]) -> None:
    (drift,) = (rule for rule in alerts if rule["alert"] == "MammoscopeDrift")
    page = ROOT / "docs" / "service" / "monitoring.md"
    text = " ".join(page.read_text("utf-8").split())
    limit = drift["expr"].rpartition("> ")[2]
    assert f"alert on more than {limit} for an hour" in text
    assert drift["for"] == "1h"


@pytest.fixture(scope="module")
def archive_alerts(rendered: dict[str, list[Object]]) -> list[Object]:
    groups = spec_of(rendered["overlays/archive"], "PrometheusRule")["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def archive_told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """The archive worker's samples, their labels, and the labels' values."""
    state_file = tmp_path_factory.mktemp("archive") / "state.db"
    found: dict[str, dict[str, set[str]]] = {}
    with State(f"sqlite:///{state_file}", None) as state:
        monitoring = Monitoring(state)
        monitoring.finished(Stage.STORED, 1.0)
        monitoring.waited(ArchiveUnreachableError.code)
        for family in monitoring.registry.collect():
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
    return found


def test_archive_alerts_use_metrics_that_the_worker_exposes(
    archive_alerts: list[Object], archive_told: dict[str, dict[str, set[str]]]
) -> None:
    queries = [rule["expr"] for rule in archive_alerts]
    wrong = {query: told for query in queries if (told := unknown(query, archive_told))}
    assert wrong == {}
    families = {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in archive_told}
    own = {name for name in families if name.startswith("mammoscope_")}
    assert len(own) == 4
    assert {name for name in own if not any(name in query for query in queries)} == set()
    assert unknown('mammoscope_archive_studies{stage="lost"}', archive_told)


def test_docs_explain_every_alert(alerts: list[Object], archive_alerts: list[Object]) -> None:
    page = (ROOT / "docs" / "deployment" / "operations.md").read_text("utf-8")
    explained = set(
        re.findall(r"\w+", " ".join(re.findall(r"^\| ([\w, ]+) \|", page, re.MULTILINE)))
    )
    named = {rule["alert"].removeprefix("Mammoscope") for rule in (*alerts, *archive_alerts)}
    assert named <= explained
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in archive_alerts)
