"""The objects of a deployment agree with each other, and disagreements are detected."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.deployment.agreement import ACTOR_MEMORY_BYTES, disagreements
from tests.deployment.manifests import Break, container_of, deployables, pod_of, spec_of
from tests.deployment.objects import Object


def test_there_are_deployments() -> None:
    assert set(deployables()) >= {"base", "overlays/local", "overlays/production", "jobs/score"}


def test_deployments_are_consistent(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int
) -> None:
    found = {name: disagreements(objects, get_paths, user) for name, objects in rendered.items()}
    assert {name: told for name, told in found.items() if told} == {}


def _data(objects: list[Object]) -> Any:
    maps = (each["data"] for each in objects if each["kind"] == "ConfigMap")
    return next(data for data in maps if "MAMMOSCOPE_BIND" in data)


BREAKAGES: dict[str, Break] = {
    "selector": lambda o: spec_of(o, "Service")["selector"].update(other="label"),
    "budget's selector": lambda o: spec_of(o, "PodDisruptionBudget")["selector"].update(
        matchLabels={"app": "other"}
    ),
    "no policy": lambda o: o.remove(next(e for e in o if e["kind"] == "NetworkPolicy")),
    "target port": lambda o: spec_of(o, "Service")["ports"][0].update(targetPort="other"),
    "probe's path": lambda o: container_of(o)["readinessProbe"]["httpGet"].update(path="/ready"),
    "probe's port": lambda o: container_of(o)["livenessProbe"]["httpGet"].update(port="other"),
    "probes where clients are": lambda o: container_of(o)["livenessProbe"]["httpGet"].update(
        port="http"
    ),
    "probes elsewhere": lambda o: _data(o).update(MAMMOSCOPE_PROBE_BIND="0.0.0.0:9700"),
    "no port for probes": lambda o: _data(o).update(MAMMOSCOPE_PROBE_BIND=""),
    "probes for clients": lambda o: spec_of(o, "Service")["ports"][0].update(targetPort="probes"),
    "no probe": lambda o: container_of(o).pop("startupProbe"),
    "policy's port": lambda o: spec_of(o, "NetworkPolicy")["ingress"][0]["ports"][0].update(
        port=80
    ),
    "listens elsewhere": lambda o: _data(o).update(MAMMOSCOPE_BIND="0.0.0.0:8080"),
    "unknown setting": lambda o: _data(o).update(MAMMOSCOPE_PORT="9696"),
    "wrong value": lambda o: _data(o).update(MAMMOSCOPE_LOG_LEVEL="loud"),
    "grace": lambda o: _data(o).update(MAMMOSCOPE_GRACEFUL_TIMEOUT_S="40"),
    "drain": lambda o: _data(o).update(MAMMOSCOPE_DRAIN_S="12"),
    "metrics for all": lambda o: _data(o).update(MAMMOSCOPE_METRICS_BIND="0.0.0.0:9697"),
    "fetching": lambda o: _data(o).update(MAMMOSCOPE_URL_FETCHING="false"),
    "mount": lambda o: container_of(o)["volumeMounts"].clear(),
    "limit": lambda o: container_of(o)["resources"]["limits"].update(memory="512Mi"),
    "no limit": lambda o: container_of(o)["resources"]["limits"].pop("memory"),
    "root": lambda o: pod_of(o)["securityContext"].update(runAsUser=0),
    "links": lambda o: pod_of(o).pop("enableServiceLinks"),
    "capabilities": lambda o: container_of(o)["securityContext"].pop("capabilities"),
    "replicas": lambda o: spec_of(o, "Deployment").update(replicas=2),
    "scaled target": lambda o: spec_of(o, "HorizontalPodAutoscaler")["scaleTargetRef"].update(
        name="other"
    ),
    "bounds": lambda o: spec_of(o, "HorizontalPodAutoscaler").update(maxReplicas=1),
    "budget": lambda o: spec_of(o, "PodDisruptionBudget").update(maxUnavailable=3),
    "update": lambda o: spec_of(o, "Deployment")["strategy"]["rollingUpdate"].update(
        maxUnavailable=1
    ),
    "backend": lambda o: spec_of(o, "Ingress")["rules"][0]["http"]["paths"][0]["backend"][
        "service"
    ].update(name="other"),
    "certificate": lambda o: spec_of(o, "Ingress")["tls"][0].update(hosts=["other.example.org"]),
    "namespace": lambda o: o[-1]["metadata"].update(namespace="other"),
    "account": lambda o: o.remove(next(e for e in o if e["kind"] == "ServiceAccount")),
    "settings": lambda o: o.remove(next(e for e in o if e["kind"] == "ConfigMap")),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_inconsistencies_are_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["overlays/production"])
    BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)


METRICS_BREAKAGES: dict[str, Break] = {
    "anybody asks": lambda o: spec_of(o, "NetworkPolicy")["ingress"][1].pop("from"),
    "nobody listens": lambda o: _data(o).update(MAMMOSCOPE_METRICS_BIND=""),
    "other port": lambda o: spec_of(o, "ServiceMonitor")["endpoints"][0].update(port="http"),
    "other service": lambda o: spec_of(o, "ServiceMonitor")["selector"]["matchLabels"].update(
        {"app.kubernetes.io/component": "service"}
    ),
    "public": lambda o: spec_of(o, "Ingress")["rules"][0]["http"]["paths"][0]["backend"]["service"]
    .update(name="mammoscope-metrics", port={"name": "metrics"}),
}  # fmt: skip


@pytest.mark.parametrize("breakage", METRICS_BREAKAGES)
def test_wrong_access_to_metrics_is_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["overlays/observed"])
    METRICS_BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)


JOB_BREAKAGES: dict[str, Callable[[Any], object]] = {
    "more parts": lambda spec: spec.update(completions=8),
    "idle pods": lambda spec: spec.update(parallelism=5),
    "no index": lambda spec: spec["template"]["spec"]["containers"][0].pop("env"),
    "one file": lambda spec: spec["template"]["spec"]["containers"][0]["args"].append(
        "--json=/results/all.jsonl"
    ),
    "repeated pods": lambda spec: spec["template"]["spec"]["containers"][0]["args"].remove(
        "--resume"
    ),
}


def _group(objects: list[Object]) -> Any:
    return spec_of(objects, "RayCluster")["workerGroupSpecs"][0]


RAY_BREAKAGES: dict[str, Break] = {
    "no cluster": lambda o: spec_of(o, "RayJob")["clusterSelector"].update(
        {"ray.io/cluster": "other"}
    ),
    "another version": lambda o: spec_of(o, "RayCluster").update(rayVersion="2.9.0"),
    "open to all": lambda o: spec_of(o, "RayCluster").pop("authOptions"),
    "busy head": lambda o: spec_of(o, "RayCluster")["headGroupSpec"]["rayStartParams"].clear(),
    "no workers": lambda o: _group(o).update(replicas=0),
    "little memory": lambda o: _group(o)["template"]["spec"]["containers"][0]["resources"][
        "requests"
    ].update(memory="5Gi"),
    "from anywhere": lambda o: spec_of(o, "NetworkPolicy")["ingress"].append(
        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}
    ),
    "other pods": lambda o: _group(o)["template"]["metadata"]["labels"].clear(),
    "root": lambda o: _group(o)["template"]["spec"]["securityContext"].update(runAsUser=0),
    "no claim": lambda o: o.remove(next(e for e in o if e["kind"] == "PersistentVolumeClaim")),
}


@pytest.mark.parametrize("breakage", RAY_BREAKAGES)
def test_wrong_ray_clusters_are_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["bulk"])
    RAY_BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)


def _archive_settings(objects: list[Object]) -> Any:
    return next(each for each in objects if each["kind"] == "ConfigMap")["data"]


def _without(objects: list[Object], kind: str) -> None:
    objects.remove(next(each for each in objects if each["kind"] == kind))


ARCHIVE_BREAKAGES: dict[str, Break] = {
    "unknown setting": lambda o: _archive_settings(o).update(MAMMOSCOPE_ARCHIVE_PORT="1"),
    "no door": lambda o: [
        _archive_settings(o).pop(f"MAMMOSCOPE_ARCHIVE_{name}") for name in ("DICOMWEB", "LISTEN")
    ],
    "key in the queue's place": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_KEY_FILE="/spool/key"
    ),
    "queue in the pod": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_STATE="sqlite:////state/archive.db"
    ),
    "no password": lambda o: _archive_settings(o).pop("PGSERVICEFILE"),
    "images in the pod": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_SPOOL="/tmp/spool"  # noqa: S108 a mount
    ),
    "images of two pods": lambda o: spec_of(o, "Deployment").update(replicas=2),
    "pods at once": lambda o: spec_of(o, "Deployment").update(
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    ),
    "shared claim": lambda o: spec_of(o, "PersistentVolumeClaim").update(
        accessModes=["ReadWriteOnce"]
    ),
    "no claim": lambda o: _without(o, "PersistentVolumeClaim"),
    "listens elsewhere": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_LISTEN="MAMMOSCOPE@104"
    ),
    "metrics elsewhere": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_METRICS_BIND="0.0.0.0:9697"
    ),
    "anybody sends": lambda o: spec_of(o, "NetworkPolicy")["ingress"][0].pop("from"),
    "nobody sends": lambda o: spec_of(o, "NetworkPolicy")["ingress"].pop(0),
    "no Service": lambda o: _without(o, "Service"),
    "metrics unreachable": lambda o: spec_of(o, "NetworkPolicy")["ingress"].pop(1),
    "PACS unreachable": lambda o: spec_of(o, "NetworkPolicy")["egress"].pop(1),
    "another port": lambda o: _archive_settings(o).update(
        MAMMOSCOPE_ARCHIVE_SEND_TO="PACS@pacs.example.org:104"
    ),
    "database unreachable": lambda o: spec_of(o, "NetworkPolicy")["egress"].pop(2),
    "open to all": lambda o: spec_of(o, "NetworkPolicy")["egress"][1].pop("to"),
    "no probe": lambda o: container_of(o).pop("livenessProbe"),
    "links": lambda o: pod_of(o).pop("enableServiceLinks"),
    "root": lambda o: pod_of(o)["securityContext"].update(runAsUser=0),
}  # fmt: skip


@pytest.mark.parametrize("breakage", ARCHIVE_BREAKAGES)
def test_wrong_archive_workers_are_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["overlays/archive"])
    ARCHIVE_BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)


def test_two_workers_never_own_an_sqlite_queue_each(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int
) -> None:
    objects = copy.deepcopy(rendered["archive"])
    spec_of(objects, "Deployment").update(replicas=2)
    assert disagreements(objects, get_paths, user)
    assert spec_of(rendered["overlays/archive-postgresql"], "Deployment")["replicas"] == 2


def test_workers_have_the_memory_that_actors_claim() -> None:
    from mammoscope.bulk import running

    assert running.ACTOR_MEMORY_BYTES == ACTOR_MEMORY_BYTES


@pytest.mark.parametrize("breakage", JOB_BREAKAGES)
def test_incomplete_deployments_are_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["jobs/score"])
    JOB_BREAKAGES[breakage](spec_of(objects, "Job"))
    assert disagreements(objects, get_paths, user)


def _trainer(objects: list[Object]) -> Any:
    return spec_of(objects, "Job")["template"]["spec"]


def _replaced(words: list[str], old: str, new: str) -> None:
    words[:] = [word.replace(old, new) for word in words]


TOGETHER_BREAKAGES: dict[str, Break] = {
    "more pods": lambda o: spec_of(o, "Job").update(completions=3),
    "one after another": lambda o: spec_of(o, "Job").update(parallelism=1),
    "more processes": lambda o: _replaced(
        _trainer(o)["containers"][0]["args"], "--processes=2", "--processes=3"
    ),
    "another coordinator": lambda o: _replaced(
        _trainer(o)["containers"][0]["args"], "mammoscope-train-0", "mammoscope-train-1"
    ),
    "no names": lambda o: _trainer(o).pop("subdomain"),
    "another Service": lambda o: next(e for e in o if e["kind"] == "Service")["metadata"].update(
        name="other"
    ),
    "names of ready pods": lambda o: spec_of(o, "Service").pop("publishNotReadyAddresses"),
    "lost pods fail": lambda o: spec_of(o, "Job")["podFailurePolicy"]["rules"][0]["onExitCodes"][
        "values"
    ].append(75),
    "from anywhere": lambda o: spec_of(o, "NetworkPolicy")["ingress"].append({"from": []}),
    "no index": lambda o: _trainer(o)["containers"][0].pop("env"),
}


@pytest.mark.parametrize("breakage", TOGETHER_BREAKAGES)
def test_wrong_trainings_on_several_nodes_are_detected(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["jobs/train-parallel"])
    TOGETHER_BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)
