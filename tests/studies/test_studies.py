"""Aggregation of a study's images by breast and patient."""

import csv
import io
import json
import math
import unicodedata

import pytest

from mammoscope.__main__ import main
from mammoscope.errors import MetadataError, UnreadableFileError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.reading import file_bytes
from mammoscope.model.artifact.card import Card, CardLevel, CardOperatingPoint
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.calibration import Calibration
from mammoscope.model.engine import load_engine
from mammoscope.phantoms.dicom import Encoding, write_phantom_study
from mammoscope.phantoms.drawing import write_phantoms
from mammoscope.studies import (
    COLUMNS,
    BreastResult,
    PatientResult,
    Placement,
    PredictedImage,
    Refusal,
    RefusedImage,
    aggregate,
    find_study,
    to_rows,
)
from tests.conftest import MODEL

CARD = Card(version="test", sha256="0" * 64, input_size=(96, 96))
L, R = Laterality.LEFT, Laterality.RIGHT
CC, MLO = View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE


def predicted(
    logit: float, patient="a", laterality=L, view=CC, chest_wall="left"
) -> PredictedImage:
    return PredictedImage(
        file="x",
        patient=patient,
        laterality=laterality,
        view=view,
        probability=CARD.calibration.probability(logit),
        logit=logit,
        threshold=0.5,
        warnings=(),
        chest_wall=chest_wall,
    )


def test_breasts_are_means_and_patients_the_higher_breast():
    study = aggregate(
        [
            predicted(1.0, view=CC), predicted(2.0, view=MLO),
            predicted(6.0, view=View.MEDIO_LATERAL),
            predicted(-1.0, laterality=R, view=CC), predicted(-3.0, laterality=R, view=MLO),
            predicted(0.5, patient="b"),
        ],
        CARD, "default",
    )  # fmt: skip
    assert [(each.patient, each.laterality, each.logit) for each in study.breasts] == [
        ("a", L, 3.0),
        ("a", R, -2.0),
        ("b", L, 0.5),
    ]
    first, second = study.patients
    assert first.logit == 3.0
    assert first.probability == pytest.approx(1 / (1 + math.exp(-3)))
    assert first.label == "tumour"
    assert first.missing_views == ()
    assert first.images == 5
    assert second.missing_views == ("R CC", "R MLO", "L MLO")
    assert study.breasts[2].missing_views == ("MLO",)


def test_the_order_of_images_does_not_matter():
    images = [predicted(1.0), predicted(3.0, view=MLO), predicted(-1.0, laterality=R)]
    forwards, backwards = (aggregate(each, CARD, "default") for each in (images, images[::-1]))
    assert forwards.patients == backwards.patients
    assert set(forwards.breasts) == set(backwards.breasts)


def test_views_of_unknown_side_are_grouped_by_the_chest_wall():
    study = aggregate(
        [predicted(1.0, laterality=None), predicted(3.0, laterality=None, view=MLO),
         predicted(5.0, laterality=None, chest_wall="right")],
        CARD, "default",
    )  # fmt: skip
    assert [each.logit for each in study.breasts] == [2.0, 5.0]
    assert [each.laterality for each in study.breasts] == [None, None]


def test_refused_images_and_unknown_patients_are_not_aggregated():
    error = Refusal(code="corrupt_image", message="It is damaged.")
    refused = RefusedImage(file="y", patient="a", laterality=L, view=MLO, error=error)
    study = aggregate([predicted(1.0), refused, predicted(9.0, patient=None)], CARD, "default")
    assert [each.logit for each in study.patients] == [1.0]
    assert study.breasts[0].missing_views == ("MLO",)
    assert len(study.images) == 3
    rows = to_rows(study)
    assert [row["level"] for row in rows] == ["image"] * 3 + ["breast", "patient"]
    assert rows[1]["error"] == "corrupt_image"
    assert all(tuple(row) == COLUMNS for row in rows)
    assert study.to_json()["images"][1]["error"]["message"] == "It is damaged."


def test_tables_and_answers_have_the_fields_of_the_results():
    error = Refusal(code="corrupt_image", message="It is damaged.")
    refused = RefusedImage(file="y", patient="a", laterality=L, view=None, error=error)
    study = aggregate([predicted(1.0), refused], CARD, "default").to_json()
    entries = [*study["images"], *study["breasts"], *study["patients"]]
    models = (PredictedImage, RefusedImage, BreastResult, PatientResult)
    schemas = [model.model_json_schema(mode="serialization") for model in models]
    assert [set(entry) for entry in entries] == [set(each["properties"]) for each in schemas]
    assert [set(each["required"]) for each in schemas] == [set(entry) for entry in entries]
    assert set().union(*entries) | {"level"} == set(COLUMNS)
    (breast,) = study["breasts"]
    assert breast["images"] == breast["pictures"] == 1
    assert schemas[2]["properties"]["pictures"]["deprecated"]


def test_levels_have_their_own_calibration_and_operating_points():
    card = CARD.model_copy(
        update={
            "levels": {
                "breast": CardLevel(calibration=Calibration(slope=2.0)),
                "patient": CardLevel(
                    calibration=Calibration(intercept=-1.0),
                    operating_points={"default": CardOperatingPoint(threshold=0.9)},
                ),
            }
        }
    )
    assert Card.model_validate_json(card.model_dump_json()) == card
    study = aggregate([predicted(1.0)], card, "default")
    assert study.breasts[0].probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert study.breasts[0].threshold == 0.5
    assert study.patients[0].probability == 0.5
    assert study.patients[0].label == "no tumour"


def taken(patient: str | None, study: str | None, side=L, view=CC) -> PredictedImage:
    """An image with patient and study as in DICOM objects."""
    image = predicted(1.0, patient, side, view)
    return image.model_copy(update={"study": study})


@pytest.mark.parametrize("identifier", ["removed", None])
def test_studies_with_a_placeholder_id_stay_separate(identifier):
    images = [taken(identifier, study, view=view) for study in ("s", "t") for view in (CC, MLO)]
    study = aggregate(images, CARD, "default")
    assert [each.patient for each in study.patients] == ["s", "t"]
    assert [each.images for each in study.breasts] == [2, 2]
    for image in study.images:
        (warning,) = image.warnings
        assert "each" in warning
        assert "manifest" in warning


def test_a_study_belongs_to_one_patient():
    images = [taken(name, "s", side) for name, side in zip("abc", (L, R, R), strict=True)]
    study = aggregate(images, CARD, "default")
    assert [(each.patient, each.images) for each in study.patients] == [("s", 3)]
    assert all("several patients" in image.warnings[0] for image in study.images)
    some = aggregate([taken("a", "s"), taken(None, "s", R)], CARD, "default")
    assert [(each.patient, each.images) for each in some.patients] == [("a", 2)]
    (alone,) = aggregate([taken(None, "s")], CARD, "default").images
    assert (alone.patient, alone.warnings) == ("s", ())


def test_identifiers_that_agree_are_kept():
    images = [taken("a", "s"), taken("a", "s", R), taken("b", "t"), taken("c", None)]
    study = aggregate(images, CARD, "default")
    assert [each.patient for each in study.patients] == ["a", "b", "c"]
    assert not any(image.warnings for image in study.images)


def test_patients_named_by_the_caller_are_kept():
    images = [taken("removed", "s"), taken("removed", "t"), predicted(1.0, "removed")]
    study = aggregate(images, CARD, "default")
    assert [each.patient for each in study.patients] == ["s", "t", "removed"]


@pytest.fixture(scope="module")
def engine():
    return load_engine(load_artifact(MODEL))


@pytest.fixture
def loaded_once(engine, monkeypatch):
    monkeypatch.setattr("mammoscope.model.engine.load_engine", lambda artifact: engine)


@pytest.fixture(scope="module")
def exams(tmp_path_factory):
    """Four views of two women, in folders, some without a suffix; one image is damaged."""
    folder = tmp_path_factory.mktemp("exams")
    write_phantom_study(folder / "first", seed=1, tumour=True)
    second = write_phantom_study(folder / "second", seed=2, encoding=Encoding("jpeg-2000"))
    second[0].rename(second[0].with_suffix(""))
    second[1].write_bytes(second[1].read_bytes()[:-5000])
    (folder / "README").write_text("no image")
    return folder


def test_score_study_of_a_folder(exams, capsys, loaded_once):
    assert main(["predict", "--study", "--model", str(MODEL), str(exams)]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["level"] for row in rows] == ["image"] * 8 + ["breast"] * 4 + ["patient"] * 2
    damaged = [row for row in rows if row["error"]]
    assert [row["error"] for row in damaged] == ["corrupt_image"]
    first, second = rows[-2:]
    assert first["missing_views"] == ""
    assert second["missing_views"] == "R MLO"
    assert first["patient"] != second["patient"]
    assert "PHANTOM" not in str([row["patient"] for row in rows])
    hers = [row for row in rows if row["patient"] == first["patient"]]
    breasts = [row for row in hers if row["level"] == "breast"]
    assert float(first["logit"]) == max(float(row["logit"]) for row in breasts)


def test_pseudonyms_are_stable_only_with_a_key(exams, tmp_path, capsys, loaded_once):
    (tmp_path / "key").write_bytes(b"sixteen bytes at least")
    (tmp_path / "short").write_bytes(b"short")
    answers = []
    for run, options in enumerate((["--id-key", str(tmp_path / "key")],) * 2 + ([],)):
        to = tmp_path / f"answer-{run}.json"
        main(["predict", "--study", "--model", str(MODEL), "--json", str(to), *options,
              str(exams / "first" / "phantom_001_L_CC.dcm")])  # fmt: skip
        answers.append(json.loads(to.read_text())["patients"][0]["patient"])
    assert answers[0] == answers[1] != answers[2]
    arguments = ["predict", "--study", "--id-key", str(tmp_path / "short"), str(exams)]
    assert main([*arguments, "--model", str(MODEL)]) == 2
    assert "16 bytes" in capsys.readouterr().err


def test_score_study_of_a_manifest(tmp_path, capsys, loaded_once):
    names = [path.name for path in write_phantoms(tmp_path, 4)]
    table = ["file,patient_id,laterality,view"]
    places = ("R,CC", "R,MLO", "L,CC", "L,MLO")
    table += [f"{name},woman 7,{place}" for name, place in zip(names, places, strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(table))
    arguments = ["predict", "--study", "--json", "-", "--model", str(MODEL)]
    assert main([*arguments, str(tmp_path / "manifest.csv")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["patient"] for each in answer["patients"]] == ["woman 7"]
    assert answer["patients"][0]["missing_views"] == []
    assert [each["laterality"] for each in answer["breasts"]] == ["R", "L"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file\n", "names no images"),
        ("file,patient_id\na.png,1\na.png,2\n", "Rows 2 and 3"),
        ("file,patient_id\na.png,1\n./a.png,1\n", "Rows 2 and 3"),
        ("file,patient_id\na.png,nan\n", "column patient_id: 'nan'"),
        ("file,patient_id\na.png,N/A\n", "column patient_id: 'N/A'"),
    ],
)
def test_manifests_that_would_change_a_result_unnoticed_are_refused(tmp_path, text, problem):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(MetadataError, match=problem):
        list(find_study(path))


def test_an_image_given_twice_counts_once(tmp_path, capsys, loaded_once):
    first, *_ = write_phantoms(tmp_path, 2)
    arguments = ["predict", "--study", "--json", "-", "--model", str(MODEL), str(tmp_path)]
    assert main([*arguments, str(first)]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 2


@pytest.mark.parametrize("suffix", [".png", ".csv"])
def test_a_path_that_is_too_long_is_reported_as_a_file(tmp_path, suffix):
    (given,) = find_study(tmp_path / ("x" * 5000 + suffix))
    with pytest.raises(UnreadableFileError):
        file_bytes(given[0])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"file\n{'x' * 5000}.png\n")
    (listed,) = find_study(manifest)
    assert listed[0].name == f"{'x' * 5000}.png"


def test_names_match_however_their_letters_are_composed(tmp_path):
    (image, *_) = write_phantoms(tmp_path / "sub", 1)
    there = image.rename(image.with_name(unicodedata.normalize("NFD", "brüst.png")))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file\n" + unicodedata.normalize("NFC", "brüst.png"))
    assert [path for path, _ in find_study(manifest)] == [there]


@pytest.mark.parametrize(
    "text", ["image\na.png", "file,view\na.png,XX", "file,laterality\na.png,links", "\xff"]
)
def test_invalid_manifests_are_refused(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(MetadataError):
        list(find_study(path))


def test_a_manifest_may_name_files_below_its_folder(tmp_path):
    deep = tmp_path / "train" / "0"
    (image, *_) = write_phantoms(deep, 1)
    manifest = tmp_path / "metadata.csv"
    manifest.write_text(f"file;patient_id;laterality\n{image.name};7;right\n")
    assert list(find_study(manifest)) == [(image, Placement("7", R, None))]
    manifest.write_text(f"file,patient_id\n0\\{image.name},7\n")
    assert [path for path, _ in find_study(manifest)] == [image]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / image.name).write_bytes(image.read_bytes())
    manifest.write_text(f"file\n{image.name}\n")
    with pytest.raises(MetadataError, match=r"Row 2, column file: .* 2 files"):
        list(find_study(manifest))


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.png").write_bytes(b"x")
    (tmp_path / "._b.png").write_bytes(b"x")
    with pytest.raises(UnreadableFileError, match="no image"):
        list(find_study(tmp_path))
