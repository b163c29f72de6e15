"""All deployments, and the facts that they must agree with."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.settings.service import ServiceSettings
from tests.deployment.manifests import DOCKERFILE, MANIFESTS, deployables, render
from tests.deployment.objects import Object
from tests.fake_engine import app_with


@pytest.fixture(scope="session")
def with_components(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kube-config with additional overlays: each component alone, with what it changes."""
    folder = tmp_path_factory.mktemp("manifests") / "kube-config"
    shutil.copytree(MANIFESTS, folder)
    alone = dict.fromkeys(("keys", "offline"), "base")
    alone |= {f"archive-{name}": "archive" for name in ("listener", "monitoring", "postgresql")}
    for name, changed in alone.items():
        overlay = folder / "overlays" / name
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(
            f"kind: Kustomization\nresources: [../../{changed}]\n"
            f"components: [../../components/{name}]\n"
        )
    return folder


@pytest.fixture(scope="session")
def rendered(with_components: Path) -> dict[str, list[Object]]:
    names = deployables(with_components)
    return {name: list(yaml.safe_load_all(render(with_components / name))) for name in names}


@pytest.fixture(scope="session")
def get_paths() -> set[str]:
    app = app_with(ServiceSettings(), LoadingEngine(lambda: pytest.fail("is not needed")))
    return {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}


@pytest.fixture(scope="session")
def user() -> int:
    users = set(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE))
    assert len(users) == 1
    return int(users.pop())
