"""The picture of a heat map: a Secondary Capture for viewers that show nothing else."""

import functools
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from highdicom.frame import encode_frame
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
    copy_of,
    encoded,
    equipment,
    finished,
    new_uid,
    refer,
    set_pixels,
)
from mammoscope.imaging.arrays import Colours, Pixels
from mammoscope.imaging.heat_map import COLOURS, heat_map, heat_range, overlay
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.model.prediction import RESEARCH_USE_NOTICE

_HEIGHT: Final = 768
"""Height of the mammogram in the picture, in pixels."""

_LEAST_WIDTH: Final = 640

_COLOURS: Final = "YBR_FULL_422"
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
    drawn = draw_capture(image, decided)
    frame = encode_frame(drawn, JPEGBaseline8Bit, 8, 8, _COLOURS, 0, 0)
    result = copy_of(_template(decided.card.version), image.origin, series_uid, number)
    set_pixels(result, drawn.shape, frame)
    result.DateOfSecondaryCapture = result.InstanceCreationDate
    result.TimeOfSecondaryCapture = result.InstanceCreationTime
    result.LossyImageCompressionRatio = round(drawn.nbytes / len(result.PixelData), 2)
    refer(result.SourceImageSequence[0], image.origin)
    return finished(result, image.origin)


@functools.lru_cache(maxsize=1)
def _template(model_version: str) -> bytes:
    """Return a capture by a model, without an image: highdicom takes long to make one."""
    result = SCImage(
        pixel_array=np.zeros((8, 8, 3), np.uint8),
        photometric_interpretation=_COLOURS,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("A", "F"),  # highdicom demands one; removed below
        study_instance_uid=new_uid(),
        series_instance_uid=new_uid(),
        series_number=CAPTURE_SERIES,
        series_description=_DESCRIPTION,
        sop_instance_uid=new_uid(),
        instance_number=1,
        transfer_syntax_uid=JPEGBaseline8Bit,
        **equipment(model_version),
    )
    # The text is not part of the body, and hanging protocols must not take this for a view.
    result.PatientOrientation = []
    result.Laterality = ""
    result.BurnedInAnnotation = "NO"
    result.LossyImageCompression = "01"
    result.LossyImageCompressionMethod = "ISO_10918_1"
    result.DerivationDescription = f"Heat map drawn over the mammogram. {RESEARCH_USE_NOTICE}"
    result.ImageComments = RESEARCH_USE_NOTICE
    source = Dataset()
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    result.SourceImageSequence = [source]
    return encoded(result)


def draw_capture(image: Reported, decided: Decided) -> Colours:
    """Draw the heat map over the image, with its scale, the probability and the notice.

    Returns
    -------
    ndarray
        uint8 (H, W, 3), red, green, blue.
    """
    found = image.source.prediction
    display, preprocessed = _shrunk(image)
    height, breast_width = display.shape
    width = max(_LEAST_WIDTH, breast_width)
    percent = f"{100 * found.probability:.1f} % (threshold {100 * found.threshold:.1f} %"
    facts = [
        *_wrapped(_SCALE, width),
        f"Probability of cancer {percent}, operating point {decided.operating_point})",
        f"Model {decided.card.version}, software {__version__}",
        *_wrapped(RESEARCH_USE_NOTICE, width),
    ]
    body = np.zeros((height, width, 3), np.uint8)
    left = width - breast_width if preprocessed.chest_wall == "right" else 0
    body[:, left : left + breast_width] = overlay(display, found.logit_map, preprocessed)
    heats = heat_range(*heat_map(found.logit_map, preprocessed))
    least, greatest = map(decided.card.calibration.probability, heats)
    return np.vstack(
        [
            _gap(width),
            _text_line(f"{DEVICE} {image.name}: RESEARCH USE ONLY", width, _AMBER),
            _gap(width),
            body,
            _colour_scale(least, greatest, width),
            _gap(width),
            *(_text_line(fact, width, _WHITE) for fact in facts),
            _gap(width),
        ]
    )


def _shrunk(image: Reported) -> tuple[Pixels, Preprocessed]:
    """Return the image at the capture's size, and how it was preprocessed from that size."""
    display, preprocessed = image.source.display, image.source.prediction.preprocessed
    scale = _HEIGHT / display.shape[0]
    size = (max(1, round(display.shape[1] * scale)), _HEIGHT)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(display, size, interpolation=way), np.uint8)
    top, left, bottom, right = (round(edge * scale) for edge in preprocessed.box)
    box = (top, left, max(bottom, top + 1), min(max(right, left + 1), size[0]))
    return resized, replace(preprocessed, box=box)


def _colour_scale(least: float, greatest: float, width: int) -> Colours:
    """Draw the colours from least to greatest heat, with their probabilities."""
    steps = np.linspace(0, 255, width - 2 * _MARGIN).astype(np.uint8)
    colours = cv2.applyColorMap(steps[None], COLOURS)[:, :, ::-1]
    bar = np.zeros((_MARGIN + _SCALE_HEIGHT, width, 3), np.uint8)
    bar[_MARGIN:, _MARGIN : width - _MARGIN] = colours
    canvas = Image.new("RGB", (width, _TEXT + _MARGIN))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN // 2), f"{100 * least:.1f} %", _WHITE, _font())
    right = (width - _MARGIN, _MARGIN // 2)
    draw.text(right, f"{100 * greatest:.1f} %", _WHITE, _font(), anchor="ra")
    return np.vstack([bar, np.asarray(canvas, np.uint8)])


def _gap(width: int) -> Colours:
    return np.zeros((_MARGIN // 2, width, 3), np.uint8)


@functools.lru_cache(maxsize=64)
def _text_line(line: str, width: int, colour: tuple[int, int, int]) -> Colours:
    """Draw a line; most are the same in all captures."""
    canvas = Image.new("RGB", (width, _TEXT + _MARGIN // 2))
    ImageDraw.Draw(canvas).text((_MARGIN, 0), line, colour, _font())
    return np.asarray(canvas, np.uint8)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)


@functools.lru_cache(maxsize=64)
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
