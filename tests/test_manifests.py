"""The Dockerfile and everything in kube-config/: valid, and in agreement with code and README."""

import copy
import ipaddress
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mammoscope.fetching import addresses
from mammoscope.service import LoadingEngine, create_app
from mammoscope.settings import ServiceSettings
from mammoscope.sharding import Shard
from tests.agreement import INDEX, Object, disagreements, merged, quantity, workloads

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "kube-config"
KUBECTL = Path(sys.executable).with_name("kubectl")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

SCHEMAS = ("1.33.0", "1.37.0")
WITHOUT_SCHEMA = {"InferenceService", "PrometheusRule", "ScaledObject"}
"""Kinds that operators define: kubernetes-validate knows none of them."""


def deployables(folder: Path = MANIFESTS) -> list[str]:
    """Folders below `folder` that `kubectl apply --kustomize` takes."""
    found = folder.rglob("kustomization.yaml")
    return sorted(
        str(path.parent.relative_to(folder))
        for path in found
        if yaml.safe_load(path.read_text("utf-8"))["kind"] == "Kustomization"
    )


def render(folder: Path) -> str:
    answer = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def with_offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kube-config with one overlay more: the base without URL fetching."""
    folder = tmp_path_factory.mktemp("manifests") / "kube-config"
    shutil.copytree(MANIFESTS, folder)
    overlay = folder / "overlays" / "offline"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "kind: Kustomization\nresources: [../../base]\ncomponents: [../../components/offline]\n"
    )
    return folder


@pytest.fixture(scope="module")
def rendered(with_offline: Path) -> dict[str, list[Object]]:
    names = deployables(with_offline)
    return {name: list(yaml.safe_load_all(render(with_offline / name))) for name in names}


@pytest.fixture(scope="module")
def get_paths() -> set[str]:
    app = create_app(ServiceSettings(), LoadingEngine(lambda: pytest.fail("is not needed")))
    return {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}


@pytest.fixture(scope="module")
def user() -> int:
    users = set(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE))
    assert len(users) == 1
    return int(users.pop())


def test_there_is_something_to_deploy() -> None:
    assert set(deployables()) >= {"base", "overlays/local", "overlays/production", "jobs/score"}


def test_nothing_disagrees(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int
) -> None:
    found = {name: disagreements(objects, get_paths, user) for name, objects in rendered.items()}
    assert {name: told for name, told in found.items() if told} == {}


def _deployment(objects: list[Object]) -> Any:
    return next(each for each in objects if each["kind"] == "Deployment")["spec"]


def _container(objects: list[Object]) -> Any:
    return _deployment(objects)["template"]["spec"]["containers"][0]


def _spec(objects: list[Object], kind: str) -> Any:
    return next(each for each in objects if each["kind"] == kind)["spec"]


def _data(objects: list[Object]) -> Any:
    return next(each for each in objects if each["kind"] == "ConfigMap")["data"]


BREAKAGES: dict[str, Callable[[list[Object]], object]] = {
    "selector": lambda o: _spec(o, "Service")["selector"].update(other="label"),
    "budget's selector": lambda o: _spec(o, "PodDisruptionBudget")["selector"].update(
        matchLabels={"app": "other"}
    ),
    "no policy": lambda o: o.remove(next(e for e in o if e["kind"] == "NetworkPolicy")),
    "target port": lambda o: _spec(o, "Service")["ports"][0].update(targetPort="other"),
    "probe's path": lambda o: _container(o)["readinessProbe"]["httpGet"].update(path="/ready"),
    "probe's port": lambda o: _container(o)["livenessProbe"]["httpGet"].update(port="other"),
    "no probe": lambda o: _container(o).pop("startupProbe"),
    "policy's port": lambda o: _spec(o, "NetworkPolicy")["ingress"][0]["ports"][0].update(port=80),
    "listens elsewhere": lambda o: _data(o).update(MAMMOSCOPE_BIND="0.0.0.0:8080"),
    "unknown setting": lambda o: _data(o).update(MAMMOSCOPE_PORT="9696"),
    "wrong value": lambda o: _data(o).update(MAMMOSCOPE_LOG_LEVEL="loud"),
    "grace": lambda o: _data(o).update(MAMMOSCOPE_GRACEFUL_TIMEOUT_S="40"),
    "fetching": lambda o: _data(o).update(MAMMOSCOPE_URL_FETCHING="false"),
    "mount": lambda o: _container(o)["volumeMounts"].clear(),
    "limit": lambda o: _container(o)["resources"]["limits"].update(memory="512Mi"),
    "no limit": lambda o: _container(o)["resources"]["limits"].pop("memory"),
    "root": lambda o: _deployment(o)["template"]["spec"]["securityContext"].update(runAsUser=0),
    "links": lambda o: _deployment(o)["template"]["spec"].pop("enableServiceLinks"),
    "capabilities": lambda o: _container(o)["securityContext"].pop("capabilities"),
    "replicas": lambda o: _deployment(o).update(replicas=2),
    "scaled target": lambda o: _spec(o, "HorizontalPodAutoscaler")["scaleTargetRef"].update(
        name="other"
    ),
    "bounds": lambda o: _spec(o, "HorizontalPodAutoscaler").update(maxReplicas=1),
    "budget": lambda o: _spec(o, "PodDisruptionBudget").update(maxUnavailable=3),
    "update": lambda o: _deployment(o)["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    "backend": lambda o: _spec(o, "Ingress")["rules"][0]["http"]["paths"][0]["backend"][
        "service"
    ].update(name="other"),
    "certificate": lambda o: _spec(o, "Ingress")["tls"][0].update(hosts=["other.example.org"]),
    "namespace": lambda o: o[-1]["metadata"].update(namespace="other"),
    "account": lambda o: o.remove(next(e for e in o if e["kind"] == "ServiceAccount")),
    "settings": lambda o: o.remove(next(e for e in o if e["kind"] == "ConfigMap")),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_disagreement_is_noticed(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["overlays/production"])
    BREAKAGES[breakage](objects)
    assert disagreements(objects, get_paths, user)


JOB_BREAKAGES: dict[str, Callable[[Any], object]] = {
    "more parts": lambda spec: spec.update(completions=8),
    "idle pods": lambda spec: spec.update(parallelism=5),
    "no index": lambda spec: spec["template"]["spec"]["containers"][0].pop("env"),
    "one file": lambda spec: spec["template"]["spec"]["containers"][0]["args"].append(
        "--json=/results/all.jsonl"
    ),
}


@pytest.mark.parametrize("breakage", JOB_BREAKAGES)
def test_parts_that_do_not_make_a_whole(
    rendered: dict[str, list[Object]], get_paths: set[str], user: int, breakage: str
) -> None:
    objects = copy.deepcopy(rendered["jobs/score"])
    JOB_BREAKAGES[breakage](_spec(objects, "Job"))
    assert disagreements(objects, get_paths, user)


@pytest.mark.parametrize("version", SCHEMAS)
def test_objects_keep_to_the_schema(rendered: dict[str, list[Object]], version: str) -> None:
    checked = 0
    for objects in rendered.values():
        for each in objects:
            if each["kind"] not in WITHOUT_SCHEMA:
                kubernetes_validate.validate(each, version, strict=True)
                checked += 1
    assert checked > 30


def test_a_wrong_field_breaks_the_schema(rendered: dict[str, list[Object]]) -> None:
    deployment = copy.deepcopy(next(e for e in rendered["base"] if e["kind"] == "Deployment"))
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, SCHEMAS[-1], strict=True)


def test_plain_apply_deploys_the_base() -> None:
    (plain,) = MANIFESTS.glob("*.*")
    text = plain.read_text("utf-8")
    assert text.partition("\n")[2] == render(MANIFESTS / "base"), "run: make manifests"


def test_local_overlay_needs_no_metrics(rendered: dict[str, list[Object]]) -> None:
    local = rendered["overlays/local"]
    assert _deployment(local)["replicas"] == 1
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in local}
    assert quantity(_container(local)["resources"]["requests"]["cpu"]) < 1


def test_offline_lets_nothing_out(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["overlays/offline"]
    settings = ServiceSettings.from_environment(merged(objects, workloads(objects)[0].pod))
    assert not settings.url_fetching
    policy = _spec(objects, "NetworkPolicy")
    assert policy["egress"] == []
    assert "Egress" in policy["policyTypes"]


def test_policy_lets_out_what_the_guard_lets_out(rendered: dict[str, list[Object]]) -> None:
    blocks = [
        peer["ipBlock"]
        for rule in _spec(rendered["base"], "NetworkPolicy")["egress"]
        if {port["port"] for port in rule["ports"]} == {80, 443}
        for peer in rule["to"]
    ]
    closed = {ipaddress.ip_network(name) for block in blocks for name in block["except"]}
    assert closed == {*addresses._NOT_PUBLIC_V4, *addresses._NOT_PUBLIC_V6}
    opened = {ipaddress.ip_network(block["cidr"]) for block in blocks}
    assert opened == {ipaddress.ip_network("0.0.0.0/0"), addresses._PUBLIC_V6}


@pytest.mark.parametrize("name", ["base", "overlays/local", "overlays/observed"])
def test_policy_lets_names_be_asked_for(rendered: dict[str, list[Object]], name: str) -> None:
    (rule,) = (
        rule
        for rule in _spec(rendered[name], "NetworkPolicy")["egress"]
        if {port["port"] for port in rule["ports"]} == {53}
    )
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}
    assert rule["to"][0] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }


def test_ingress_takes_the_largest_picture(rendered: dict[str, list[Object]]) -> None:
    ingress = next(e for e in rendered["overlays/production"] if e["kind"] == "Ingress")
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 2**20 > ServiceSettings().max_image_bytes


def test_production_names_one_namespace_everywhere(rendered: dict[str, list[Object]]) -> None:
    text = "\n".join(
        path.read_text("utf-8") for path in (MANIFESTS / "components").rglob("*") if path.is_file()
    )
    named = set(re.findall(r'namespace=\\?"([^"\\]+)\\?"', text))
    assert named == {each["metadata"]["name"] for each in rendered["overlays/production"]
                     if each["kind"] == "Namespace"}  # fmt: skip


def test_dashboard_shows_what_alerts_look_at() -> None:
    folder = MANIFESTS / "components" / "monitoring"
    dashboard = json.loads((folder / "dashboard.json").read_text("utf-8"))
    queries = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
    rules = yaml.safe_load((folder / "prometheusrule.yaml").read_text("utf-8"))
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for text in [*queries, *(rule["expr"] for rule in alerts)]:
        assert all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}")), text
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in alerts)


def test_images_are_those_of_the_dockerfile(rendered: dict[str, list[Object]]) -> None:
    targets = {"mammoscope": "serve", "mammoscope-train": "train"}
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)[::-1])
    assert set(targets.values()) <= set(re.findall(r" AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert stages["serve"] == "default"
    for objects in rendered.values():
        for each in workloads(objects):
            name, _, tag = each.container["image"].rpartition(":")
            assert name.rpartition("/")[2] in targets
            assert tag == PROJECT["version"]
    assert set(re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE)) == {PROJECT["version"]}


def test_jobs_run_commands_that_exist(rendered: dict[str, list[Object]]) -> None:
    import train
    from mammoscope.__main__ import parser

    parsers = {"train.py": train.parser(), "-m mammoscope": parser()}
    jobs = [e for objects in rendered.values() for e in workloads(objects) if "Job" in e.name]
    assert len(jobs) == 2
    for job in jobs:
        python, *program = job.container["command"]
        assert python == "python"
        arguments = [each.replace(f"$({INDEX})", "3") for each in job.container["args"]]
        options = parsers[" ".join(program)].parse_args(arguments)
        if shard := getattr(options, "shard", None):
            Shard.parse(shard)
        mounted = [each["mountPath"] for each in job.container["volumeMounts"]]
        for argument in job.container["args"]:
            path = argument.rpartition("=")[2]
            assert not path.startswith("/") or any(path.startswith(m) for m in mounted)


def test_image_starts_what_make_serve_starts() -> None:
    serve = DOCKERFILE.split(" AS serve")[1].split("\nFROM ")[0]
    command = [
        word
        for name in ("ENTRYPOINT", "CMD")
        for word in json.loads(re.findall(rf"^{name} (\[.*\])$", serve, re.MULTILINE)[0])
    ]
    assert f"$(BIN)/{' '.join(command)}" in (ROOT / "Makefile").read_text("utf-8")


def test_image_listens_where_it_says(get_paths: set[str]) -> None:
    port = ServiceSettings().bind.rpartition(":")[2]
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [port]
    (check,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program = json.loads(check)[-1]
    compile(program, "HEALTHCHECK", "exec")
    assert "os.environ['MAMMOSCOPE_BIND']" in program
    assert re.findall(r"MAMMOSCOPE_BIND=(\S+)", DOCKERFILE) == [ServiceSettings().bind]
    assert set(re.findall(r"'GET', '([^']*)'", program)) <= get_paths


def test_one_pipenv_reads_the_lock() -> None:
    script = (ROOT / ".ci" / "environment.sh").read_text("utf-8")
    versions = re.findall(r"^readonly pipenv_version=(.*)$", script, re.MULTILINE)
    assert re.findall(r"^ARG PIPENV_VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == versions


def test_build_sees_nothing_that_is_not_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_readme_deploys_what_is_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"kube-config/[a-z./]*[a-z]|kube-config/", readme))
    assert named
    assert all((ROOT / name).exists() for name in named)
    table = set(re.findall(r"^\| `([a-z./]+)` \|", readme, re.MULTILINE))
    optional = {f"components/{name}" for name in ("keda", "monitoring")}  # in observed
    components = {f"components/{path.name}" for path in (MANIFESTS / "components").iterdir()}
    assert table >= {*deployables(), *components} - optional - {"base"}
    assert all((MANIFESTS / name).exists() for name in table)
    tags = set(re.findall(r"(?:--tag|load docker-image|/tmp) (mammoscope\S*)", readme))
    assert tags == {f"{name}:{PROJECT['version']}" for name in ("mammoscope", "mammoscope-train")}
    service = yaml.safe_load((MANIFESTS / "base" / "service.yaml").read_text("utf-8"))
    assert f"service/mammoscope {service['spec']['ports'][0]['port']}:" in readme
