"""The heat map as a Segmentation: PS3.3 A.51, fractional, of probabilities."""

from typing import Final

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.frame import encode_frame
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLSLossless

from mammoscope.archive.results import codes
from mammoscope.archive.results.objects import (
    DEVICE,
    HEAT_MAP_SERIES,
    Reported,
    ResultObject,
    equipment,
    evidence,
    finished,
    new_uid,
)
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.heat_map import heat_map
from mammoscope.model.artifact.card import Card
from mammoscope.model.prediction import RESEARCH_USE_NOTICE

_LONGEST_SIDE: Final = 512
"""Values along the longer side: the network's cells are far larger, and files stay small."""

_HIGHEST: Final = 255

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
    source = evidence(image.origin)
    source.Rows, source.Columns = values.shape
    source.Modality = "MG"
    cells = " x ".join(map(str, image.source.prediction.logit_map.shape))
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Probability of cancer, research use only",
        segmented_property_category=codes.ABNORMALITY,
        segmented_property_type=codes.NEOPLASM,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=DEVICE,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=card.version,
            source=f"SHA-256 {card.sha256[:16]}",
        ),
        tracking_uid=image.tracking_uid,
        tracking_id=image.tracking_identifier,
        anatomic_regions=[codes.BREAST],
    )
    segment.SegmentDescription = (
        f"{RESEARCH_USE_NOTICE} Calibrated probability that each of the network's {cells} cells "
        "(rows x columns, over the breast) would give alone, interpolated; 0 outside the breast. "
        f"One value for {block} x {block} pixels of the image."
    )
    result = Segmentation(
        source_images=[source],
        pixel_array=np.zeros((1, *values.shape, 1), np.uint8),  # replaced below
        segmentation_type="FRACTIONAL",
        fractional_type="PROBABILITY",
        max_fractional_value=_HIGHEST,
        segment_descriptions=[segment],
        series_instance_uid=series_uid,
        series_number=HEAT_MAP_SERIES,
        series_description=_DESCRIPTION,
        sop_instance_uid=new_uid(),
        instance_number=number,
        transfer_syntax_uid=JPEGLSLossless,
        content_label="HEAT_MAP",
        content_description="Probability of cancer by region, research use only",
        omit_empty_frames=False,
        **equipment(card.version),
    )
    # highdicom takes probabilities as floating-point numbers, and sorts all of them to check them.
    frame = encode_frame(values, JPEGLSLossless, 8, 8, "MONOCHROME2")
    result.PixelData = encapsulate([frame])
    result.PatientOrientation = image.origin.orientation
    return finished(result, image.origin)


def probability_map(image: Reported, card: Card) -> tuple[Pixels, int]:
    """Return the heat map as probabilities, in the source image's geometry.

    Returns
    -------
    tuple
        uint8 (H, W), `_HIGHEST` for a probability of 1, of the encoded image's size, 0 outside the
        breast; and the side in pixels of the squares of equal values.
    """
    found, read = image.source.prediction, image.source.image
    heat, breast = heat_map(found.logit_map, found.preprocessed)
    shape = image.source.display.shape
    step = -(-max(shape) // _LONGEST_SIDE)
    top, left, _, _ = found.preprocessed.box
    first_row, first_column = (step // 2 - top) % step, (step // 2 - left) % step
    every = np.s_[first_row::step, first_column::step]
    values = np.where(breast[every], card.calibration.probabilities(heat[every]), 0.0)
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
