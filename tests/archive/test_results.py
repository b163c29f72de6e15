"""Results of a study as DICOM objects: what a reader of the archive finds in them."""

import io
from dataclasses import dataclass

import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset

from mammoscope.archive.results import encode_results, predict_source
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.model.artifact.card import Card, CardLevel, CardOperatingPoint
from mammoscope.model.calibration import Calibration
from mammoscope.phantoms.dicom import Encoding
from tests.dicom_objects import mammogram_object
from tests.fake_engine import CARD, FakeEngine, FakeReader

VIEWS = [("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO")]


def measured(threshold: float, sensitivity: float) -> CardOperatingPoint:
    values = {"sensitivity": {"value": sensitivity}, "specificity": {"value": 0.9}}
    return CardOperatingPoint(threshold=threshold, measured=values)


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
    return dcmread(io.BytesIO(report.data))


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
    uids = [dcmread(io.BytesIO(data)).SOPInstanceUID for data in images]
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
