"""The door that listens: dcmtk sends, and every image is kept until its study is reported."""

import shutil
import socket
import subprocess
import time
from collections import Counter

import pytest
import trustme

from mammoscope.archive.spool import Spool
from mammoscope.archive.state import Stage
from mammoscope.errors import ConfigurationError, StorageError
from tests.archive.doors import TITLE
from tests.archive.servers import Orthanc, command, wait_for
from tests.archive.studies import changed, study, study_uid_of
from tests.full_disk import FullDisk


def reports(orthanc: Orthanc) -> Counter[str]:
    return Counter(study_uid_of(file) for file in orthanc.instances("SR"))


@pytest.mark.parametrize(
    ("syntax", "option"),
    [("explicit", "-xe"), ("jpeg-2000", "-xv"), ("jpeg-lossless-sv1", "-xs")],
)
def test_a_study_sent_by_c_store_is_reported_by_c_store(syntax, option, orthanc, door) -> None:
    images = study(0, syntax, views=2)
    address = f"PACS@127.0.0.1:{orthanc.dicom}"
    with door.opened(send_to=address) as running:
        assert door.send(*images, options=[option]) == 0
        assert len(door.images()) == 2
        assert running.run() == [Stage.STORED]
        assert reports(orthanc) == {study_uid_of(images[0]): 1}
        assert len(door.images()) == 0
        assert door.send(*images, options=[option]) == 0
        assert running.run() == []
        assert len(door.images()) == 0


def test_both_doors_report_a_study_once(orthanc, door) -> None:
    images = study(views=2)
    orthanc.store(*images)
    options = {"dicomweb": orthanc.dicomweb}
    with door.opened(**options) as running:
        door.send(*images)
        assert running.run() == [Stage.STORED]
        assert running.run() == []
    assert set(reports(orthanc).values()) == {1}


def test_the_listener_answers_c_echo_and_only_to_titles_it_knows(door) -> None:
    options = {"send_to": "PACS@127.0.0.1:1", "calling_titles": ("SENDER",)}
    with door.opened(**options):
        echo = [command("echoscu"), "-aec", TITLE, "127.0.0.1", str(door.port), "-aet"]
        assert subprocess.run([*echo, "SENDER"], check=False).returncode == 0
        assert subprocess.run([*echo, "OTHER"], check=False).returncode != 0
        assert door.send(*study(views=1), calling="OTHER") != 0
        assert door.send(*study(views=1), called="OTHER") != 0
        assert len(door.images()) == 0
        assert door.send(*study(views=1)) == 0
        assert len(door.images()) == 1


def test_a_study_is_complete_after_a_quiet_time(orthanc, door) -> None:
    images = study()
    options = {"dicomweb": orthanc.dicomweb, "quiet_s": 1.5}
    with door.opened(**options) as running:
        for image in images:
            assert door.send(image) == 0
            time.sleep(0.3)
        assert running.run() == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def test_objects_that_are_no_source_images_are_accepted_and_dropped(door) -> None:
    with door.opened() as running:
        assert door.send(changed(study(views=1)[0], Modality="CR")) == 0
        assert len(door.images()) == 0
        assert running.run() == []


def test_a_received_study_survives_a_stop(orthanc, tmp_path, door) -> None:
    images = study(views=2)
    options = {"dicomweb": orthanc.dicomweb}
    with door.opened(**options):
        door.send(*images)
    for file in tmp_path.glob("state.db*"):  # as if it was killed before the state knew them
        if file.suffix != ".key":
            file.unlink()
    with door.opened(**options) as running:
        assert running.run() == [Stage.STORED]
    assert reports(orthanc) == {study_uid_of(images[0]): 1}


def test_a_late_image_without_the_earlier_ones_is_listed_as_failed(orthanc, door) -> None:
    images = study()
    address = f"PACS@127.0.0.1:{orthanc.dicom}"
    with door.opened(send_to=address, max_attempts=1) as running:
        door.send(*images[:3])
        assert running.run() == [Stage.STORED]
        door.send(images[3])
        assert running.run() == [Stage.FAILED]
        (failure,) = running.state.failures()
        assert failure.reason.startswith("3 of the study's 4 images are not here any more.")
        door.send(*images)
        assert running.state.retry([failure.id]) == 1
        assert running.run() == [Stage.STORED]
        assert len(door.images()) == 0
    assert set(reports(orthanc).values()) == {2}


def test_a_sender_without_a_certificate_is_refused(tmp_path, door) -> None:
    authority = trustme.CA()
    files = {}
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost")
        files[name] = tmp_path / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(files[name])
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(root)
    options = {"listen_certificate": files["server"], "listen_ca_file": root}
    with door.opened(**options):
        image = study(views=1)
        assert door.send(*image) != 0
        assert door.send(*image, options=["+tla", "+cf", str(root)]) != 0
        assert len(door.images()) == 0
        certified = ["+tls", str(files["client"]), str(files["client"]), "+cf", str(root)]
        assert door.send(*image, options=certified) == 0
        assert len(door.images()) == 1


def test_an_association_that_is_cut_leaves_whole_images_only(tmp_path, door) -> None:
    with door.opened():
        paths = []
        for number, image in enumerate(study()):
            paths.append(tmp_path / f"{number}.dcm")
            paths[-1].write_bytes(image)
        sender = subprocess.Popen(
            [command("storescu"), "-aec", TITLE, "127.0.0.1", str(door.port), *paths * 20],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: len(door.images()) >= 2)
        sender.kill()
        sender.wait()
        with socket.create_connection(("127.0.0.1", door.port)) as rude:
            rude.sendall(b"\x01\x00\x00\x00\x10\x00half")
        kept = [path.read_bytes() for path in door.images()]
        sizes = {len(image) for image in study()}
        assert all(abs(len(image) - min(sizes)) < 4096 for image in kept)


def test_a_full_spool_refuses_for_the_time_being(orthanc, door) -> None:
    images = study(views=2)
    options = {"dicomweb": orthanc.dicomweb}
    with door.opened(spool_bytes=len(images[0]) + 2048, **options) as running:
        assert door.send(images[0]) == 0
        assert door.send(images[1]) != 0
        assert running.run() == [Stage.STORED]
        assert door.send(images[1]) == 0


def test_a_full_disk_keeps_no_half_image(tmp_path, monkeypatch) -> None:
    with Spool(tmp_path / "spool", 1 << 30, "key") as spool:
        spool.write("study", "image", b"old")
        disk = FullDisk(monkeypatch)
        for step in range(1, 4):
            disk.left = step
            with pytest.raises(StorageError):
                spool.write("study", "image", b"new")
            disk.left = 0
            assert [path.read_bytes() for path in spool.images("study").values()] == [b"old"]


def test_two_workers_cannot_share_a_spool(tmp_path) -> None:
    with (
        Spool(tmp_path / "spool", 1, "key"),
        pytest.raises(ConfigurationError, match="each its own"),
    ):
        Spool(tmp_path / "spool", 1, "key")
    shutil.rmtree(tmp_path / "spool")


def test_a_spool_with_images_of_another_state_is_refused(tmp_path) -> None:
    folder = tmp_path / "spool"
    with Spool(folder, 1 << 20, "one") as spool:
        spool.write("study", "image", b"data")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="received under another state"):
            Spool(folder, 1 << 20, "two")
    with Spool(folder, 1 << 20, "one") as spool:
        assert len(spool.images("study")) == 1
        spool.remove("study", lambda: False)
    with Spool(folder, 1 << 20, "two") as spool:
        spool.write("study", "image", b"data")
