"""Servers for the tests of the archive, on this machine: Orthanc, and what all servers need."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

PATIENCE_S = 180
"""Seconds after which a server counts as hanging, on a busy machine too."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def command(name: str, *folders: str) -> str:
    """Path of a program, which may stand where shells do not look."""
    path = os.pathsep.join([os.environ["PATH"], *folders])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"NOT DONE: {name} is not installed")
    return found


def wait_for(condition: Any, patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition` returns something true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


class Orthanc:
    """A PACS: Orthanc with its DICOMweb plug-in."""

    def __init__(self, folder: Path) -> None:
        self.http, self.dicom = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.dicomweb = f"{self.url}/dicom-web"
        self._folder = folder
        self._log = folder / "log"
        plugins = [
            str(path)
            for name in ("DicomWeb", "Gdcm")
            for path in Path("/usr/share/orthanc/plugins").glob(f"libOrthanc{name}.so")
        ]
        self._configuration = {
            "Name": "tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": plugins,
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "PACS",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
            "DicomWeb": {"Enable": True},
        }

    def start(self) -> None:
        program = command("Orthanc", "/usr/sbin")
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration))
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([program, configuration], stdout=log, stderr=log)
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self.url}/system", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)

    def clear(self) -> None:
        for study in requests.get(f"{self.url}/studies", timeout=5).json():
            requests.delete(f"{self.url}/studies/{study}", timeout=5)

    def store(self, *files: bytes) -> None:
        for file in files:
            requests.post(f"{self.url}/instances", data=file, timeout=30).raise_for_status()

    def instances(self, modality: str | None = None) -> list[bytes]:
        """The bytes of all instances, or those of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality or "*"}}
        found = requests.post(f"{self.url}/tools/find", json=query, timeout=30).json()
        return [
            requests.get(f"{self.url}/instances/{each}/file", timeout=30).content for each in found
        ]
