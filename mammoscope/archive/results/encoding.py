"""Encode the results of one study."""

import logging
import warnings
from collections.abc import Sequence

from mammoscope.archive.results.capture import encode_capture
from mammoscope.archive.results.objects import (
    Decided,
    Reported,
    ReportReference,
    ResultObject,
    new_uid,
)
from mammoscope.archive.results.report import encode_report
from mammoscope.archive.results.segmentation import encode_heat_map
from mammoscope.archive.results.source import (
    Origin,
    PredictedSource,
    RefusedSource,
    SourceImage,
    read_origin,
)
from mammoscope.errors import ImageError, ResultError
from mammoscope.model.artifact.card import DEFAULT_POINT, Card
from mammoscope.studies import Placement, PredictedImage, predicted_image

_PATIENT = "patient"
"""All images belong to one patient, whose name nobody reads."""


def encode_results(
    images: Sequence[SourceImage],
    card: Card,
    *,
    operating_point: str = DEFAULT_POINT,
    predecessor: ReportReference | None = None,
) -> list[ResultObject]:
    """Write the results of a study as DICOM objects.

    Parameters
    ----------
    images
        All images of one study, each once, as `predict_source` returns them.
    card
        Card of the model that predicted them.
    operating_point
        Operating point of the predictions.
    predecessor
        The report of this study that the new one replaces; None for the first.

    Returns
    -------
    list
        The report; then for each predicted image, in the order of `images`, its heat map and its
        picture. Each kind is a series of its own. Every call draws new UIDs.

    Raises
    ------
    ResultError
        If no image has a prediction, an image was given twice, or the images name several
        studies or patients.
    CorruptImageError
        If the header of a predicted image is damaged, or lacks a UID.
    ConfigurationError
        If the card has no such operating point.
    """
    # Both quote values of the header.
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _encode(images, Decided(card, operating_point), predecessor)


def _encode(
    images: Sequence[SourceImage], decided: Decided, predecessor: ReportReference | None
) -> list[ResultObject]:
    predicted: list[tuple[Origin, PredictedSource]] = []
    refused: list[tuple[Origin | None, str]] = []
    for image in images:
        if isinstance(image, RefusedSource):
            refused.append((_origin_if_readable(image), image.refusal.message))
        else:
            predicted.append((read_origin(image.data), image))
    origins = [origin for origin, _ in (*predicted, *refused) if origin is not None]
    _require_one_study(origins)
    if not predicted:
        raise ResultError("No image of the study has a prediction, so there is nothing to report.")
    reported = [Reported(image, origin, _placed(origin, image)) for origin, image in predicted]
    results = [encode_report(reported, refused, decided, predecessor)]
    heat_maps, captures = new_uid(), new_uid()
    for number, each in enumerate(reported, start=1):
        results.append(encode_heat_map(each, decided.card, heat_maps, number))
        results.append(encode_capture(each, decided, captures, number))
    return results


def _origin_if_readable(image: RefusedSource) -> Origin | None:
    try:
        return read_origin(image.data)
    except ImageError:
        return None


def _placed(origin: Origin, image: PredictedSource) -> PredictedImage:
    name = str(origin.reference.SOPInstanceUID)
    return predicted_image(name, image.image, image.prediction, Placement(patient=_PATIENT))


def _require_one_study(origins: Sequence[Origin]) -> None:
    if len({str(origin.reference.SOPInstanceUID) for origin in origins}) < len(origins):
        raise ResultError("An image was given twice; give each image of the study once.")
    studies = {str(origin.reference.StudyInstanceUID) for origin in origins}
    if len(studies) > 1:
        raise ResultError(f"The images belong to {len(studies)} studies; give those of one.")
    patients = {origin.patient for origin in origins}
    if len(patients) > 1:
        raise ResultError(
            f"The images of the study name {len(patients)} patients, so it is unknown whose "
            "results these are. Correct the patient IDs in the archive."
        )
