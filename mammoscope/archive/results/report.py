"""The Structured Report: PS3.16 TID 1500, as IHE's profile AI Results asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from mammoscope.archive.results import codes
from mammoscope.archive.results.objects import (
    DEVICE,
    MANUFACTURER,
    REPORT_SERIES,
    Decided,
    Reported,
    ReportReference,
    ResultObject,
    equipment,
    evidence,
    finished,
    named_uid,
    new_uid,
    tracking_uid,
)
from mammoscope.archive.results.source import Origin
from mammoscope.imaging.mammogram import Laterality
from mammoscope.model.artifact.card import Level
from mammoscope.model.prediction import CLASS_NAMES, RESEARCH_USE_NOTICE, Decision
from mammoscope.studies import BreastResult, PatientResult, aggregate

_SIDES: Final[Mapping[Laterality | None, Code]] = {
    Laterality.LEFT: codes.LEFT,
    Laterality.RIGHT: codes.RIGHT,
}
_Group: TypeAlias = MeasurementsAndQualitativeEvaluations
_DESCRIPTION: Final = "Mammoscope report, research use only"


@dataclass(frozen=True, slots=True)
class _About:
    """What a measurement group is about; ``images`` are those that it was computed from."""

    level: Level
    side: Laterality | None
    tracking: TrackingIdentifier
    images: Sequence[Reported]
    comments: Sequence[str]


def encode_report(
    images: Sequence[Reported],
    refused: Sequence[tuple[Origin | None, str]],
    decided: Decided,
    predecessor: ReportReference | None,
) -> ResultObject:
    """Write the report of a study.

    Parameters
    ----------
    images
        The predicted images, at least one.
    refused
        Headers of images without a result, None if unreadable, and the reason in words.
    decided
        The model and its operating point.
    predecessor
        The report that this one replaces.

    Raises
    ------
    ConfigurationError
        If the card has no such operating point.
    """
    card = decided.card
    study = aggregate([each.prediction for each in images], card, decided.operating_point)
    content = _Content(decided, images)
    groups = [content.patient(each) for each in study.patients]
    groups += [content.breast(each) for each in study.breasts]
    groups += [content.image(each) for each in images]
    observer = ObserverContext(
        observer_type=CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=named_uid("mammoscope", "model", card.sha256),
            name=DEVICE,
            manufacturer_name=MANUFACTURER,
            model_name=DEVICE,
            serial_number=card.version,
        ),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.IMAGING,
        imaging_measurements=groups,
        title=codes.TITLE,
    )
    origins = [each.origin for each in images]
    origins += [origin for origin, _ in refused if origin is not None]
    root = report[0]
    # highdicom would copy, parse and search the whole content, for longer than all else takes.
    items = root.ContentSequence
    items.insert(len(items) - 1, _library(origins))
    items.append(_statements(refused))
    root.ContentSequence = ContentSequence()
    document = ComprehensiveSR(
        evidence=[evidence(origin) for origin in origins],
        content=root,
        series_instance_uid=new_uid(),
        series_number=REPORT_SERIES,
        sop_instance_uid=new_uid(),
        instance_number=1,
        performed_procedure_codes=[codes.MAMMOGRAPHY],
        is_complete=True,
        is_final=False,
        series_description=_DESCRIPTION,
        previous_versions=None if predecessor is None else [_document(predecessor, origins[0])],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[codes.scheme()],
        **equipment(card.version),
    )
    document.ContentSequence = items
    return finished(document, origins[0])


def _document(predecessor: ReportReference, origin: Origin) -> Dataset:
    document = Dataset()
    document.StudyInstanceUID = origin.reference.StudyInstanceUID
    document.SeriesInstanceUID = predecessor.series_instance_uid
    document.SOPClassUID = predecessor.sop_class_uid
    document.SOPInstanceUID = predecessor.sop_instance_uid
    return document


class _Content:
    """Makes the measurement groups (TID 1501)."""

    def __init__(self, decided: Decided, images: Sequence[Reported]) -> None:
        self._card = decided.card
        self._operating_point = decided.operating_point
        self._images = {each.prediction.file: each for each in images}

    def patient(self, result: PatientResult) -> _Group:
        return self._aggregated("patient", result, None)

    def breast(self, result: BreastResult) -> _Group:
        return self._aggregated("breast", result, result.laterality)

    def image(self, image: Reported) -> _Group:
        found = image.prediction
        tracking = TrackingIdentifier(image.tracking_uid, image.tracking_identifier)
        about = _About("image", found.laterality, tracking, [image], found.warnings)
        return self._group(found, about)

    def _aggregated(self, level: Level, result: PatientResult, side: Laterality | None) -> _Group:
        missing = ", ".join(result.missing_views)
        comments = (f"Standard views without a result: {missing}.",) if missing else ()
        images = [self._images[file] for file in result.files]
        # The images tell breasts of unknown side apart.
        names = [side] if side else result.files if level == "breast" else []
        tracking = TrackingIdentifier(
            tracking_uid(images[0].origin, level, *names), f"{DEVICE} {level} {side or ''}".strip()
        )
        return self._group(result, _About(level, side, tracking, images, comments))

    def _group(self, decision: Decision, about: _About) -> _Group:
        level, images = about.level, about.images
        positive = decision.label == CLASS_NAMES[1]
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=about.tracking,
            finding_type=codes.NEOPLASM,
            algorithm_id=AlgorithmIdentification(
                name=DEVICE,
                version=self._card.version,
                parameters=self._parameters(level),
                manufacturer=MANUFACTURER,
                family=codes.ARTIFICIAL_INTELLIGENCE,
            ),
            finding_sites=[FindingSite(codes.BREAST, laterality=_SIDES.get(about.side))],
            measurements=[
                Measurement(codes.PROBABILITY, _percent(decision.probability), codes.PERCENT),
                Measurement(codes.THRESHOLD, _percent(decision.threshold), codes.PERCENT),
                *self._measured(level, images),
            ],
            qualitative_evaluations=[
                QualitativeEvaluation(codes.LABEL, codes.POSITIVE if positive else codes.NEGATIVE)
            ],
            source_images=[
                SourceImageForMeasurementGroup(
                    image.origin.reference.SOPClassUID, image.origin.reference.SOPInstanceUID
                )
                for image in images
            ],
        )
        group[0].ContentSequence.extend(_text(codes.COMMENT, comment) for comment in about.comments)
        return group

    def _parameters(self, level: Level) -> list[str]:
        rule = {
            "image": "the calibrated logit of the network",
            "breast": "the mean logit of its images, calibrated",
            "patient": "the greatest logit of her breasts, calibrated",
        }[level]
        return [
            f"Operating point {self._operating_point}. Probability of the {level}: {rule}. "
            f"SHA-256 of the model {self._card.sha256}."
        ]

    def _measured(self, level: Level, images: Sequence[Reported]) -> list[Measurement]:
        """Sensitivity and specificity of the operating point, if the card has them."""
        point = self._card.operating_point(self._operating_point, level)
        with_age = level == "image" and images[0].source.prediction.age_used
        measured = point.measured_with_age if with_age else point.measured
        return [
            Measurement(code, _percent(measured[key]["value"]), codes.PERCENT)
            for code, key in (
                (codes.SENSITIVITY, "sensitivity"),
                (codes.SPECIFICITY, "specificity"),
            )
            if key in measured
        ]


def _library(origins: Sequence[Origin]) -> ContainerContentItem:
    """Return the list of all images that were read (TID 1600)."""
    contains = RelationshipTypeValues.CONTAINS
    library = ContainerContentItem(codes.LIBRARY, relationship_type=contains)
    group = ContainerContentItem(codes.LIBRARY_GROUP, relationship_type=contains)
    group.ContentSequence = ContentSequence(
        [
            ImageContentItem(
                codes.SOURCE,
                origin.reference.SOPClassUID,
                origin.reference.SOPInstanceUID,
                relationship_type=contains,
            )
            for origin in origins
        ]
    )
    library.ContentSequence = ContentSequence([group])
    return library


def _statements(refused: Sequence[tuple[Origin | None, str]]) -> ContainerContentItem:
    """Return the container of evaluations in words: the notice, and images without results."""
    container = ContainerContentItem(
        name=codes.EVALUATIONS,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    items = [_text(codes.NOTICE, RESEARCH_USE_NOTICE)]
    for origin, reason in refused:
        name = "An unreadable image" if origin is None else origin.reference.SOPInstanceUID
        items.append(_text(codes.REFUSAL, f"{name}: {reason}"))
    container.ContentSequence = ContentSequence(items)
    return container


def _text(name: Code, text: str) -> TextContentItem:
    return TextContentItem(name, text, RelationshipTypeValues.CONTAINS)


def _percent(share: float) -> float:
    return round(100.0 * share, 2)
