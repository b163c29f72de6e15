"""The audit of the licences and vulnerabilities of the service's packages."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def licences() -> Any:
    return script("licences")


@pytest.mark.parametrize(
    ("licence", "passes"),
    [
        ("MIT", True),
        ("GPL-3.0-or-later", False),
        ("AGPLv3", False),
        ("GNU General Public License v2 (GPLv2)", False),
        ("MIT OR GPL-2.0", False),
        ("LGPL-2.1", True),
        ("GNU Lesser General Public License v3", True),
        ("UNKNOWN", False),
        ("Other/Proprietary License", False),
    ],
)
def test_licence(
    licences: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], licence: str, passes: bool
) -> None:
    listing, lock = tmp_path / "licences.json", tmp_path / "Pipfile.lock"
    listing.write_text(json.dumps([{"Name": "Some_Package", "License": licence}]))
    lock.write_text(json.dumps({"default": {"some-package": {}}}))
    assert licences.main(listing, lock) == (0 if passes else 1)
    assert licence in capsys.readouterr().out or licence == "UNKNOWN"


def test_package_that_is_not_installed_is_reported(licences: Any) -> None:
    _, wrong = licences.check({}, {"missing"})
    assert len(wrong) == 1
    assert "missing" in wrong[0]


def test_review_is_for_unknown_licences_only(licences: Any) -> None:
    name = next(iter(licences.REVIEWED))
    assert licences.check({name: "UNKNOWN"}, {name})[1] == []
    assert licences.check({name: "GPL-3.0"}, {name})[1] != []


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "none known in 1"),
        ([{"name": "a", "skip_reason": "not found"}], 3, "NOT DONE"),
        (
            [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}],
            3,
            "none known in 1 packages",
        ),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "CVE-1, fixed in 2",
        ),
    ],
)
def test_vulnerabilities(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    packages: list[dict[str, Any]],
    code: int,
    said: str,
) -> None:
    found = tmp_path / "vulnerabilities.json"
    found.write_text(json.dumps({"dependencies": packages}))
    assert script("vulnerabilities").main(found) == code
    told = capsys.readouterr().out
    assert said in told
    assert ("NOT DONE" in told) == (code == 3)
    assert "of 0 packages" not in told
