"""Scores of pictures to scores of breasts and patients.

The logits of a breast's pictures are averaged, however many views there are; the patient's is the
higher of the breasts'. That is how the released model was measured by breast and patient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from mammoscope.errors import ImageError
from mammoscope.imaging.mammogram import Laterality, Mammogram, View
from mammoscope.imaging.preprocessing import Preparation
from mammoscope.model.artifact import Card
from mammoscope.model.prediction import CLASS_NAMES, Prediction
from mammoscope.studies.manifest import Placement

STANDARD_VIEWS: Final = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)
"""Views that a screening examination has of each breast."""


class _Judgement(Protocol):
    @property
    def prediction(self) -> Prediction: ...
    @property
    def preparation(self) -> Preparation: ...


class Judge(Protocol):
    """What is needed of `mammoscope.model.engine.Engine`."""

    @property
    def card(self) -> Card:
        """Calibration and operating points of the model."""
        ...

    def judge(self, mammogram: Mammogram, *, operating_point: str = ...) -> _Judgement:
        """Judge one picture."""
        ...


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """A picture of a study with its answer, or with the reason why there is none.

    Parameters
    ----------
    name
        As the caller names it.
    outcome
        The answer or the refusal.
    patient
        Pseudonym, or what the caller said; None where nobody knows.
    laterality, view
        From the caller, else from the picture.
    chest_wall
        Side of the picture on which the chest wall lies, which groups the views of a breast
        where the laterality is unknown; None for a refused picture.
    """

    name: str
    outcome: Prediction | ImageError
    patient: str | None = None
    laterality: Laterality | None = None
    view: View | None = None
    chest_wall: Literal["left", "right"] | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """The answer about several pictures, of those that could be judged."""

    patient: str
    logit: float
    probability: float
    threshold: float
    pictures: int
    missing: tuple[str, ...]

    @property
    def label(self) -> str:
        """One of `CLASS_NAMES`."""
        return CLASS_NAMES[int(self.probability >= self.threshold)]


@dataclass(frozen=True, slots=True)
class BreastResult(_Result):
    """The answer about a breast, from the pictures of it that could be judged.

    ``missing`` are the standard views of which there is no judged picture; views that nobody knows
    are not counted as any.
    """

    laterality: Laterality | None


@dataclass(frozen=True, slots=True)
class PatientResult(_Result):
    """The answer about a patient; ``missing`` like ``R MLO``, of both breasts."""


@dataclass(frozen=True, slots=True)
class Study:
    """All levels; breasts and patients in the order in which their pictures came."""

    pictures: tuple[JudgedPicture, ...]
    breasts: tuple[BreastResult, ...]
    patients: tuple[PatientResult, ...]
    model_version: str


def judge_picture(
    judge: Judge,
    name: str,
    read: Callable[[], Mammogram],
    placement: Placement,
    operating_point: str,
) -> JudgedPicture:
    """Read and judge one picture; a refusal is an outcome like another."""
    patient, laterality, view = placement.patient, placement.laterality, placement.view
    try:
        mammogram = read()
        patient = patient or mammogram.exposure.patient
        laterality, view = laterality or mammogram.laterality, view or mammogram.view
        judged = judge.judge(mammogram, operating_point=operating_point)
    except ImageError as err:
        return JudgedPicture(name, err, patient, laterality, view)
    return JudgedPicture(
        name, judged.prediction, patient, laterality, view, judged.preparation.chest_wall
    )


def summarise(pictures: Sequence[JudgedPicture], card: Card, operating_point: str) -> Study:
    """Group pictures by patient and breast; those of unknown patients stand alone.

    Raises
    ------
    ConfigurationError
        If the card has no such operating point.
    """
    groups: dict[str, dict[str, list[tuple[JudgedPicture, float]]]] = {}
    for picture in pictures:
        if picture.patient is None or not isinstance(picture.outcome, Prediction):
            continue
        side = picture.laterality or f"chest wall {picture.chest_wall}"
        entry = (picture, picture.outcome.logit)
        groups.setdefault(picture.patient, {}).setdefault(side, []).append(entry)
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
                    pictures=len(entries),
                    missing=_missing([picture for picture, _ in entries]),
                )
            )
        patients.append(
            PatientResult(
                patient=patient,
                logit=max(logits),
                probability=patient_scale.probability(max(logits)),
                threshold=patient_threshold,
                pictures=sum(map(len, sides.values())),
                missing=tuple(
                    f"{laterality} {view}"
                    for laterality in (Laterality.RIGHT, Laterality.LEFT)
                    for view in _missing([picture for picture, _ in sides.get(laterality, [])])
                ),
            )
        )
    return Study(tuple(pictures), tuple(breasts), tuple(patients), card.version)


def _missing(pictures: Sequence[JudgedPicture]) -> tuple[str, ...]:
    seen = {picture.view for picture in pictures}
    return tuple(str(view) for view in STANDARD_VIEWS if view not in seen)
