"""Packages, tools and actions are pinned; the audit of components, licences and vulnerabilities."""

import hashlib
import importlib.util
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
REQUIREMENTS = ROOT / ".ci" / "requirements"
WORKFLOWS = ROOT / ".github" / "workflows"


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


@pytest.mark.parametrize("name", ["audit", "checkov", "moto", "pipenv"])
def test_tools_outside_the_lock_are_pinned_by_hash(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text("utf-8")
    packages = re.split(r"^(?=[\w.-]+(?:\[[\w,-]+\])?==)", text, flags=re.MULTILINE)[1:]
    pinned = {}
    for package in packages:
        requirement, *hashes = package.split("--hash=")
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}[\s\\]*", each) for each in hashes)
        found = re.match(r"([\w.-]+).*?==([^\s;]+)", requirement)
        assert found
        pinned[found[1]] = found[2]
    assert "://" not in text
    wishes = (REQUIREMENTS / f"{name}.in").read_text("utf-8").split()
    assert {wish: pinned[wish.partition("==")[0]] for wish in wishes} == {
        wish: wish.partition("==")[2] for wish in wishes
    }


def test_scripts_install_only_packages_with_hashes() -> None:
    scripts = [*(ROOT / ".ci").glob("*"), *SCRIPTS.glob("*.sh"), ROOT / "Makefile"]
    text = {path.name: path.read_text("utf-8") for path in scripts if path.is_file()}
    installing = {
        name for name, content in text.items() if re.search("pip[^\\n]* install ", content)
    }
    assert installing == {"tools.sh"}
    assert "--no-deps --require-hashes" in text["tools.sh"]
    used = set(re.findall(r"\.ci/tools\.sh (\w+) \.", "\n".join(text.values())))
    assert used == {path.stem for path in REQUIREMENTS.glob("*.txt")}


def workflow(name: str) -> dict[str, Any]:
    content = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", ["ci", "release"])
def test_workflows_pin_actions_and_have_few_permissions(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    text = (WORKFLOWS / f"{name}.yml").read_text("utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for each in used:
        assert re.fullmatch(r"\./.*\.yml|[\w.-]+/[\w.-]+@[0-9a-f]{40}  # v[0-9.]+", each), each
    # Untrusted input of a workflow never becomes part of a script.
    for step in steps(content):
        assert set(re.findall(r"\$\{\{(.*?)\}\}", step.get("run", ""))) <= {" matrix.python "}


def test_ci_audits_for_every_change_and_every_week() -> None:
    content = workflow("ci")
    assert {"pull_request", "schedule", "workflow_call"} <= content["on"].keys()
    assert "make audit" in {step.get("run") for step in content["jobs"]["audit"]["steps"]}


def test_a_release_is_tested_signed_and_attested_as_the_docs_verify_it() -> None:
    content = workflow("release")
    job = content["jobs"]["image"]
    assert content["jobs"][job["needs"]]["uses"] == "./.github/workflows/ci.yml"
    assert job["permissions"]["id-token"] == job["permissions"]["attestations"] == "write"
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    order = ["BASE=$base@$digest", "make image", "make audit IMAGE=", "docker push", "cosign sign"]
    found = [next(i for i, run in enumerate(scripts) if words in run) for words in order]
    assert found == sorted(found)
    digest = "${{ steps.push.outputs.digest }}"
    attested = [step["with"] for step in job["steps"] if "/attest@" in step.get("uses", "")]
    assert [each.get("subject-digest") for each in attested] == [digest, digest, None]
    assert attested[1]["sbom-path"] == "audit/image.cdx.json"
    page = (ROOT / "docs" / "service" / "security.md").read_text("utf-8")
    for words in ("cosign verify", "/.github/workflows/release.yml", "gh attestation verify",
                  "token.actions.githubusercontent.com", "image.base.name"):  # fmt: skip
        assert words in page
    assert "base=${BASE:-" in (ROOT / ".ci" / "image.sh").read_text("utf-8")


def test_components_include_c_libraries_in_wheels() -> None:
    packages = {
        "pillow",
        "imagecodecs",
        "opencv-python-headless",
        "openvino",
        "numpy",
        "simplejpeg",
    }
    found = script("components").components(packages)
    owners = {each["properties"][0]["value"] for each in found}
    assert owners == packages
    listed = {each["name"].lower() for each in found}
    assert {"openjpeg", "libjpeg_turbo", "charls", "libtiff", "libavcodec", "libtbb",
            "scipy-openblas", "libopenvino"} <= listed  # fmt: skip
    references = [each["bom-ref"] for each in found]
    assert len(references) == len(set(references))
    assert all(each.get("version") != "n/a" for each in found)


def test_components_come_from_lists_and_files_of_a_wheel(tmp_path: Path) -> None:
    folder = tmp_path / "some_package-1.0.dist-info"
    (folder / "sboms").mkdir(parents=True)
    library = tmp_path / "some_package.libs" / "libz-0123abcd.so.1.3"
    library.parent.mkdir()
    library.write_bytes(b"code")
    carried = {"components": [{"name": "zlib", "version": "1.3.1", "purl": "pkg:rpm/zlib@1.3.1"}]}
    (folder / "sboms" / "auditwheel.cdx.json").write_text(json.dumps(carried))
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: some_package\nVersion: 1.0\n")
    files = ("some_package-1.0.dist-info/sboms/auditwheel.cdx.json",
             "some_package.libs/libz-0123abcd.so.1.3", "some_package/_x.cpython-311.so",
             "some_package.libs/libgone.so")  # fmt: skip
    (folder / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    components, package = script("components"), metadata.Distribution.at(folder)
    (from_list,) = components.carried("some-package", package)
    assert (from_list["version"], from_list["purl"]) == ("1.3.1", "pkg:rpm/zlib@1.3.1")
    (from_file,) = components.shared("some-package", package)
    assert from_file["name"] == "libz"
    assert from_file["hashes"][0]["content"] == hashlib.sha256(b"code").hexdigest()
    assert "version" not in from_file


def test_components_of_a_system_are_its_debian_packages_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, release = tmp_path / "status", tmp_path / "os-release"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n"
        "Version: 2.36-9+deb12u9\nDescription: the C library\n Version: none\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
    )
    release.write_text('ID=debian\nVERSION_ID="12"\n')
    components = script("components")
    monkeypatch.setattr(components, "STATUS", status)
    monkeypatch.setattr(components, "RELEASE", release)
    (libc,) = components.debian()
    assert libc["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12"
    assert libc["name"] == "libc6"
    assert {"cpython", "expat"} <= {each["name"] for each in components.interpreter()}


def test_packages_depend_on_their_components() -> None:
    sbom = {
        "components": [{"bom-ref": "Pillow==1", "name": "Pillow"}],
        "dependencies": [{"ref": "Pillow==1", "dependsOn": ["x"]}],
    }
    part = script("components").component("pillow", "zlib", "1.3")
    found = script("sbom").added(sbom, [part])
    assert [each["name"] for each in found["components"]] == ["Pillow", "zlib"]
    assert found["dependencies"] == [{"ref": "Pillow==1", "dependsOn": ["pillow/zlib@1.3", "x"]}]
