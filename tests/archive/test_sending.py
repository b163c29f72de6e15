"""Results by C-STORE: TLS to dcmtk's storescp, and Storage Commitment with Orthanc and others."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
import trustme
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context
from structlog.testing import capture_logs

from mammoscope.archive.commitment import COMMITMENT, Commitments
from mammoscope.archive.peer import VERIFICATION
from mammoscope.archive.state import Stage
from mammoscope.errors import ArchiveUnreachableError, ConfigurationError
from tests.archive.doors import TITLE
from tests.archive.servers import PATIENCE_S, Orthanc, command, free_port, wait_for
from tests.archive.studies import study
from tests.archive.test_worker import reports


class Receiver:
    """dcmtk's storescp, which offers no Storage Commitment."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"PACS@127.0.0.1:{self.port}"
        self._folder = folder

    @contextmanager
    def started(self, *options: object, syntaxes: str = "+xa") -> Iterator[None]:
        self._folder.mkdir()
        process = subprocess.Popen(
            [command("storescp"), *map(str, options), syntaxes, "-od", self._folder,
             str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(self._listens)
            yield
        finally:
            process.kill()
            process.wait(PATIENCE_S)

    def _listens(self) -> bool:
        connections = Path("/proc/net/tcp").read_text("ascii")
        return f":{self.port:04X} 00000000:0000 0A" in connections

    def files(self) -> list[Path]:
        return list(self._folder.iterdir())


@pytest.fixture
def receiver(tmp_path) -> Receiver:
    return Receiver(tmp_path / "received")


class Papers:
    """An authority, and the certificates that it signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.root = folder / "root.pem"
        self._authority.cert_pem.write_to_path(self.root)

    def issued(self, host: str) -> Path:
        """A certificate and its key, in one file."""
        path = self._folder / f"{host}.pem"
        issued = self._authority.issue_cert(host)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def of_server(self, host: str) -> list[object]:
        """Options of storescp, which then asks senders for a certificate."""
        certificate = self.issued(host)
        return ["+tls", certificate, certificate, "+cf", self.root]


@pytest.fixture
def papers(tmp_path) -> Papers:
    return Papers(tmp_path)


def test_results_are_sent_by_tls_with_a_client_certificate(door, receiver, papers) -> None:
    files = {"send_certificate": papers.issued("worker"), "send_ca_file": papers.root}
    with (
        receiver.started(*papers.of_server("127.0.0.1")),
        door.opened(send_to=receiver.address, **files) as running,
    ):
        door.send(*study(views=1))
        assert running.run() == [Stage.STORED]
        assert len(receiver.files()) == 3


@pytest.mark.parametrize(
    "problem", ["no TLS", "another host", "another authority", "no client certificate"]
)
def test_nothing_is_sent_without_trust_in_both_directions(
    problem, door, receiver, papers, tmp_path
) -> None:
    files = {"send_certificate": papers.issued("worker"), "send_ca_file": papers.root}
    server = papers.of_server("pacs.example" if problem == "another host" else "127.0.0.1")
    if problem == "no TLS":
        server = []
    elif problem == "another authority":
        (tmp_path / "other").mkdir()
        files["send_ca_file"] = Papers(tmp_path / "other").root
    elif problem == "no client certificate":
        del files["send_certificate"]
    options = {"send_to": receiver.address, "unreachable_s": 0.1}
    with receiver.started(*server), door.opened(**options, **files) as running:
        door.send(*study(views=1))
        with pytest.raises(ArchiveUnreachableError, match="does not answer by TLS"):
            running.run()
        assert receiver.files() == []
        assert running.state.counts()[Stage.PREDICTED] == 1


def test_an_archive_that_does_not_accept_every_kind_gets_nothing(door, receiver) -> None:
    uncompressed = "+x="
    options = {"send_to": receiver.address, "max_attempts": 1}
    with receiver.started(syntaxes=uncompressed), door.opened(**options) as running:
        door.send(*study(views=1))
        assert running.run() == [Stage.FAILED]
        (failure,) = running.state.failures()
        assert "Segmentation Storage in JPEG-LS Lossless" in failure.reason
        assert "Capture Image Storage in JPEG Baseline" in failure.reason
        assert failure.reason.endswith("; nothing was sent.")
        assert receiver.files() == []


def test_certificates_that_cannot_be_read_are_told(door, tmp_path) -> None:
    wrong = tmp_path / "no.pem"
    wrong.write_text("no certificate")
    for setting in ("send_certificate", "send_ca_file"):
        with (
            pytest.raises(ConfigurationError, match="ARCHIVE_SEND_CA_FILE cannot be read"),
            door.opened(**{setting: wrong}),
        ):
            pass


@contextmanager
def known(orthanc: Orthanc, port: int) -> Iterator[None]:
    """Let Orthanc send reports of commitment to a port."""
    modality = f"{orthanc.url}/modalities/worker"
    peer = {"AET": TITLE, "Host": "127.0.0.1", "Port": port}
    requests.put(modality, json=peer, timeout=5).raise_for_status()
    yield
    requests.delete(modality, timeout=5)


def test_a_study_is_stored_when_the_archive_has_committed_to_it(orthanc, door, monkeypatch) -> None:
    stages = []
    report = Commitments.report

    def noted(self: Commitments, event: Any) -> tuple[int, None]:
        stages.append(running.state.counts())
        return report(self, event)

    monkeypatch.setattr(Commitments, "report", noted)
    options = {"send_to": f"PACS@127.0.0.1:{orthanc.dicom}", "commitment_s": PATIENCE_S}
    with known(orthanc, door.port), door.opened(**options) as running, capture_logs() as log:
        door.send(*study(views=1))
        assert running.run() == [Stage.STORED]
    (counts,) = stages
    assert (counts[Stage.PREDICTED], counts[Stage.STORED]) == (1, 0)
    assert "not_committed" not in {entry["event"] for entry in log}
    assert set(reports(orthanc).values()) == {1}


def test_a_study_that_the_archive_does_not_keep_is_listed_as_failed(orthanc, door) -> None:
    options = {
        "send_to": f"PACS@127.0.0.1:{orthanc.dicom}",
        "commitment_s": PATIENCE_S,
        "max_attempts": 2,
    }
    with known(orthanc, door.port), door.opened(**options) as running:
        send = running.worker._send
        running.worker._send = lambda study_uid, results: send(study_uid, results[:-1])
        door.send(*study(views=1))
        assert running.run() == [Stage.FAILED]
        (failure,) = running.state.failures()
        assert failure.reason == "The archive does not commit to 1 of 3 objects."
        running.worker._send = send
        running.state.retry()
        assert running.run() == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def warnings_of(log: list[Any]) -> list[str]:
    return [entry["reason"] for entry in log if entry["event"] == "not_committed"]


def test_without_a_report_in_time_the_answer_to_c_store_counts(orthanc, door) -> None:
    options = {"send_to": f"PACS@127.0.0.1:{orthanc.dicom}", "commitment_s": 0.5}
    with known(orthanc, free_port()), door.opened(**options) as running, capture_logs() as log:
        door.send(*study(views=1))
        assert running.run() == [Stage.STORED]
    (warning,) = warnings_of(log)
    assert "no report within 0.5 seconds. Unless it reports" in warning
    assert "needs the worker's --listen address" in warning


def test_an_archive_without_commitment_stores_with_a_warning(door, receiver) -> None:
    options = {"send_to": receiver.address, "commitment_s": PATIENCE_S}
    with receiver.started(), door.opened(**options) as running, capture_logs() as log:
        door.send(*study(views=1))
        assert running.run() == [Stage.STORED]
        assert len(receiver.files()) == 3
    assert warnings_of(log) == ["The archive offers no Storage Commitment at this address."]


class Committing:
    """An archive that answers on the association of the request; PS3.4 J allows it."""

    def __init__(self, status: int = 0x0000) -> None:
        self._status = status
        self.port = free_port()
        self.replies: list[int] = []
        entity = AE("PACS")
        contexts = [*AllStoragePresentationContexts]
        for context in contexts:
            context.add_transfer_syntax("1.2.840.10008.1.2.4.50")
            context.add_transfer_syntax("1.2.840.10008.1.2.4.80")
        self._server: Any = entity.start_server(
            ("127.0.0.1", self.port), block=False,
            contexts=[*contexts, build_context(COMMITMENT), build_context(VERIFICATION)],
            evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_ACTION, self._asked)],
        )  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()

    def _asked(self, event: Any) -> tuple[int, Dataset | None]:
        if not self._status:
            Thread(target=self._report, args=(event.assoc, event.action_information)).start()
        return self._status, None

    def _report(self, association: Any, asked: Dataset) -> None:
        instance = "1.2.840.10008.1.20.1.1"
        answer, _ = association.send_n_event_report(asked, 1, COMMITMENT, instance)
        self.replies.append(answer.Status)


def test_a_report_may_come_on_the_association_of_the_request(door) -> None:
    archive = Committing()
    options = {"send_to": f"PACS@127.0.0.1:{archive.port}", "commitment_s": PATIENCE_S}
    try:
        with door.opened(**options) as running, capture_logs() as log:
            door.send(*study(views=1))
            assert running.run() == [Stage.STORED]
        assert warnings_of(log) == []
        assert archive.replies == [0x0000]
    finally:
        archive.close()


def test_a_refused_request_for_commitment_is_told(door) -> None:
    archive = Committing(0x0110)
    options = {
        "send_to": f"PACS@127.0.0.1:{archive.port}",
        "commitment_s": PATIENCE_S,
        "max_attempts": 1,
    }
    try:
        with door.opened(**options) as running:
            door.send(*study(views=1))
            assert running.run() == [Stage.FAILED]
            (failure,) = running.state.failures()
            assert failure.reason.endswith("Storage Commitment with status 0x0110.")
    finally:
        archive.close()
