"""Messages between the service and a reading process.

A reading process decodes untrusted bytes, so the service does not trust its answers. Facts are JSON
that is validated by type; pixels are raw bytes of a requested shape. The service unpickles nothing.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from mammoscope import errors
from mammoscope.errors import ImageError
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions
from mammoscope.imaging.geometry import Geometry
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.mammogram import Exposure, Laterality, SourceFacts, View
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.imaging.preprocessing.breast import SEARCH_SIZE
from mammoscope.settings.service import ReadingLimits

Bytes = npt.NDArray[np.uint8]
"""Received bytes, uint8 (n,)."""

FORK: Final = b"fork"
KILL: Final = b"kill "
"""Commands to the forkserver; a process id follows the second."""

LENGTH: Final = struct.Struct("<QQ")
"""Number of bytes of JSON and of pixels that follow."""

_MAX_JSON_BYTES: Final = 64 * 1024
"""Limit for the JSON facts, which take about a kilobyte."""

_SEARCH: Final = (SEARCH_SIZE, SEARCH_SIZE)


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """A request to read the bytes in the shared file.

    Parameters
    ----------
    bytes
        Size of the encoded image in bytes.
    options
        How to read it.
    cpu_s
        Allowed processor time in seconds.
    """

    bytes: int
    options: ReadingOptions | DisplayOptions
    cpu_s: int


@dataclass(frozen=True, slots=True)
class _Facts:
    """A network input without its arrays; ``display`` is the shape of the display image."""

    inverted: bool
    mirrored: bool
    chest_wall: Literal["left", "right"]
    box: tuple[int, int, int, int]
    breast_share: float
    source: SourceFacts
    laterality: Laterality | None
    view: View | None
    exposure: Exposure
    warnings: tuple[str, ...]
    stage_s: Mapping[str, float]
    display: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _DisplayFacts:
    """A display image without its pixels."""

    shape: tuple[int, int]
    source_size: tuple[int, int]
    window: tuple[float, float]
    geometry: Geometry


_FACTS: Final = TypeAdapter(_Facts)
_DISPLAY_FACTS: Final = TypeAdapter(_DisplayFacts)
_KNOWN: Final = TypeAdapter(dict[str, str | None])


Outcome = NetworkInput | DisplayImage


class BrokenAnswerError(Exception):
    """A reading process gave no answer, or an invalid one."""


def encode_request(request: ReadingRequest) -> bytes:
    """Return the request as one line of JSON."""
    options = request.options
    plain: dict[str, Any] = {
        "bytes": request.bytes,
        "cpu_s": request.cpu_s,
        "limits": {name: getattr(options.limits, name) for name in ReadingLimits.model_fields},
    }
    if isinstance(options, DisplayOptions):
        plain["longest_side"] = options.longest_side
    else:
        key = options.pseudonym_key
        plain |= {
            "size": options.size,
            "channels": options.channels,
            "pseudonym_key": None if key is None else key.hex(),
            "display": options.display,
            "gate": None if options.gate is None else options.gate.model_dump(),
        }
    return json.dumps(plain).encode() + b"\n"


def decode_request(line: bytes) -> ReadingRequest:
    """Decode a request made by `encode_request`."""
    plain = json.loads(line)
    limits = ReadingLimits(**plain["limits"])
    if "longest_side" in plain:
        shown = DisplayOptions(plain["longest_side"], limits)
        return ReadingRequest(plain["bytes"], shown, plain["cpu_s"])
    height, width = plain["size"]
    key, gate = plain["pseudonym_key"], plain["gate"]
    options = ReadingOptions(
        size=(height, width),
        channels=plain["channels"],
        limits=limits,
        pseudonym_key=None if key is None else bytes.fromhex(key),
        display=plain["display"],
        gate=None if gate is None else LearnedGate(**gate),
    )
    return ReadingRequest(plain["bytes"], options, plain["cpu_s"])


def encode_answer(outcome: Outcome | ImageError) -> list[bytes | memoryview]:
    """Return an answer as parts to write one after another."""
    if isinstance(outcome, ImageError):
        refusal = json.dumps(
            {"code": outcome.code, "message": str(outcome), "known": outcome.known}
        ).encode()
        return [LENGTH.pack(len(refusal), 0), refusal]
    if isinstance(outcome, DisplayImage):
        height, width = outcome.pixels.shape
        shown = _DisplayFacts(
            (height, width), outcome.source_size, outcome.window, outcome.geometry
        )
        return _parts(shown, [outcome.pixels])
    made = outcome.preprocessed
    facts = _Facts(
        inverted=made.inverted,
        mirrored=made.mirrored,
        chest_wall=made.chest_wall,
        box=made.box,
        breast_share=made.breast_share,
        source=outcome.source,
        laterality=outcome.laterality,
        view=outcome.view,
        exposure=outcome.exposure,
        warnings=outcome.warnings,
        stage_s=outcome.stage_s,
        display=None if outcome.display is None else outcome.display.shape[:2],
    )
    arrays: list[np.ndarray[Any, Any]] = [made.pixels, made.search_copy, made.breast]
    if outcome.display is not None:
        arrays.append(outcome.display)
    return _parts(facts, arrays)


def _parts(
    facts: _Facts | _DisplayFacts, arrays: Sequence[np.ndarray[Any, Any]]
) -> list[bytes | memoryview]:
    text = json.dumps(asdict(facts)).encode()
    parts = [np.ascontiguousarray(array).data.cast("B") for array in arrays]
    return [LENGTH.pack(len(text), sum(part.nbytes for part in parts)), text, *parts]


def answer_bytes(header: bytes, request: ReadingRequest) -> tuple[int, int]:
    """Return how many bytes of JSON and of pixels follow an answer's header.

    Raises
    ------
    BrokenAnswerError
        If they exceed what any answer to `request` can have.
    """
    text, pixels = LENGTH.unpack(header)
    options = request.options
    if isinstance(options, DisplayOptions):
        most = 2 * options.limits.max_pixels
    else:
        most = math.prod(options.shape) + 5 * SEARCH_SIZE**2
        most += options.limits.max_pixels
    if text > _MAX_JSON_BYTES or pixels > most:
        raise BrokenAnswerError
    return text, pixels


def decode_answer(text: bytes, pixels: Bytes, request: ReadingRequest) -> Outcome:
    """Return the network input or display image from a reading process's answer.

    Raises
    ------
    ImageError
        If the process refused the image.
    BrokenAnswerError
        If the answer does not match `request`.
    """
    try:
        if not pixels.size:
            raise _refusal(json.loads(text))
        if isinstance(request.options, DisplayOptions):
            shown = _DISPLAY_FACTS.validate_json(text)
            values = _Arrays(pixels).take(shown.shape, np.uint16)
            return DisplayImage(values, shown.source_size, shown.window, shown.geometry)
        facts = _FACTS.validate_json(text)
        arrays = _Arrays(pixels)
        preprocessed = Preprocessed(
            pixels=arrays.take(request.options.shape, np.uint8),
            inverted=facts.inverted,
            mirrored=facts.mirrored,
            chest_wall=facts.chest_wall,
            box=facts.box,
            breast_share=facts.breast_share,
            search_copy=arrays.take(_SEARCH, np.float32),
            breast=arrays.take(_SEARCH, np.uint8) > 0,
        )
        display = None if facts.display is None else arrays.take(facts.display, np.uint8)
    except (ValueError, KeyError, TypeError, ValidationError) as err:
        raise BrokenAnswerError from err
    return NetworkInput(
        preprocessed=preprocessed,
        source=facts.source,
        laterality=facts.laterality,
        view=facts.view,
        exposure=facts.exposure,
        warnings=facts.warnings,
        display=display,
        stage_s=facts.stage_s,
    )


class _Arrays:
    """Consecutive arrays in one buffer."""

    def __init__(self, buffer: Bytes) -> None:
        self._buffer = buffer
        self._offset = 0

    def take(self, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
        """Return the next array, read-only."""
        made = np.frombuffer(self._buffer, kind, math.prod(shape), self._offset).reshape(shape)
        self._offset += made.nbytes
        made.setflags(write=False)
        return made


def _refusal(answer: Mapping[str, Any]) -> ImageError:
    kinds = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ImageError)
    }
    refused = kinds[answer["code"]](str(answer["message"]))
    refused.known = _KNOWN.validate_python(answer["known"])
    return refused
