"""The wire format of the Open Inference Protocol: JSON, optionally followed by binary tensors.

References
----------
Open Inference Protocol, version 2, HTTP/REST; extension ``binary_tensor_data``.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from mammoscope.errors import InvalidRequestError, RequestTooLargeError
from mammoscope.service.v2_json import decode_element, lift_texts

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""Header with the number of bytes of JSON in the body; the tensors' bytes follow them."""

_LENGTH: Final = struct.Struct("<I")
"""Length prefix of each element of a BYTES tensor: its number of bytes."""

_BINARY_SIZE: Final = "binary_data_size"

_BYTE_COUNT: Final = re.compile(r"[0-9]{1,12}")

_MOST_FILES: Final = 100
"""Maximum number of BYTES elements in a request, whatever the settings; each is a file."""

Array = npt.NDArray[Any]


class RequestedOutput(BaseModel):
    """A requested output."""

    name: Annotated[str, Field(max_length=64)]
    parameters: dict[str, Any] = {}


class InputTensor(RequestedOutput):
    """An input; its data are here, or follow the JSON as bytes."""

    datatype: Annotated[str, Field(max_length=16)]
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(min_length=1, max_length=4)]
    data: list[Any] | None = None


class RequestHeader(BaseModel):
    """The JSON of a request."""

    id: Annotated[str, Field(max_length=256)] = ""
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=4)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=16)] = []
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRequest:
    """A parsed request.

    Parameters
    ----------
    id
        The client's id of the request, which the answer repeats; may be empty.
    inputs
        By name: uint8 arrays for UINT8, lists of bytes for BYTES.
    outputs
        Names of the requested outputs, and whether each is requested as bytes; empty for all.
    binary
        Whether unnamed outputs are requested as bytes.
    """

    id: str
    inputs: Mapping[str, Array | list[bytes]]
    outputs: Mapping[str, bool]
    binary: bool


def parse_request(
    body: bytes | bytearray, header_length: str | None, *, max_values: int
) -> InferenceRequest:
    """Parse a request.

    This takes time linear in the body, and memory of at most about twice the body plus 100 bytes
    for each of `max_values`: base64 texts are decoded in place, and the rest of the JSON is small,
    which is checked before it is parsed.

    Parameters
    ----------
    body
        Body of the HTTP request.
    header_length
        Value of `HEADER_LENGTH`; None if the whole body is JSON.
    max_values
        Maximum number of numbers or texts in all inputs together.

    Raises
    ------
    InvalidRequestError
        If the body does not follow the protocol.
    RequestTooLargeError
        If the JSON has more values, or more other text, than allowed.
    """
    length = len(body)
    if header_length is not None:
        if _BYTE_COUNT.fullmatch(header_length) is None:
            raise InvalidRequestError(f"{HEADER_LENGTH} must be a number of bytes.")
        length = int(header_length)
    if length > len(body):
        raise InvalidRequestError(f"{HEADER_LENGTH} exceeds the length of the body.")
    texts, rest = lift_texts(body, length, max_values)
    try:
        header = RequestHeader.model_validate(json.loads(rest))
    except ValidationError as err:
        places = {".".join(map(str, problem["loc"])) or "body" for problem in err.errors()}
        raise InvalidRequestError(
            f"The JSON does not follow the inference protocol: {', '.join(sorted(places))}."
        ) from err
    except (ValueError, RecursionError) as err:
        raise InvalidRequestError("The body does not start with JSON.") from err
    inputs = _inputs(header.inputs, texts, memoryview(body)[length:])
    binary = header.parameters.get("binary_data_output") is True
    outputs = {each.name: each.parameters.get("binary_data", binary) is True
               for each in header.outputs}  # fmt: skip
    return InferenceRequest(header.id, inputs, outputs, binary)


def _inputs(
    described: list[InputTensor], texts: dict[int, memoryview], rest: memoryview
) -> dict[str, Array | list[bytes]]:
    """Return inputs by name, with data from their JSON, from `texts`, or from `rest`."""
    inputs = {}
    for given in described:
        size = given.parameters.get(_BINARY_SIZE)
        if size is None:
            inputs[given.name] = _from_json(given, texts)
        elif isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= len(rest):
            inputs[given.name] = _from_bytes(given, rest[:size])
            rest = rest[size:]
        else:
            raise InvalidRequestError(f"{_BINARY_SIZE} is not a number of bytes that follow.")
    if len(rest) > 0 or texts or len(inputs) < len(described):
        raise InvalidRequestError("The inputs do not match the description in the JSON.")
    return inputs


def write_response(
    header: Mapping[str, Any], outputs: Mapping[str, tuple[Array | list[str], bool]]
) -> tuple[bytes, int | None]:
    """Write an answer.

    Parameters
    ----------
    header
        Its first members.
    outputs
        By name: a float32 array or texts, and whether it is written as bytes.

    Returns
    -------
    tuple
        The body, and how many bytes of it are JSON; None if all are.
    """
    described, tail = [], []
    for name, (values, binary) in outputs.items():
        texts = isinstance(values, list)
        entry: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if texts else "FP32",
            "shape": [len(values)] if isinstance(values, list) else list(values.shape),
        }
        if binary:
            encoded = _as_bytes(values)
            entry["parameters"] = {_BINARY_SIZE: len(encoded)}
            tail.append(encoded)
        else:
            entry["data"] = values if isinstance(values, list) else values.ravel().tolist()
        described.append(entry)
    content = json.dumps({**header, "outputs": described}).encode()
    return content + b"".join(tail), len(content) if tail else None


def _as_bytes(values: Array | list[str]) -> bytes:
    if not isinstance(values, list):
        return values.astype("<f4").tobytes()
    encoded = [text.encode() for text in values]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def _from_json(given: InputTensor, texts: dict[int, memoryview]) -> Array | list[bytes]:
    count = math.prod(given.shape)
    if given.data is None:
        raise InvalidRequestError("An input has neither data nor bytes.")
    if given.datatype == "BYTES":
        elements = [decode_element(each, texts) for each in _flattened(given.data)]
        if len(elements) != count:
            raise InvalidRequestError("An input's data does not match its shape.")
        return elements
    _require_uint8(given)
    flat = _flattened(given.data)
    if len(flat) != count:
        raise InvalidRequestError("An input's data does not match its shape.")
    numbers = set(map(type, flat)) <= {int}  # in Python, JSON's true is a number
    if not numbers or min(flat, default=0) < 0 or max(flat, default=0) > 255:
        raise InvalidRequestError("UINT8 values must be whole numbers from 0 to 255.")
    return np.frombuffer(bytes(flat), np.uint8).reshape(given.shape)


def _flattened(data: list[Any]) -> list[Any]:
    """Flatten nested lists of equal length."""
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1 or len(set(map(len, data))) > 1:
            raise InvalidRequestError("An input's data does not match its shape.")
        data = list(chain.from_iterable(data))
    return data


def _from_bytes(given: InputTensor, data: memoryview) -> Array | list[bytes]:
    count = math.prod(given.shape)
    if given.datatype == "BYTES":
        if count > _MOST_FILES:
            raise RequestTooLargeError(
                f"An input has {count} BYTES elements; the maximum is {_MOST_FILES}."
            )
        elements: list[bytes] = []
        while len(data) >= _LENGTH.size and len(elements) < count:
            (length,) = _LENGTH.unpack(data[: _LENGTH.size])
            element = bytes(data[_LENGTH.size : _LENGTH.size + length])
            if len(element) < length:
                break
            elements.append(element)
            data = data[_LENGTH.size + length :]
        if len(data) > 0 or len(elements) != count:
            raise InvalidRequestError("An input's bytes do not match its shape.")
        return elements
    _require_uint8(given)
    if len(data) != count:
        raise InvalidRequestError("An input's bytes do not match its shape.")
    return np.frombuffer(data, np.uint8).reshape(given.shape)


def _require_uint8(given: InputTensor) -> None:
    if given.datatype != "UINT8":
        raise InvalidRequestError("Inputs must be of the datatype UINT8 or BYTES.")
