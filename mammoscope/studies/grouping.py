"""Predictions for images to results for breasts and patients.

A breast's logit is the mean over its images, however many views there are; a patient's logit is the
maximum over the breasts. The released model was measured by breast and patient in the same way.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from mammoscope.errors import ImageError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine import Engine
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
"""Views that a screening study has of each breast."""


def predict_image(
    engine: Engine,
    name: str,
    read: Callable[[], NetworkInput],
    placement: Placement,
    operating_point: str,
) -> StudyImage:
    """Read and predict one image of a study; a refusal is a result like any other.

    Parameters
    ----------
    engine
        The inference engine.
    name
        Name of the image in the result.
    read
        Returns the image, or raises ImageError.
    placement
        What the caller knows; it takes precedence over what the image says.
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
    return PredictedImage(
        file=name,
        patient=patient,
        laterality=laterality,
        view=view,
        probability=prediction.probability,
        threshold=prediction.threshold,
        logit=prediction.logit,
        warnings=prediction.warnings,
        chest_wall=prediction.preprocessed.chest_wall,
        study=study,
    )


def _known(kind: type[_Word], word: str | None) -> _Word | None:
    return None if word is None else kind(word)


def aggregate(images: Sequence[StudyImage], card: Card, operating_point: str) -> StudyResult:
    """Group images by patient and breast; images of unknown patients stand alone.

    `settle_patients` decides first whose the images are.

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
                )
            )
        patients.append(
            PatientResult(
                patient=patient,
                logit=max(logits),
                probability=patient_calibration.probability(max(logits)),
                threshold=patient_threshold,
                images=sum(map(len, sides.values())),
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
    """Standard views of which there is no image; an image of an unknown view counts for none."""
    views = {image.view for image in images}
    return [str(view) for view in STANDARD_VIEWS if view not in views]
