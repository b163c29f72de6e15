"""kube-config, rendered, and the Dockerfile, for tests."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import mammoscope
from tests.deployment.objects import Object

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "kube-config"
KUBECTL = Path(sys.executable).with_name("kubectl")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"] | {
    "version": mammoscope.__version__
}


def stage(target: str) -> str:
    """The Dockerfile's instructions for one target."""
    return DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]


def entry(target: str) -> list[str]:
    """The command of a target's image: its ENTRYPOINT and CMD."""
    return [
        word
        for name in ("ENTRYPOINT", "CMD")
        for words in re.findall(rf"^{name} (\[.*\])$", stage(target), re.MULTILINE)
        for word in json.loads(words)
    ]


INIT = entry("serve")[: entry("serve").index("--") + 1]
"""Words of the image's process 1, up to those of the program that it starts."""

Break = Callable[[list[Object]], object]
"""Introduces one error into the objects of a deployment."""


def deployables(folder: Path = MANIFESTS) -> list[str]:
    """Folders below `folder` for `kubectl apply --kustomize`."""
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


def spec_of(objects: list[Object], kind: str) -> Any:
    return next(each for each in objects if each["kind"] == kind)["spec"]


def pod_of(objects: list[Object]) -> Any:
    return spec_of(objects, "Deployment")["template"]["spec"]


def container_of(objects: list[Object]) -> Any:
    return pod_of(objects)["containers"][0]
