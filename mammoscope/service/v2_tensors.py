"""The wire format of the Open Inference Protocol: JSON, optionally followed by binary tensors.

References
----------
Open Inference Protocol, version 2, HTTP/REST; extension ``binary_tensor_data``.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from mammoscope.errors import InvalidRequestError

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""Header that says how many bytes of the body are JSON; the tensors' bytes follow them."""

_LENGTH: Final = struct.Struct("<I")
"""Before each element of a BYTES tensor: its bytes."""

_BINARY_SIZE: Final = "binary_data_size"

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
        The client's name of the request, which the answer repeats; may be empty.
    inputs
        By name: uint8 arrays for UINT8, lists of bytes for BYTES.
    outputs
        Names of the requested outputs, and whether each is requested as bytes; empty for all.
    binary
        Whether outputs that are not named are requested as bytes.
    """

    id: str
    inputs: Mapping[str, Array | list[bytes]]
    outputs: Mapping[str, bool]
    binary: bool


def parse_request(body: bytes, header_length: str | None) -> InferenceRequest:
    """Read a request.

    Parameters
    ----------
    body
        Of the HTTP request.
    header_length
        Value of `HEADER_LENGTH`; None where all of the body is JSON.

    Raises
    ------
    InvalidRequestError
        If the body does not follow the protocol.
    """
    length = len(body)
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdigit():
            raise InvalidRequestError(f"{HEADER_LENGTH} must be a number of bytes.")
        length = int(header_length)
    if length > len(body):
        raise InvalidRequestError(f"{HEADER_LENGTH} is more than the body has.")
    try:
        header = RequestHeader.model_validate(json.loads(body[:length]))
    except ValidationError as err:
        places = {".".join(map(str, problem["loc"])) or "body" for problem in err.errors()}
        raise InvalidRequestError(
            f"The JSON does not follow the inference protocol: {', '.join(sorted(places))}."
        ) from err
    except (ValueError, RecursionError) as err:
        raise InvalidRequestError("The body does not start with JSON.") from err
    rest, inputs = memoryview(body)[length:], {}
    for given in header.inputs:
        size = given.parameters.get(_BINARY_SIZE)
        if size is None:
            inputs[given.name] = _from_json(given)
        elif isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= len(rest):
            inputs[given.name] = _from_bytes(given, rest[:size])
            rest = rest[size:]
        else:
            raise InvalidRequestError(f"{_BINARY_SIZE} is not a number of bytes that follow.")
    if len(rest) > 0 or len(inputs) < len(header.inputs):
        raise InvalidRequestError("The inputs are not those that the JSON describes.")
    binary = header.parameters.get("binary_data_output") is True
    outputs = {each.name: each.parameters.get("binary_data", binary) is True
               for each in header.outputs}  # fmt: skip
    return InferenceRequest(header.id, inputs, outputs, binary)


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
        The body, and how many bytes of it are JSON; None where all are.
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


def _from_json(given: InputTensor) -> Array | list[bytes]:
    count = math.prod(given.shape)
    if given.data is None:
        raise InvalidRequestError("An input has neither data nor bytes.")
    if given.datatype == "BYTES":
        flat = _flattened(given.data)
        try:
            elements = [base64.b64decode(each, validate=True) for each in flat]
        except (TypeError, ValueError, binascii.Error) as err:
            raise InvalidRequestError("BYTES in JSON must be in base64.") from err
        if len(elements) != count:
            raise InvalidRequestError("An input's data is not of its shape.")
        return elements
    _require_uint8(given)
    try:
        values = np.asarray(given.data)
    except ValueError as err:  # lists of different lengths
        raise InvalidRequestError("An input's data is not of its shape.") from err
    if values.size != count:
        raise InvalidRequestError("An input's data is not of its shape.")
    if values.dtype.kind != "i" or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise InvalidRequestError("UINT8 must be whole numbers from 0 to 255.")
    return values.astype(np.uint8).reshape(given.shape)


def _flattened(data: list[Any]) -> list[Any]:
    return [inner for each in data for inner in (each if isinstance(each, list) else [each])]


def _from_bytes(given: InputTensor, data: memoryview) -> Array | list[bytes]:
    count = math.prod(given.shape)
    if given.datatype == "BYTES":
        elements = []
        while len(data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack(data[: _LENGTH.size])
            element = bytes(data[_LENGTH.size : _LENGTH.size + length])
            if len(element) < length:
                break
            elements.append(element)
            data = data[_LENGTH.size + length :]
        if len(data) > 0 or len(elements) != count:
            raise InvalidRequestError("An input's bytes are not elements of its shape.")
        return elements
    _require_uint8(given)
    if len(data) != count:
        raise InvalidRequestError("An input's bytes are not of its shape.")
    return np.frombuffer(data, np.uint8).reshape(given.shape)


def _require_uint8(given: InputTensor) -> None:
    if given.datatype != "UINT8":
        raise InvalidRequestError("Inputs must be of the datatype UINT8 or BYTES.")
