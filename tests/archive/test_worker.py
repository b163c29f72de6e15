"""The round trip with a PACS, by DICOMweb: every study is reported once."""

import threading
from collections import Counter

import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid
from sqlalchemy import event

from mammoscope.archive.state import Stage
from mammoscope.errors import ArchiveRefusedError, ArchiveUnreachableError
from tests.archive.servers import PATIENCE_S, Orthanc, free_port, wait_for
from tests.archive.studies import changed, header, study, study_uid_of, uid_of
from tests.archive.workers import worker


def reports(orthanc: Orthanc) -> Counter[str]:
    """Number of reports by study."""
    return Counter(study_uid_of(file) for file in orthanc.instances("SR"))


@pytest.fixture
def run(tmp_path, engine, reader):
    """Run a worker until nothing is left, with the state of the last one."""

    def run(**settings) -> list[Stage]:
        with worker(tmp_path, engine, reader, **settings) as running:
            return running.run()

    return run


def test_studies_are_reported_once_in_any_syntax(orthanc, run) -> None:
    syntaxes = ["explicit", "implicit", "rle", "jpeg", "jpeg-lossless-sv1", "jpeg-ls", "jpeg-2000"]
    studies = [study(seed, syntax, views=1) for seed, syntax in enumerate(syntaxes)]
    for each in studies:
        orthanc.store(*each)
    assert run(dicomweb=orthanc.dicomweb) == [Stage.STORED] * len(syntaxes)
    assert reports(orthanc) == {study_uid_of(each[0]): 1 for each in studies}
    assert run(dicomweb=orthanc.dicomweb) == []
    assert set(reports(orthanc).values()) == {1}


def test_the_report_is_about_all_images_of_the_study(orthanc, run) -> None:
    images = study()
    orthanc.store(*images)
    run(dicomweb=orthanc.dicomweb)
    (report,) = map(header, orthanc.instances("SR"))
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == study_uid_of(images[0])
    named = {
        item.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named == set(map(uid_of, images))
    assert report.PatientID == header(images[0]).PatientID


def test_the_archive_gives_back_the_bytes_that_were_kept(
    orthanc, tmp_path, engine, reader, monkeypatch
) -> None:
    orthanc.store(*study(views=1))
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        kept = []
        keep = running.state.keep_results
        monkeypatch.setattr(
            running.state, "keep_results", lambda *given: (kept.extend(given[1]), keep(*given))
        )
        running.run()
    found = {uid_of(file): file for file in orthanc.instances()}
    assert kept
    for result in kept:
        assert found[result.sop_instance_uid] == result.data


def test_a_new_image_makes_a_report_that_names_its_predecessor(orthanc, run) -> None:
    images = study()
    orthanc.store(*images[:3])
    run(dicomweb=orthanc.dicomweb)
    (first,) = orthanc.instances("SR")
    orthanc.store(images[3])
    assert run(dicomweb=orthanc.dicomweb) == [Stage.STORED]
    (second,) = (file for file in orthanc.instances("SR") if file != first)
    (predecessor,) = header(second).PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (item,) = series.ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == uid_of(first)
    assert run(dicomweb=orthanc.dicomweb) == []


def test_a_new_model_makes_a_new_report(orthanc, run, engine, monkeypatch) -> None:
    orthanc.store(*study(views=1))
    run(dicomweb=orthanc.dicomweb)
    card = engine.card.model_copy(update={"version": "tiny-2"})
    monkeypatch.setattr(engine, "card", card)
    assert run(dicomweb=orthanc.dicomweb) == [Stage.STORED]
    assert set(reports(orthanc).values()) == {2}


def test_secondary_captures_and_other_modalities_make_no_work(orthanc, run) -> None:
    (image,) = study(views=1)
    new = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    orthanc.store(
        changed(image, SOPClassUID=SecondaryCaptureImageStorage, ConversionType="WSD"),
        changed(image, Modality="CR", **new),
    )
    assert run(dicomweb=orthanc.dicomweb) == []
    assert orthanc.instances("SR") == []


def test_a_view_that_is_no_screening_view_is_left_out(orthanc, run, tmp_path) -> None:
    magnified = {"EstimatedRadiographicMagnificationFactor": 1.8}
    orthanc.store(*(changed(image, **magnified) for image in study(views=1)))
    assert run(dicomweb=orthanc.dicomweb) == [Stage.LEFT_OUT]
    assert orthanc.instances("SR") == []


def test_a_broken_image_among_four_is_named_in_the_report(orthanc, run) -> None:
    *good, bad = study()
    orthanc.store(*good, changed(bad, PixelData=b"\0\0"))
    assert run(dicomweb=orthanc.dicomweb) == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def test_a_study_of_broken_images_is_listed_as_failed(orthanc, tmp_path, engine, reader) -> None:
    orthanc.store(*(changed(image, PixelData=b"\0\0") for image in study(views=2)))
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        assert running.run() == [Stage.FAILED]
        (failure,) = running.state.failures()
        assert "No image of the study can be predicted" in failure.reason
        assert running.run() == []
        running.state.retry([failure.id])
        assert running.run() == [Stage.FAILED]


def test_the_worker_waits_for_an_archive_that_is_down(orthanc, tmp_path, engine, reader) -> None:
    orthanc.store(*study(views=1))
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        sent = threading.Event()
        send = running.worker._send

        def send_to_a_stopped_archive(*given: object) -> None:
            if not sent.is_set():
                sent.set()
                orthanc.stop()
            send(*given)

        running.worker._send = send_to_a_stopped_archive
        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda: running.watcher.waits)
        orthanc.start()
        thread.join()
        assert running.watcher.stages == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def test_a_study_is_predicted_while_another_is_sent(orthanc, tmp_path, engine, reader) -> None:
    for seed in range(2):
        orthanc.store(*study(seed, views=1))
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        both = threading.Barrier(2)
        send = running.worker._send

        def send_when_both_are_predicted(*given: object) -> None:
            both.wait(PATIENCE_S)
            send(*given)

        running.worker._send = send_when_both_are_predicted
        assert running.run() == [Stage.STORED] * 2
    assert set(reports(orthanc).values()) == {1}


def test_until_idle_gives_up_an_archive_that_stays_away(tmp_path, engine, reader) -> None:
    away = f"http://127.0.0.1:{free_port()}/dicom-web"
    with (
        worker(tmp_path, engine, reader, dicomweb=away, unreachable_s=0.1) as running,
        pytest.raises(ArchiveUnreachableError, match="does not answer"),
    ):
        running.run()


def test_an_archive_that_stores_nothing_is_found_out(orthanc, tmp_path, engine, reader) -> None:
    orthanc.store(*study(views=1))
    options = {"dicomweb": orthanc.dicomweb, "max_attempts": 2}
    with worker(tmp_path, engine, reader, **options) as running:
        send, running.worker._send = running.worker._send, lambda *_: None
        assert running.run() == [Stage.FAILED]
        (failure,) = running.state.failures()
        assert "does not list" in failure.reason
        assert failure.attempts == 2
        running.worker._send = send
        running.state.retry()
        assert running.run() == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def test_a_study_whose_images_are_not_listed_does_not_stop_the_others(
    orthanc, tmp_path, engine, reader, monkeypatch
) -> None:
    good, bad = study(0, views=1), study(1, views=1)
    orthanc.store(*good, *bad)
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        archive = running.worker._archive
        instances = archive.instances

        def refuse_one(study_uid: str):
            if study_uid == study_uid_of(bad[0]):
                raise ArchiveRefusedError("Refused.")
            return instances(study_uid)

        monkeypatch.setattr(archive, "instances", refuse_one)
        with pytest.raises(ArchiveRefusedError, match="images of 1 studies"):
            running.run()
        assert reports(orthanc) == {study_uid_of(good[0]): 1}
        monkeypatch.undo()
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        assert running.run() == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}


def test_the_worker_waits_for_a_disk_that_is_full(orthanc, tmp_path, engine, reader) -> None:
    orthanc.store(*study(views=1))
    full = threading.Event()
    full.set()
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:

        @event.listens_for(running.state._engine, "begin")
        def limit(connection) -> None:
            # Room for the queue, and none for results.
            pages = 16 if full.is_set() else 1 << 30
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        thread = threading.Thread(target=running.run)
        thread.start()
        wait_for(lambda: "state_failed" in running.watcher.waits)
        assert reports(orthanc) == {}
        full.clear()
        thread.join()
        assert running.watcher.stages == [Stage.STORED]
    assert set(reports(orthanc).values()) == {1}
