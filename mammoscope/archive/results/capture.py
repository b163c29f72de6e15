"""The picture of a heat map: a Secondary Capture for viewers that show nothing else."""

import functools
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit

from mammoscope import __version__
from mammoscope.archive.results import codes
from mammoscope.archive.results.objects import (
    CAPTURE_SERIES,
    DEVICE,
    Decided,
    Reported,
    ResultObject,
    equipment,
    finished,
    new_uid,
)
from mammoscope.imaging.arrays import Colours
from mammoscope.imaging.heat_map import COLOURS, heat_map, heat_range, overlay
from mammoscope.model.prediction import RESEARCH_USE_NOTICE

_HEIGHT: Final = 768
"""Height of the mammogram in the picture, in pixels."""

_LEAST_WIDTH: Final = 640

_TEXT: Final = 18
_MARGIN: Final = 12
_SCALE_HEIGHT: Final = 16
_DESCRIPTION: Final = "Mammoscope picture, research use only"
_SCALE: Final = (
    "Colours: probability that each region alone would give, in even steps of its logit. They "
    "cannot be compared between images."
)
_WHITE: Final = (255, 255, 255)
_AMBER: Final = (255, 200, 0)


def encode_capture(image: Reported, decided: Decided, series_uid: UID, number: int) -> ResultObject:
    """Write the picture of an image's heat map.

    Parameters
    ----------
    image
        The predicted image.
    decided
        The model and its operating point.
    series_uid
        Series of the pictures.
    number
        Number of this one in the series, from 1.
    """
    picture = draw_capture(image, decided)
    result = SCImage(
        pixel_array=picture,
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("A", "F"),  # highdicom demands one; removed below
        study_instance_uid=image.origin.reference.StudyInstanceUID,
        series_instance_uid=series_uid,
        series_number=CAPTURE_SERIES,
        series_description=_DESCRIPTION,
        sop_instance_uid=new_uid(),
        instance_number=number,
        transfer_syntax_uid=JPEGBaseline8Bit,
        **equipment(decided.card.version),
    )
    # The text is not part of the body, and hanging protocols must not take this for a view.
    result.PatientOrientation = []
    result.Laterality = ""
    result.BurnedInAnnotation = "NO"
    result.LossyImageCompression = "01"
    result.LossyImageCompressionRatio = round(picture.nbytes / len(result.PixelData), 2)
    result.LossyImageCompressionMethod = "ISO_10918_1"
    result.DerivationDescription = f"Heat map drawn over the mammogram. {RESEARCH_USE_NOTICE}"
    result.ImageComments = RESEARCH_USE_NOTICE
    source = Dataset()
    source.ReferencedSOPClassUID = image.origin.reference.SOPClassUID
    source.ReferencedSOPInstanceUID = image.origin.reference.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    result.SourceImageSequence = [source]
    return finished(result, image.origin)


def draw_capture(image: Reported, decided: Decided) -> Colours:
    """Draw the heat map over the image, with its scale, the probability and the notice.

    Returns
    -------
    ndarray
        uint8 (H, W, 3), red, green, blue.
    """
    found = image.source.prediction
    shown = _overlaid(image)
    height, breast_width = shown.shape[:2]
    width = max(_LEAST_WIDTH, breast_width)
    head = _text_lines([f"{DEVICE} {image.name}: RESEARCH USE ONLY"], width, _AMBER)
    percent = f"{100 * found.probability:.1f} % (threshold {100 * found.threshold:.1f} %"
    facts = _text_lines(
        [
            *_wrapped(_SCALE, width),
            f"Probability of cancer {percent}, operating point {decided.operating_point})",
            f"Model {decided.card.version}, software {__version__}",
            *_wrapped(RESEARCH_USE_NOTICE, width),
        ],
        width,
        _WHITE,
    )
    body = np.zeros((height, width, 3), np.uint8)
    left = width - breast_width if found.preprocessed.chest_wall == "right" else 0
    body[:, left : left + breast_width] = shown
    return np.vstack([head, body, _colour_scale(image, decided, width), facts])


def _overlaid(image: Reported) -> Colours:
    """Draw the heat map over the image at the picture's size."""
    found, display = image.source.prediction, image.source.display
    scale = _HEIGHT / display.shape[0]
    size = (max(1, round(display.shape[1] * scale)), _HEIGHT)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(display, size, interpolation=way), np.uint8)
    top, left, bottom, right = (round(edge * scale) for edge in found.preprocessed.box)
    box = (top, left, max(bottom, top + 1), min(max(right, left + 1), size[0]))
    return overlay(resized, found.logit_map, replace(found.preprocessed, box=box))


def _colour_scale(image: Reported, decided: Decided, width: int) -> Colours:
    """Draw the colours from least to greatest heat, with their probabilities."""
    found = image.source.prediction
    low, high = heat_range(*heat_map(found.logit_map, found.preprocessed))
    calibration = decided.card.calibration
    steps = np.linspace(0, 255, width - 2 * _MARGIN).astype(np.uint8)
    colours = cv2.applyColorMap(steps[None], COLOURS)[:, :, ::-1]
    bar = np.zeros((_MARGIN + _SCALE_HEIGHT, width, 3), np.uint8)
    bar[_MARGIN:, _MARGIN : width - _MARGIN] = colours
    least, greatest = (f"{100 * calibration.probability(heat):.1f} %" for heat in (low, high))
    canvas = Image.new("RGB", (width, _TEXT + _MARGIN))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN // 2), least, _WHITE, _font())
    draw.text((width - _MARGIN, _MARGIN // 2), greatest, _WHITE, _font(), anchor="ra")
    return np.vstack([bar, np.asarray(canvas, np.uint8)])


def _text_lines(lines: list[str], width: int, colour: tuple[int, int, int]) -> Colours:
    step = _TEXT + _MARGIN // 2
    canvas = Image.new("RGB", (width, step * len(lines) + _MARGIN))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN // 2 + number * step), line, colour, _font())
    return np.asarray(canvas, np.uint8)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font().getlength(longer) > width - 2 * _MARGIN and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
