"""The heat map as a Segmentation: PS3.3 A.51, fractional, of probabilities."""

import functools
from typing import Final

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.frame import encode_frame
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, JPEGLSLossless

from mammoscope.archive.results import codes
from mammoscope.archive.results.objects import (
    DEVICE,
    HEAT_MAP_SERIES,
    Reported,
    ResultObject,
    copy_of,
    encoded,
    equipment,
    finished,
    new_uid,
    refer,
    set_pixels,
)
from mammoscope.archive.results.source import REQUIRED_EMPTY
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.heat_map import heat_map
from mammoscope.model.artifact.card import Card
from mammoscope.model.prediction import RESEARCH_USE_NOTICE

_LONGEST_SIDE: Final = 256
"""Values along the longer side: the network's cells are far larger, and files stay small."""

_HIGHEST: Final = 255
_TEMPLATE_SIDE: Final = 8

_DESCRIPTION: Final = "Mammoscope heat map, research use only"


def encode_heat_map(image: Reported, card: Card, series_uid: UID, number: int) -> ResultObject:
    """Write the heat map of an image.

    Parameters
    ----------
    image
        The predicted image.
    card
        The model's card, whose calibration turns the heat into probabilities.
    series_uid
        Series of the heat maps.
    number
        Number of this one in the series, from 1.
    """
    values, block = probability_map(image, card)
    result = copy_of(_template(card.version, card.sha256), image.origin, series_uid, number)
    set_pixels(result, values.shape, encode_frame(values, JPEGLSLossless, 8, 8, "MONOCHROME2"))
    result.PatientOrientation = image.origin.orientation
    cells = " x ".join(map(str, image.source.prediction.logit_map.shape))
    (segment,) = result.SegmentSequence
    segment.TrackingUID = image.tracking_uid
    segment.TrackingID = image.tracking_identifier
    segment.SegmentDescription = (
        f"{RESEARCH_USE_NOTICE} Calibrated probability that each of the network's {cells} cells "
        "(rows x columns, over the breast) would give alone, interpolated; 0 outside the breast. "
        f"One value for {block} x {block} pixels of the image."
    )
    (frame,) = result.PerFrameFunctionalGroupsSequence
    refer(frame.DerivationImageSequence[0].SourceImageSequence[0], image.origin)
    refer(result.SourceImageSequence[0], image.origin)
    (series,) = result.ReferencedSeriesSequence
    series.SeriesInstanceUID = image.origin.reference.SeriesInstanceUID
    refer(series.ReferencedInstanceSequence[0], image.origin)
    return finished(result, image.origin)


@functools.lru_cache(maxsize=1)
def _template(model_version: str, model_sha256: str) -> bytes:
    """Return a heat map of a model without an image: highdicom takes long to make one."""
    source = Dataset()
    source.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    source.SOPInstanceUID = source.SeriesInstanceUID = source.StudyInstanceUID = new_uid()
    for keyword in REQUIRED_EMPTY:
        setattr(source, keyword, None)
    source.Rows = source.Columns = _TEMPLATE_SIDE
    source.Modality = "MG"
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Probability of cancer, research use only",
        segmented_property_category=codes.ABNORMALITY,
        segmented_property_type=codes.NEOPLASM,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=DEVICE,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=model_version,
            source=f"SHA-256 {model_sha256[:16]}",
        ),
        tracking_uid=new_uid(),
        tracking_id=DEVICE,
        anatomic_regions=[codes.BREAST],
    )
    result = Segmentation(
        source_images=[source],
        pixel_array=np.zeros((1, _TEMPLATE_SIDE, _TEMPLATE_SIDE, 1), np.uint8),
        segmentation_type="FRACTIONAL",
        fractional_type="PROBABILITY",
        max_fractional_value=_HIGHEST,
        segment_descriptions=[segment],
        series_instance_uid=new_uid(),
        series_number=HEAT_MAP_SERIES,
        series_description=_DESCRIPTION,
        sop_instance_uid=new_uid(),
        instance_number=1,
        transfer_syntax_uid=JPEGLSLossless,
        content_label="HEAT_MAP",
        content_description="Probability of cancer by region, research use only",
        omit_empty_frames=False,
        **equipment(model_version),
    )
    return encoded(result)


def probability_map(image: Reported, card: Card) -> tuple[Pixels, int]:
    """Return the heat map as probabilities, in the source image's geometry.

    Returns
    -------
    tuple
        uint8 (H, W), `_HIGHEST` for a probability of 1, of the encoded image's size, 0 outside the
        breast; and the side in pixels of the squares of equal values.
    """
    found, read = image.source.prediction, image.source.image
    shape = image.source.display.shape
    step = -(-max(shape) // _LONGEST_SIDE)
    top, left, _, _ = found.preprocessed.box
    first_row, first_column = (step // 2 - top) % step, (step // 2 - left) % step
    every = np.s_[first_row::step, first_column::step]
    heat, breast = heat_map(found.logit_map, found.preprocessed, every)
    values = np.where(breast, card.calibration.probabilities(heat), 0.0)
    sampled = np.zeros([-(-side // step) for side in shape], np.uint8)
    row, column = (top + first_row) // step, (left + first_column) // step
    sampled[row : row + values.shape[0], column : column + values.shape[1]] = np.rint(
        _HIGHEST * values
    )
    height, width = read.source.height, read.source.width
    block = step * max(1, round(max(height, width) / max(shape)))
    enlarged = sampled.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    missing = ((0, height - enlarged.shape[0]), (0, width - enlarged.shape[1]))
    return np.pad(enlarged, missing, mode="edge"), block
