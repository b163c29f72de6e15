"""Aggregate predictions for images into results for breasts and patients.

A breast's logit is the mean over its images, however many views there are. A patient's logit is the
maximum over the breasts. The released model was evaluated by breast and patient in the same way.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from mammoscope.errors import ImageError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine import Engine
from mammoscope.model.prediction import Prediction
from mammoscope.studies.identity import settle_patients
from mammoscope.studies.manifest import Placement
from mammoscope.studies.results import (
    BreastResult,
    PatientResult,
    PredictedImage,
    Refusal,
    RefusedImage,
    StudyImage,
    StudyResult,
)

_Word = TypeVar("_Word", Laterality, View)

STANDARD_VIEWS: Final = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)
"""Standard views of each breast in a screening study."""


def predict_image(
    engine: Engine,
    name: str,
    read: Callable[[], NetworkInput],
    placement: Placement,
    operating_point: str,
) -> StudyImage:
    """Read one image of a study and predict it; a refusal is a result, too.

    Parameters
    ----------
    engine
        The inference engine.
    name
        Name of the image in the result.
    read
        Returns the image, or raises ImageError.
    placement
        Facts from the caller; they take precedence over those from the image.
    operating_point
        Operating point of the card whose threshold decides the label.
    """
    patient, laterality, view = placement.patient, placement.laterality, placement.view
    study = None
    try:
        image = read()
        if patient is None:
            patient, study = image.exposure.patient, image.exposure.study
        laterality, view = laterality or image.laterality, view or image.view
        prediction = engine.predict(image, operating_point=operating_point)
    except ImageError as err:
        return RefusedImage(
            file=name,
            patient=patient or err.known.get("patient"),
            laterality=laterality or _known(Laterality, err.known.get("laterality")),
            view=view or _known(View, err.known.get("view")),
            error=Refusal(code=err.code, message=str(err)),
            study=study or (None if patient else err.known.get("study")),
        )
    return predicted_image(name, image, prediction, placement)


def predicted_image(
    name: str, image: NetworkInput, prediction: Prediction, placement: Placement
) -> PredictedImage:
    """Return an image of a study with its prediction; parameters as in `predict_image`."""
    exposure = image.exposure
    return PredictedImage(
        file=name,
        patient=placement.patient or exposure.patient,
        laterality=placement.laterality or image.laterality,
        view=placement.view or image.view,
        probability=prediction.probability,
        threshold=prediction.threshold,
        logit=prediction.logit,
        warnings=prediction.warnings,
        chest_wall=prediction.preprocessed.chest_wall,
        study=exposure.study if placement.patient is None else None,
    )


def _known(kind: type[_Word], word: str | None) -> _Word | None:
    return None if word is None else kind(word)


def aggregate(images: Sequence[StudyImage], card: Card, operating_point: str) -> StudyResult:
    """Group images by patient and breast; those of unknown patients are in no group.

    First, `settle_patients` decides which patient each image belongs to.

    Raises
    ------
    ConfigurationError
        If the card has no such operating point.
    """
    images = settle_patients(images)
    groups: dict[str, dict[str, list[PredictedImage]]] = {}
    for image in images:
        if image.patient is None or isinstance(image, RefusedImage):
            continue
        side = image.laterality or f"chest wall {image.chest_wall}"
        groups.setdefault(image.patient, {}).setdefault(side, []).append(image)
    breasts: list[BreastResult] = []
    patients: list[PatientResult] = []
    breast_calibration, patient_calibration = card.scale("breast"), card.scale("patient")
    breast_threshold = card.threshold(operating_point, "breast")
    patient_threshold = card.threshold(operating_point, "patient")
    for patient, sides in groups.items():
        logits = []
        for members in sides.values():
            logit = sum(image.logit for image in members) / len(members)
            logits.append(logit)
            breasts.append(
                BreastResult(
                    patient=patient,
                    laterality=members[0].laterality,
                    logit=logit,
                    probability=breast_calibration.probability(logit),
                    threshold=breast_threshold,
                    images=len(members),
                    missing_views=tuple(_missing(members)),
                    files=tuple(image.file for image in members),
                )
            )
        patients.append(
            PatientResult(
                patient=patient,
                logit=max(logits),
                probability=patient_calibration.probability(max(logits)),
                threshold=patient_threshold,
                images=sum(map(len, sides.values())),
                files=tuple(image.file for members in sides.values() for image in members),
                missing_views=tuple(
                    f"{laterality} {view}"
                    for laterality in (Laterality.RIGHT, Laterality.LEFT)
                    for view in _missing(sides.get(laterality, ()))
                ),
            )
        )
    return StudyResult(
        images=images,
        breasts=tuple(breasts),
        patients=tuple(patients),
        model_version=card.version,
    )


def _missing(images: Iterable[PredictedImage]) -> list[str]:
    """Standard views without an image; images of unknown views do not count."""
    views = {image.view for image in images}
    return [str(view) for view in STANDARD_VIEWS if view not in views]
