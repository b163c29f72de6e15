"""Show the round trip with a PACS: start Orthanc, let a worker report studies, stop Orthanc.

Usage: python scripts/demo_archive.py
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = Path("/usr/share/orthanc/plugins")
READY_WITHIN_S = 60
SYNTAXES = ("explicit", "jpeg-2000", "jpeg-lossless-sv1")


def main() -> int:
    """Run the demo; 0, or 1 if a part of it failed."""
    program = shutil.which("Orthanc", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if program is None or not (PLUGINS / "libOrthancDicomWeb.so").exists():
        print(
            "The demo needs Orthanc with DICOMweb; on Debian: apt-get install orthanc "
            "orthanc-dicomweb",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="mammoscope-demo-") as name:
        work = Path(name)
        with orthanc(program, work) as url:
            show_round_trip(work, url)
            print(f"\nOrthanc shows the studies at {url}/app/explorer.html")
            if sys.stdin.isatty():
                input("Press Enter to stop it and to remove everything. ")
    return 0


def show_round_trip(work: Path, url: str) -> None:
    """Store phantoms in the archive, report them, and print what the archive has."""
    dicomweb = f"{url}/dicom-web"
    for seed, syntax in enumerate(SYNTAXES):
        folder = work / f"phantoms-{seed}"
        mammoscope(
            "phantoms", folder, "--studies", "--count", "1", "--seed", seed, "--syntax", syntax,
            quiet=True,
        )  # fmt: skip
        mammoscope("archive", "push", folder, "--dicomweb", dicomweb)
    state = f"sqlite:///{work / 'state.db'}"
    mammoscope(
        "archive", "worker", "--dicomweb", dicomweb, "--from", "2020-01-01", "--state", state,
        "--until-idle",
    )  # fmt: skip
    mammoscope("archive", "status", "--state", state)
    print("\nWhat the archive has:")
    for study in ask(f"{dicomweb}/studies"):
        uid = value(study, "0020000D")
        print(f"study of {value(study, '00100020')}")
        found: Counter[tuple[str, str]] = Counter()
        for series in ask(f"{dicomweb}/studies/{uid}/series?includefield=0008103E"):
            described = value(series, "0008103E") or "source images"
            found[value(series, "00080060"), described] += int(value(series, "00201209"))
        for (modality, described), number in sorted(found.items()):
            print(f"  {modality:4} {number:>2} x {described}")


def mammoscope(*words: object, quiet: bool = False) -> None:
    """Print and run a command of the package."""
    print("\n$ mammoscope", *words, flush=True)
    environment = {**os.environ, "MAMMOSCOPE_ARCHIVE_QUIET_S": "0"}
    environment["MAMMOSCOPE_ARCHIVE_METRICS_BIND"] = ""
    subprocess.run(
        [sys.executable, "-m", "mammoscope", *map(str, words)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL if quiet else None,
    )


def ask(address: str) -> list[dict[str, Any]]:
    """Return the answer of a search."""
    answer = requests.get(address, headers={"Accept": "application/dicom+json"}, timeout=30)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def value(attributes: dict[str, Any], tag: str) -> str:
    """Return an attribute's first value as text, or ''."""
    return str((attributes.get(tag, {}).get("Value") or [""])[0])


@contextmanager
def orthanc(program: str, work: Path) -> "Iterator[str]":
    """Run Orthanc on free ports; yields its address."""
    http, dicom = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(work / "storage"),
        "IndexDirectory": str(work / "storage"),
        "Plugins": [str(path) for path in PLUGINS.glob("libOrthanc[DG]*.so")],
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
    }
    (work / "orthanc.json").write_text(json.dumps(configuration), "utf-8")
    with (work / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, work / "orthanc.json"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http}"
    print(f"Starting Orthanc at {url}, DICOM port {dicom}")
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"Orthanc does not start:\n{(work / 'orthanc.log').read_text('utf-8')}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(READY_WITHIN_S)


def answers(url: str) -> bool:
    """Whether Orthanc answers."""
    try:
        return requests.get(f"{url}/system", timeout=5).ok
    except requests.ConnectionError:
        return False


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
