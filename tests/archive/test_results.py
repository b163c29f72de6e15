"""Results of a study as DICOM objects: what a reader of the archive finds in them."""

import io
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from highdicom.sr import srread
from hypothesis import given, settings
from pydicom.dataset import Dataset

from mammoscope.archive.results import ReportReference, codes, encode_results, predict_source
from mammoscope.errors import (
    ConfigurationError,
    CorruptImageError,
    NotAMammogramError,
    ResultError,
)
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.imaging.reading import read as read_bytes
from mammoscope.model.artifact.card import Card, CardLevel, CardOperatingPoint
from mammoscope.model.calibration import Calibration
from mammoscope.phantoms.dicom import Encoding
from tests.dicom_objects import changed, mammogram_object, parsed, written
from tests.fake_engine import CARD, FakeEngine, FakeReader

VIEWS = [("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO")]


def measured(threshold: float, sensitivity: float) -> CardOperatingPoint:
    values = {"sensitivity": {"value": sensitivity}, "specificity": {"value": 0.9}}
    return CardOperatingPoint(threshold=threshold, measured=values)


SMALL = mammogram_object()


def with_bytes(charset: bytes, values: dict[str, bytes], missing: set[str]) -> bytes:
    """The small mammogram with these bytes as values, whatever they mean in the character set."""
    elements = parsed(SMALL)
    for keyword in missing:
        del elements[keyword]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in values.items():
            setattr(elements, keyword, value.decode("latin-1"))
        return written(elements).replace(b"ISO_IR 100", charset)


class Engine(FakeEngine):
    card = Card(
        **{name: getattr(CARD, name) for name in ("version", "sha256", "input_size")},
        operating_points={"default": measured(0.5, 0.25)},
        levels={
            "breast": CardLevel(
                calibration=Calibration(slope=2.0),
                operating_points={"default": measured(0.4, 0.35)},
            )
        },
    )


def read(data: bytes, options: ReadingOptions) -> NetworkInput:
    return FakeReader().read(data, options, lambda: None)


def four_views(encoding: Encoding | None = None) -> list[bytes]:
    return [mammogram_object(encoding, laterality=side, view=view) for side, view in VIEWS]


def sources(images: list[bytes]) -> list:
    engine = Engine()
    return [predict_source(data, engine, read) for data in images]


def report_of(images: list[bytes], **options) -> Dataset:
    report, *_ = encode_results(sources(images), Engine.card, **options)
    return parsed(report.data)


@dataclass
class Group:
    """A measurement group as a program reads it."""

    name: str
    numbers: dict[str, float]
    label: str
    images: list[str]
    texts: list[str]


def groups_of(report: Dataset) -> dict[str, Group]:
    stream = io.BytesIO()
    report.save_as(stream)
    stream.seek(0)
    found = srread(stream).content.get_image_measurement_groups()
    groups = {}
    for each in found:
        numbers = {one.name.meaning: one.value for one in each.get_measurements()}
        (label,) = [
            one
            for one in each.get_qualitative_evaluations()
            if one.name.scheme_designator == "99MAMMOSCOPE"
        ]
        groups[each.tracking_identifier] = Group(
            each.tracking_identifier,
            numbers,
            label.value.meaning,
            [image.referenced_sop_instance_uid for image in each.source_images],
            [item.value for item in each[0].ContentSequence if item.ValueType == "TEXT"],
        )
    return groups


def test_the_report_has_the_probability_of_image_breast_and_patient():
    images = four_views()
    found = groups_of(report_of(images))
    assert list(found) == [
        "Mammoscope patient",
        *("Mammoscope breast R", "Mammoscope breast L"),
        *(f"Mammoscope image {side} {view}" for side, view in VIEWS),
    ]
    uids = [parsed(data).SOPInstanceUID for data in images]
    assert found["Mammoscope patient"].images == uids
    assert found["Mammoscope breast L"].images == uids[2:]
    assert found["Mammoscope image R MLO"].images == [uids[1]]
    predictions = [source.prediction for source in sources(images)]
    image = found["Mammoscope image R CC"].numbers
    assert image["Probability of cancer"] == round(100 * predictions[0].probability, 2)
    assert image["Measured sensitivity at the operating point"] == 25
    breast = found["Mammoscope breast R"].numbers
    mean = (predictions[0].logit + predictions[1].logit) / 2
    expected = 100 * Calibration(slope=2.0).probability(mean)
    assert breast["Probability of cancer"] == pytest.approx(expected, abs=0.01)
    assert breast["Threshold of the operating point"] == 40
    assert breast["Measured sensitivity at the operating point"] == 35


def test_the_report_says_what_made_it_and_what_it_is_not_for():
    report = report_of(four_views()[:1])
    assert report.Modality == "SR"
    assert "RESEARCH USE ONLY" in report.ConceptNameCodeSequence[0].CodeMeaning
    assert "research use only" in report.SeriesDescription
    (group,) = [each for name, each in groups_of(report).items() if "image" in name]
    assert "test-1" in group.texts  # the model's version
    assert any("Operating point default" in text for text in group.texts)
    notice, *rest = report.ContentSequence[-1].ContentSequence
    assert "not for diagnosis" in notice.TextValue
    assert rest == []
    used = {code.CodingSchemeDesignator for code in report.CodingSchemeIdentificationSequence}
    assert used == {"99MAMMOSCOPE"}


def test_labels_follow_the_operating_point():
    dark, bright = (mammogram_object(laterality=side, view="CC", mass=False) for side in ("R", "L"))
    images = [predict_source(data, Engine(), read) for data in (dark, bright)]
    low, high = 0.2, 0.8
    for image, probability in zip(images, (low, high), strict=True):
        object.__setattr__(image, "prediction", image.prediction.model_copy(
            update={"probability": probability}))  # fmt: skip
    report, *_ = encode_results(images, Engine.card)
    found = groups_of(parsed(report.data))
    assert found["Mammoscope image R CC"].label == "Negative"
    assert found["Mammoscope image L CC"].label == "Positive"


def test_a_refused_image_is_named_with_its_reason():
    images = four_views()
    images[1] = changed(images[1], BurnedInAnnotation="NO", NumberOfFrames=3)
    refused = parsed(images[1])
    report = report_of(images)
    found = groups_of(report)
    assert "Mammoscope image R MLO" not in found
    assert any("Standard views without a result: MLO." in text
               for text in found["Mammoscope breast R"].texts)  # fmt: skip
    _, refusal = report.ContentSequence[-1].ContentSequence
    assert refusal.TextValue == (
        f"{refused.SOPInstanceUID}: The image has several frames; only one is allowed."
    )
    (library,) = report.ContentSequence[-3].ContentSequence
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
              for item in library.ContentSequence]  # fmt: skip
    assert sorted(listed) == sorted(parsed(data).SOPInstanceUID for data in images)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sum(len(series.ReferencedSOPSequence) for series in evidence) == 4


def test_a_later_report_names_its_predecessor_and_tracks_the_same_things():
    images = four_views()
    first, *_ = encode_results(sources(images[:3]), Engine.card)
    reference = ReportReference(
        first.sop_class_uid, first.sop_instance_uid, first.series_instance_uid
    )
    second = report_of(images, predecessor=reference)
    (study,) = second.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == first.study_instance_uid
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.series_instance_uid
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.sop_instance_uid
    assert "PredecessorDocumentsSequence" not in parsed(first.data)
    assert second.SOPInstanceUID != first.sop_instance_uid
    assert set(tracked(parsed(first.data))) < set(tracked(second))


def tracked(report: Dataset) -> list[str]:
    return [
        item.UID
        for group in report.ContentSequence[-2].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "UIDREF"
    ]


def test_heat_maps_lie_over_their_images():
    encodings = Encoding(), Encoding("jpeg-2000"), Encoding("jpeg", bits=8), Encoding("deflated")
    images = [
        mammogram_object(encoding, laterality=side, view=view)
        for encoding, (side, view) in zip(encodings, VIEWS, strict=True)
    ]
    results = encode_results(sources(images), Engine.card)
    heat_maps = [parsed(result.data) for result in results[1::2]]
    report = parsed(results[0].data)
    assert len({each.SeriesInstanceUID for each in heat_maps}) == 1
    for data, found in zip(images, heat_maps, strict=True):
        source = parsed(data)
        assert (found.Rows, found.Columns) == (source.Rows, source.Columns)
        assert (found.SegmentationType, found.SegmentationFractionalType) == (
            "FRACTIONAL",
            "PROBABILITY",
        )
        assert found.PatientOrientation == source.PatientOrientation
        frame = found.PerFrameFunctionalGroupsSequence[0]
        referenced = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
        (segment,) = found.SegmentSequence
        assert segment.TrackingUID in tracked(report)
        assert "not for diagnosis" in segment.SegmentDescription
        # The fake engine's heat grows downwards: logits 0, 1, 2.
        values = found.pixel_array.astype(float) / 255
        assert values[0].mean() == pytest.approx(0.5, abs=0.01)
        assert values[-1].mean() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.01)


def test_pictures_do_not_pass_for_mammograms():
    images = four_views()
    results = encode_results(sources(images), Engine.card)
    pictures = [parsed(result.data) for result in results[2::2]]
    assert len(pictures) == 4
    for data, found in zip(images, pictures, strict=True):
        assert found.Modality == "OT"
        assert found.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert not found.PatientOrientation
        assert "ViewCodeSequence" not in found
        assert "research use only" in found.SeriesDescription
        (source,) = found.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == parsed(data).SOPInstanceUID
        with pytest.raises(NotAMammogramError):
            read_bytes(results[2].data)
    series = {(result.series_instance_uid, result.sop_class_uid) for result in results}
    assert len(series) == 3


def test_pictures_show_the_image_its_heat_and_the_notice():
    data = mammogram_object(laterality="R", view="MLO")
    picture = parsed(encode_results(sources([data]), Engine.card)[2].data).pixel_array
    grey = np.ptp(picture.astype(int), axis=2)
    assert (grey > 40).mean() > 0.2  # the heat is coloured
    assert (picture[:30] > 200).any()  # the title
    assert (picture[-30:] > 200).any()  # the notice


def test_objects_belong_to_the_patient_and_study_of_their_images():
    extras = {"PatientID": "4711", "IssuerOfPatientID": "HOSPITAL", "AccessionNumber": "A1",
              "PatientName": "Doe^Jane", "PatientBirthDate": "19600101",
              "StudyDescription": "Screening", "PatientComments": "none"}  # fmt: skip
    images = [changed(data, **extras) for data in four_views()]
    source = parsed(images[0])
    results = encode_results(sources(images), Engine.card)
    assert len(results) == 9
    assert len({result.sop_instance_uid for result in results}) == 9
    for result in results:
        found = parsed(result.data)
        assert {name: found.get(name) for name in extras} == extras
        for name in ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "PatientSex"):
            assert found[name].value == source[name].value, name
        assert found.SeriesInstanceUID != source.SeriesInstanceUID
        assert (found.SOPClassUID, found.SOPInstanceUID, found.SeriesInstanceUID) == (
            result.sop_class_uid,
            result.sop_instance_uid,
            result.series_instance_uid,
        )
        assert found.file_meta.TransferSyntaxUID == result.transfer_syntax_uid


def test_each_object_is_about_its_own_image():
    encodings = Encoding(), Encoding(), Encoding("jpeg-2000"), Encoding()
    images = [
        mammogram_object(encoding, laterality=side, view=view)
        for encoding, (side, view) in zip(encodings, VIEWS, strict=True)
    ]
    _, *objects = encode_results(sources(images), Engine.card)
    every = {str(parsed(data).SOPInstanceUID) for data in images}
    for number, result in enumerate(objects):
        own = str(parsed(images[number // 2]).SOPInstanceUID)
        text = str(parsed(result.data))
        assert {uid for uid in every if uid in text} == {own}
        assert parsed(result.data).InstanceNumber == number // 2 + 1
        assert parsed(result.data).pixel_array.any()


def test_nothing_of_a_patient_enters_the_log(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    data = changed(SMALL, PatientID="4711", PatientName="Doe^Jane", PatientBirthDate="nonsense")
    caplog.clear()
    encode_results(sources([data]), Engine.card)
    told = caplog.text + "".join(capsys.readouterr())
    for value in ("4711", "Doe", "nonsense", parsed(SMALL).SOPInstanceUID):
        assert value not in told


NAMES = [
    ("ISO_IR 100", "Müller-Lüdenscheidt^Zoë"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO_IR 144", "Иванова^Анна"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    (None, "Plain^Name"),
]


@pytest.mark.parametrize(("charset", "name"), NAMES)
def test_names_in_any_character_set_stay_as_they_are(charset, name):
    data = changed(mammogram_object(), SpecificCharacterSet=charset, PatientName=name)
    for result in encode_results(sources([data]), Engine.card):
        found = parsed(result.data)
        assert found.PatientName == parsed(data).PatientName
        assert str(found.PatientName) == name


MALFORMED = st.fixed_dictionaries(
    {},
    optional={
        "PatientName": st.binary(max_size=30),
        "PatientID": st.binary(min_size=1, max_size=30),
        "PatientBirthDate": st.sampled_from([b"UNKNOWN ", b"1960", b"19600231", b"1960-1-1"]),
        "PatientSex": st.sampled_from([b"X ", b"FEMALE", b"f "]),
        "StudyDate": st.sampled_from([b"20202020", b"NONE", b"2020.01.01"]),
        "StudyTime": st.sampled_from([b"99", b"noon", b"12:00:00"]),
        "ReferringPhysicianName": st.binary(max_size=20),
        "PatientAge": st.binary(max_size=6),
        "PatientOrientation": st.sampled_from([b"", b"A", b"X\\Y", b"A\\F\\R"]),
        "StudyDescription": st.binary(max_size=80),
    },
)
CHARSETS = st.sampled_from(
    [b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 144", b"ISO_IR 999", b"LATIN-NINE"]
)
MISSING = st.sets(
    st.sampled_from(
        ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
         "StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientOrientation",
         "ImageLaterality", "ViewPosition", "ViewCodeSequence"]
    )
)  # fmt: skip


@settings(max_examples=10)
@given(charset=CHARSETS, values=MALFORMED, missing=MISSING)
def test_malformed_and_missing_elements_never_stop_a_result(charset, values, missing):
    data = with_bytes(charset, values, missing)
    results = encode_results(sources([data]), Engine.card)
    assert len(results) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for result in results:
            found = parsed(result.data)
            assert found.StudyInstanceUID == parsed(SMALL).StudyInstanceUID
            for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
                assert keyword in found


@settings(max_examples=5)
@given(broken=st.dictionaries(st.integers(0, 3), st.floats(0, 0.99), min_size=1))
def test_refused_images_among_good_ones_are_left_out_of_every_value(broken):
    images = four_views()
    for number, kept in broken.items():
        images[number] = images[number][: int(kept * len(images[number]))]
    if len(broken) == 4:
        with pytest.raises(ResultError, match="nothing to report"):
            report_of(images)
        return
    good = [data for number, data in enumerate(images) if number not in broken]
    alone = groups_of(report_of(good))
    among = report_of(images)
    assert groups_of(among) == alone
    _, *refusals = among.ContentSequence[-1].ContentSequence
    assert len(refusals) == len(broken)


def test_images_of_two_studies_or_patients_are_not_reported_together():
    one, other = mammogram_object(), mammogram_object(seed=4)
    with pytest.raises(ResultError, match="2 studies"):
        report_of([one, other])
    study = parsed(one).StudyInstanceUID
    with pytest.raises(ResultError, match="2 patients"):
        report_of([one, changed(other, StudyInstanceUID=study)])


def test_the_same_image_twice_is_not_reported():
    with pytest.raises(ResultError, match="twice"):
        report_of([SMALL, SMALL])


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_an_image_without_a_uid_cannot_be_referred_to(keyword):
    with pytest.raises(CorruptImageError, match="lacks a UID"):
        report_of([changed(SMALL, **{keyword: ""})])


def test_an_unknown_operating_point_is_refused():
    with pytest.raises(ConfigurationError, match="no such operating point"):
        report_of([SMALL], operating_point="best")


def test_the_guide_lists_every_private_code():
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "archive-results.md"
    listed = re.findall(r"^\| `(\w+)` \| ([^|:]*)", guide.read_text("utf-8"), re.MULTILINE)
    assert [(code.value, code.meaning) for code in codes.PRIVATE] == [
        (value, meaning.strip()) for value, meaning in listed
    ]
