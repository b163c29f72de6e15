"""Everything that can be deployed, and what it has to agree with."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from mammoscope.service import LoadingEngine, create_app
from mammoscope.settings import ServiceSettings
from tests.deployment.manifests import DOCKERFILE, MANIFESTS, deployables, render
from tests.deployment.objects import Object


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def rendered(with_offline: Path) -> dict[str, list[Object]]:
    names = deployables(with_offline)
    return {name: list(yaml.safe_load_all(render(with_offline / name))) for name in names}


@pytest.fixture(scope="session")
def get_paths() -> set[str]:
    app = create_app(ServiceSettings(), LoadingEngine(lambda: pytest.fail("is not needed")))
    return {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}


@pytest.fixture(scope="session")
def user() -> int:
    users = set(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE))
    assert len(users) == 1
    return int(users.pop())
