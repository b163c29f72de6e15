"""Scores of images to scores of breasts and patients.

The logits of a breast's images are averaged, however many views there are; the patient's is the
higher of the breasts'. That is how the released model was measured by breast and patient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from mammoscope.errors import ImageError
from mammoscope.imaging.mammogram import Laterality, Mammogram, View
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.model.artifact import Card
from mammoscope.model.prediction import CLASS_NAMES, Prediction
from mammoscope.studies.manifest import Placement

STANDARD_VIEWS: Final = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)
"""Views that a screening study has of each breast."""


class _Judgement(Protocol):
    @property
    def prediction(self) -> Prediction: ...
    @property
    def preprocessed(self) -> Preprocessed: ...


class Judge(Protocol):
    """What is needed of `mammoscope.model.engine.Engine`."""

    @property
    def card(self) -> Card:
        """Calibration and operating points of the model."""
        ...

    def judge(self, mammogram: Mammogram, *, operating_point: str = ...) -> _Judgement:
        """Judge one image."""
        ...


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """An image of a study with its answer, or with the reason why there is none.

    Parameters
    ----------
    name
        As the caller names it.
    outcome
        The answer or the refusal.
    patient
        Pseudonym, or what the caller said; None where nobody knows.
    laterality, view
        From the caller, else from the image.
    chest_wall
        Side of the image on which the chest wall lies, which groups the views of a breast
        where the laterality is unknown; None for a refused image.
    """

    name: str
    outcome: Prediction | ImageError
    patient: str | None = None
    laterality: Laterality | None = None
    view: View | None = None
    chest_wall: Literal["left", "right"] | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """The answer about several images, of those that could be judged."""

    patient: str
    logit: float
    probability: float
    threshold: float
    images: int
    missing: tuple[str, ...]

    @property
    def label(self) -> str:
        """One of `CLASS_NAMES`."""
        return CLASS_NAMES[int(self.probability >= self.threshold)]


@dataclass(frozen=True, slots=True)
class BreastResult(_Result):
    """The answer about a breast, from the images of it that could be judged.

    ``missing`` are the standard views of which there is no judged image; views that nobody knows
    are not counted as any.
    """

    laterality: Laterality | None


@dataclass(frozen=True, slots=True)
class PatientResult(_Result):
    """The answer about a patient; ``missing`` like ``R MLO``, of both breasts."""


@dataclass(frozen=True, slots=True)
class Study:
    """All levels; breasts and patients in the order in which their images came."""

    images: tuple[JudgedImage, ...]
    breasts: tuple[BreastResult, ...]
    patients: tuple[PatientResult, ...]
    model_version: str


def judge_image(
    judge: Judge,
    name: str,
    read: Callable[[], Mammogram],
    placement: Placement,
    operating_point: str,
) -> JudgedImage:
    """Read and judge one image; a refusal is an outcome like another."""
    patient, laterality, view = placement.patient, placement.laterality, placement.view
    try:
        mammogram = read()
        patient = patient or mammogram.exposure.patient
        laterality, view = laterality or mammogram.laterality, view or mammogram.view
        judged = judge.judge(mammogram, operating_point=operating_point)
    except ImageError as err:
        return JudgedImage(name, err, patient, laterality, view)
    return JudgedImage(
        name, judged.prediction, patient, laterality, view, judged.preprocessed.chest_wall
    )


def summarise(images: Sequence[JudgedImage], card: Card, operating_point: str) -> Study:
    """Group images by patient and breast; those of unknown patients stand alone.

    Raises
    ------
    ConfigurationError
        If the card has no such operating point.
    """
    groups: dict[str, dict[str, list[tuple[JudgedImage, float]]]] = {}
    for image in images:
        if image.patient is None or not isinstance(image.outcome, Prediction):
            continue
        side = image.laterality or f"chest wall {image.chest_wall}"
        entry = (image, image.outcome.logit)
        groups.setdefault(image.patient, {}).setdefault(side, []).append(entry)
    breasts: list[BreastResult] = []
    patients: list[PatientResult] = []
    breast_scale, patient_scale = card.scale("breast"), card.scale("patient")
    breast_threshold = card.threshold(operating_point, "breast")
    patient_threshold = card.threshold(operating_point, "patient")
    for patient, sides in groups.items():
        logits = []
        for entries in sides.values():
            logit = sum(each for _, each in entries) / len(entries)
            logits.append(logit)
            breasts.append(
                BreastResult(
                    patient=patient,
                    laterality=entries[0][0].laterality,
                    logit=logit,
                    probability=breast_scale.probability(logit),
                    threshold=breast_threshold,
                    images=len(entries),
                    missing=_missing([image for image, _ in entries]),
                )
            )
        patients.append(
            PatientResult(
                patient=patient,
                logit=max(logits),
                probability=patient_scale.probability(max(logits)),
                threshold=patient_threshold,
                images=sum(map(len, sides.values())),
                missing=tuple(
                    f"{laterality} {view}"
                    for laterality in (Laterality.RIGHT, Laterality.LEFT)
                    for view in _missing([image for image, _ in sides.get(laterality, [])])
                ),
            )
        )
    return Study(tuple(images), tuple(breasts), tuple(patients), card.version)


def _missing(images: Sequence[JudgedImage]) -> tuple[str, ...]:
    seen = {image.view for image in images}
    return tuple(str(view) for view in STANDARD_VIEWS if view not in seen)
