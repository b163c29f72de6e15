"""Rendered Kubernetes objects, and those that run pods."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Object = dict[str, Any]

# The units of Kubernetes quantities that the manifests use.
_UNITS = {"m": Fraction(1, 1000), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}


def quantity(text: str) -> Fraction:
    """Value of a Kubernetes quantity."""
    digits = text.rstrip("KMGim")
    return Fraction(digits) * _UNITS[text[len(digits) :]]


def merged(objects: list[Object], pod: Object) -> dict[str, str]:
    """Environment of a pod's first container, including its ConfigMaps."""
    container = pod["containers"][0]
    maps = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ConfigMap"}
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= maps.get(source["configMapRef"]["name"], {}).get("data", {})
    return environment | {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}


@dataclass(frozen=True)
class Workload:
    """What runs pods: a Deployment, a Job, an InferenceService, or a group of a RayCluster."""

    source: Object
    pod: Object
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.source['kind']} {self.source['metadata']['name']}"

    @property
    def container(self) -> Object:
        (container,) = self.pod["containers"]
        return container

    @property
    def is_of_ray(self) -> bool:
        """Whether KubeRay starts it, with Ray's ports and Ray's probes."""
        return bool(self.source["kind"] == "RayCluster")

    @property
    def is_of_archive(self) -> bool:
        """Whether it is the worker of an archive, which answers no requests."""
        return bool(re.fullmatch(r"(.*/)?mammoscope-archive:.*", self.container["image"]))

    @property
    def ports(self) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in self.container.get("ports", [])}


def workloads(objects: list[Object]) -> list[Workload]:
    """Return the objects that run pods."""
    found = []
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            template = each["spec"]["template"]
            labels = template["metadata"].get("labels", {})
            found.append(Workload(each, template["spec"], labels))
        elif each["kind"] == "RayCluster":
            for group in (each["spec"]["headGroupSpec"], *each["spec"]["workerGroupSpecs"]):
                template = group["template"]
                found.append(Workload(each, template["spec"], template["metadata"]["labels"]))
        elif each["kind"] == "InferenceService":
            found.append(Workload(each, each["spec"]["predictor"], {}))
    return found


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def names_of(objects: list[Object], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in of_kind(objects, kind)}
