"""The objects of each deployment are valid, and agree with the docs."""

import copy
import ipaddress
import re

import kubernetes_validate
import pytest

from mammoscope.service.fetching import addresses
from mammoscope.service.request_parsing import MULTIPART_OVERHEAD_BYTES
from mammoscope.service.v2_routes import MODEL_NAME
from mammoscope.settings.service import ServiceSettings
from tests.deployment.manifests import MANIFESTS, ROOT, container_of, render, spec_of
from tests.deployment.objects import Object, merged, quantity, workloads

SCHEMAS = ("1.33.0", "1.37.0")
WITHOUT_SCHEMA = {
    "InferenceService", "PodMonitor", "PrometheusRule", "RayCluster", "RayJob", "ScaledObject",
    "ServiceMonitor",
}  # fmt: skip
"""Kinds defined by operators, which kubernetes-validate does not support."""


@pytest.mark.parametrize("version", SCHEMAS)
def test_objects_are_valid_by_the_schema(rendered: dict[str, list[Object]], version: str) -> None:
    checked = 0
    for objects in rendered.values():
        for each in objects:
            if each["kind"] not in WITHOUT_SCHEMA:
                kubernetes_validate.validate(each, version, strict=True)
                checked += 1
    assert checked > 30


def test_a_wrong_field_is_invalid_by_the_schema(rendered: dict[str, list[Object]]) -> None:
    deployment = copy.deepcopy(next(e for e in rendered["base"] if e["kind"] == "Deployment"))
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, SCHEMAS[-1], strict=True)


def test_plain_apply_deploys_the_base() -> None:
    (plain,) = MANIFESTS.glob("*.*")
    text = plain.read_text("utf-8")
    assert text.partition("\n")[2] == render(MANIFESTS / "base"), "run: make manifests"


def test_local_overlay_needs_no_metrics_server(rendered: dict[str, list[Object]]) -> None:
    local = rendered["overlays/local"]
    assert spec_of(local, "Deployment")["replicas"] == 1
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in local}
    assert quantity(container_of(local)["resources"]["requests"]["cpu"]) < 1


def test_offline_allows_no_outgoing_traffic(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["overlays/offline"]
    settings = ServiceSettings.from_environment(merged(objects, workloads(objects)[0].pod))
    assert not settings.url_fetching
    policy = spec_of(objects, "NetworkPolicy")
    assert policy["egress"] == []
    assert "Egress" in policy["policyTypes"]


@pytest.mark.parametrize("name", ["overlays/production", "overlays/observed", "overlays/keys"])
def test_keys_come_from_a_secret(rendered: dict[str, list[Object]], name: str) -> None:
    objects = rendered[name]
    settings = ServiceSettings.from_environment(merged(objects, workloads(objects)[0].pod))
    assert settings.api_keys_file is not None
    (volume,) = (each for each in workloads(objects)[0].pod["volumes"] if "secret" in each)
    page = (ROOT / "docs" / "deployment" / "kubernetes.md").read_text("utf-8")
    assert not volume["secret"].get(
        "optional"
    )  # without the Secret no pod starts, instead of one open to all
    created = f"create secret generic {volume['secret']['secretName']} --from-file"
    assert f"{created} {settings.api_keys_file.name}" in page


def test_policy_and_url_checks_allow_the_same_addresses(rendered: dict[str, list[Object]]) -> None:
    blocks = [
        peer["ipBlock"]
        for rule in spec_of(rendered["base"], "NetworkPolicy")["egress"]
        if {port["port"] for port in rule["ports"]} == {80, 443}
        for peer in rule["to"]
    ]
    closed = {ipaddress.ip_network(name) for block in blocks for name in block["except"]}
    assert closed == {*addresses._NOT_PUBLIC_V4, *addresses._NOT_PUBLIC_V6}
    opened = {ipaddress.ip_network(block["cidr"]) for block in blocks}
    assert opened == {ipaddress.ip_network("0.0.0.0/0"), addresses._PUBLIC_V6}


@pytest.mark.parametrize("name", ["base", "overlays/local", "overlays/observed"])
def test_policy_allows_dns(rendered: dict[str, list[Object]], name: str) -> None:
    (rule,) = (
        rule
        for rule in spec_of(rendered[name], "NetworkPolicy")["egress"]
        if {port["port"] for port in rule["ports"]} == {53}
    )
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}
    assert rule["to"][0] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }


def test_ingress_accepts_the_largest_study(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["overlays/production"]
    settings = ServiceSettings.from_environment(merged(objects, workloads(objects)[0].pod))
    ingress = next(e for e in objects if e["kind"] == "Ingress")
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    largest = settings.max_study_bytes + settings.max_study_images * MULTIPART_OVERHEAD_BYTES
    assert largest > settings.max_image_bytes + MULTIPART_OVERHEAD_BYTES
    assert int(size.removesuffix("m")) == -(-largest // 2**20)


def test_both_autoscalers_have_the_same_bounds_and_growth(
    rendered: dict[str, list[Object]],
) -> None:
    advanced = spec_of(rendered["overlays/observed"], "ScaledObject")["advanced"]
    alone = spec_of(rendered["base"], "HorizontalPodAutoscaler")["behavior"]
    assert advanced["horizontalPodAutoscalerConfig"]["behavior"] == alone


def test_production_uses_one_namespace_everywhere(rendered: dict[str, list[Object]]) -> None:
    text = "\n".join(
        path.read_text("utf-8") for path in (MANIFESTS / "components").rglob("*") if path.is_file()
    )
    named = set(re.findall(r'namespace=\\?"([^"\\]+)\\?"', text))
    assert named == {each["metadata"]["name"] for each in rendered["overlays/production"]
                     if each["kind"] == "Namespace"}  # fmt: skip


def test_kserve_uses_the_models_name(rendered: dict[str, list[Object]]) -> None:
    (service,) = rendered["kserve"]
    assert service["metadata"]["name"] == MODEL_NAME
    environment = merged(rendered["kserve"], service["spec"]["predictor"])
    assert environment["PROTOCOL"] == "v2"
    paths = {
        service["spec"]["predictor"]["containers"][0][f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    assert paths == {"/v2/health/live", "/v2/health/ready"}
