"""What crosses between the service and a reading process.

A reading process decodes bytes that anybody sent, so nothing that it answers is trusted: facts are
JSON checked against their types, pixels are raw bytes of a shape that was asked for. Nothing is
unpickled on the service's side.
"""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from mammoscope import errors
from mammoscope.errors import ImageError
from mammoscope.imaging.network_input import ImageFacts, NetworkInput
from mammoscope.settings import ReadingLimits

FORK: Final = b"fork"
KILL: Final = b"kill "
"""What the forkserver is told; the second is followed by a process's number."""

LENGTH: Final = struct.Struct("<QQ")
"""Bytes of JSON and bytes of pixels that follow."""

MAX_JSON_BYTES: Final = 64 * 1024
"""Facts take about a kilobyte."""

_FACTS: Final = TypeAdapter(ImageFacts)


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """What a reading process is asked to do with the bytes in its shared file.

    Parameters
    ----------
    bytes
        Size of the encoded image.
    size
        Height and width in pixels of the network's input.
    limits
        Largest image allowed.
    pseudonym_key
        Hexadecimal key for pseudonyms; None leaves patients unnamed.
    display
        Whether to send the image to draw a heat map over.
    cpu_s
        Seconds of processor time allowed.
    """

    bytes: int
    size: tuple[int, int]
    limits: ReadingLimits
    pseudonym_key: str | None
    display: bool
    cpu_s: int


class BrokenAnswerError(Exception):
    """A reading process answered with what it was not asked for."""


def encode_request(request: ReadingRequest) -> bytes:
    """Return the request as one line of JSON."""
    plain = {**asdict(request), "limits": request.limits.model_dump()}
    return json.dumps(plain).encode() + b"\n"


def decode_request(line: bytes) -> ReadingRequest:
    """Return what `encode_request` was given."""
    plain = json.loads(line)
    limits = ReadingLimits(**plain.pop("limits"))
    return ReadingRequest(**{**plain, "limits": limits, "size": tuple(plain["size"])})


def encode_answer(outcome: NetworkInput | ImageError) -> list[bytes | memoryview]:
    """Return an answer as parts to be written one after another."""
    if isinstance(outcome, ImageError):
        text = json.dumps({"code": outcome.code, "message": str(outcome)}).encode()
        return [LENGTH.pack(len(text), 0), text]
    arrays = [outcome.pixels] if outcome.display is None else [outcome.pixels, outcome.display]
    facts = {**asdict(outcome.facts)}
    shown = None if outcome.display is None else outcome.display.shape
    text = json.dumps({"facts": facts, "display": shown}).encode()
    size = sum(array.nbytes for array in arrays)
    return [
        LENGTH.pack(len(text), size),
        text,
        *(np.ascontiguousarray(array).data.cast("B") for array in arrays),
    ]


def answer_bytes(header: bytes, request: ReadingRequest) -> tuple[int, int]:
    """Return how many bytes of JSON and of pixels follow an answer's header.

    Raises
    ------
    BrokenAnswerError
        If they are more than any answer to `request` can have.
    """
    text, pixels = LENGTH.unpack(header)
    most = request.size[0] * request.size[1] + request.limits.max_pixels
    if text > MAX_JSON_BYTES or pixels > most:
        raise BrokenAnswerError
    return text, pixels


def decode_answer(text: bytes, pixels: bytearray, request: ReadingRequest) -> NetworkInput:
    """Return the network input that a reading process made.

    Raises
    ------
    ImageError
        If the process refused the image.
    BrokenAnswerError
        If the answer is not one to `request`.
    """
    try:
        answer: dict[str, Any] = json.loads(text)
        if "code" in answer:
            raise _refusal(str(answer["code"]), str(answer["message"]))
        facts = _FACTS.validate_json(json.dumps(answer["facts"]))
        arrays = np.frombuffer(pixels, np.uint8)
        count = request.size[0] * request.size[1]
        network = _shaped(arrays[:count], request.size)
        if not request.display:
            return NetworkInput(network, facts)
        height, width = answer["display"]
        return NetworkInput(network, facts, _shaped(arrays[count:], (int(height), int(width))))
    except (ValueError, KeyError, TypeError, ValidationError) as err:
        raise BrokenAnswerError from err


def _shaped(flat: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    made = flat.reshape(shape)
    made.setflags(write=False)
    return made


def _refusal(code: str, message: str) -> ImageError:
    kinds = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ImageError)
    }
    return kinds[code](message)
