"""Parsing a request of the inference protocol takes memory in proportion to its body."""

import base64
import contextlib
import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import pytest

from mammoscope.errors import InvalidRequestError, RequestTooLargeError
from mammoscope.service.v2_tensors import parse_request

pytestmark = pytest.mark.abuse("body")

MAX_VALUES = 100_000
CONSTANT = 200 * MAX_VALUES
MB = 1024 * 1024


def request(name: str, data: bytes, shape: object = (1,), **more: bytes) -> bytes:
    kind = "BYTES" if name == "image" else "UINT8"
    parts = [
        f'"name": "{name}", "datatype": "{kind}", "shape": {json.dumps(shape)}'.encode(),
        b'"data": ' + data,
    ]
    rest = b"".join(b', "%b": %b' % (key.encode(), value) for key, value in more.items())
    return b'{"inputs": [{' + b", ".join(parts) + b"}]" + rest + b"}"


def attacks() -> Iterator[tuple[str, bytes]]:
    text = b'"' + b"A" * (4 * MB) + b'"'
    yield (
        "one long text beside many empty ones",
        request("image", b"[" + text + b', ""' * 30_000 + b"]", [30_001]),
    )
    yield "one long text beside numbers", request("pixels", b"[" + text + b", 1" * 30_000 + b"]")
    for number, inner in enumerate(
        (b"[]", b"[[]]", b"{}", b'""', b"0", b"1e5", b"99999", b'"\xc3"')
    ):
        yield f"many of one kind {number}", request("pixels", b"[0" + (b"," + inner) * MB + b"]")
    yield "lists of lists", request("image", b"[" + b"[" * 900 + b"]" * 900 + b",[]" * MB + b"]")
    yield "wide escape", request("image", b'["' + b"A" * (4 * MB) + b'\\ud83d\\ude00"]')
    yield "wide letter", request("image", b'["' + b"A" * (4 * MB) + '\U0001f600"]'.encode())
    yield "wide letter elsewhere", request("image", b"[" + text + b"]", id='"\U0001f600"'.encode())
    yield "backslashes", request("image", b'["' + b"\\\\" * (2 * MB) + b'"]')
    yield "quotes", request("image", b'["' + b'\\"' * (2 * MB) + b'"]')
    yield "escapes", request("image", b'["' + b"\\n" * (2 * MB) + b'"]')
    yield "many parameters", request("image", b"[]", parameters=b'{"a": [0' + b",[]" * MB + b"]}")
    yield "many outputs", request("image", b"[]", outputs=b"[{}" + b",{}" * MB + b"]")
    yield "huge shape", request("image", b"[]", [1] * MB)
    yield "white space", request("image", b"[" + b" " * (4 * MB) + b"]")
    yield "long number", request("pixels", b"[" + b"1" * (4 * MB) + b"]")
    yield (
        "the same text again and again",
        request("image", b"[" + text + b',{"":0}' * 16 + b"]", [17]),
    )
    yield (
        "a text that is not used",
        request("image", b"[]", [0], parameters=b'{"a": ' + text + b"}"),
    )


def peak_of(body: bytes) -> int:
    """Peak memory in bytes for parsing `body`, in addition to the body."""
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidRequestError, RequestTooLargeError):
            parse_request(body, None, max_values=MAX_VALUES)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in attacks()])
def test_memory_is_limited(body: bytes) -> None:
    assert peak_of(body) < 3 * len(body) + CONSTANT


@pytest.mark.parametrize(
    ("plain", "escaped"), [(b"/", b"\\/"), (b"+", b"\\u002B"), (b"+", b"\\u002b")]
)
def test_escaped_base64_is_read(plain: bytes, escaped: bytes) -> None:
    file = bytes(range(256)) * 4000
    text = base64.b64encode(file)
    assert plain in text
    data = b'["' + text.replace(plain, escaped) + b'", "QQ=="]'
    tracemalloc.start()
    asked = parse_request(request("image", data, [2]), None, max_values=MAX_VALUES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert asked.inputs["image"] == [file, b"A"]
    assert peak < 4 * len(data) + CONSTANT


@pytest.mark.parametrize("size", [0, 700, 800, 10**6, 3 * 2**20 // 4 * 4, 3 * 2**20 + 1])
@pytest.mark.parametrize("name", ["a", '"', "\\", 'a\\"', "é\U0001f600"])
def test_texts_of_all_sizes_are_read(size: int, name: str) -> None:
    file = (bytes(range(256)) * (size // 256 + 1))[:size]
    given = json.dumps([base64.b64encode(each).decode() for each in (file, b"", file)])
    body = request("image", given.encode(), [3], id=json.dumps(name).encode())
    asked = parse_request(body, None, max_values=MAX_VALUES)
    assert asked.inputs["image"] == [file, b"", file]
    assert asked.id == name


@pytest.mark.parametrize("place", [0, 500, 2**20 - 1, 2**20, 3 * 2**20 - 5])
def test_padding_within_a_text_is_refused(place: int) -> None:
    text = bytearray(b"A" * (3 * 2**20))
    text[place] = ord("=")
    with pytest.raises(InvalidRequestError, match="base64"):
        parse_request(request("image", b'["%b"]' % text), None, max_values=MAX_VALUES)


@pytest.mark.parametrize("nested", [False, True])
def test_the_maximum_number_of_pixels_is_read(nested: bool) -> None:
    rows = [[value % 256] * 250 for value in range(MAX_VALUES // 250)]
    given = rows if nested else list(chain.from_iterable(rows))
    body = request("pixels", json.dumps(given, indent=1).encode(), [1, len(rows), 250])
    asked = parse_request(body, None, max_values=MAX_VALUES)
    assert asked.inputs["pixels"].tolist() == [rows]  # type: ignore[union-attr]
    with pytest.raises(RequestTooLargeError, match="base64"):
        parse_request(body, None, max_values=MAX_VALUES // 2)


@pytest.mark.parametrize(
    "data", [[[1, 2], [3]], [[1], 2], [1, True], [1, 2.0], [1, None], [1, 256], [1, -1], [1, "2"]]
)
def test_values_of_other_types_are_refused(data: object) -> None:
    body = request("pixels", json.dumps(data).encode(), [2])
    with pytest.raises(InvalidRequestError):
        parse_request(body, None, max_values=MAX_VALUES)


def test_many_empty_elements_after_the_json_are_refused() -> None:
    count = 10**6
    described = b'"name": "image", "datatype": "BYTES", "shape": [%d]' % count
    size = b'"parameters": {"binary_data_size": %d}' % (4 * count)
    head = b'{"inputs": [{%b, %b}]}' % (described, size)
    body = head + bytes(4 * count)
    tracemalloc.start()
    with pytest.raises(RequestTooLargeError, match="the maximum is 100"):
        parse_request(body, str(len(head)), max_values=MAX_VALUES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body) + CONSTANT


@pytest.mark.parametrize("given", ["", "-1", "1" * 5000, "\u0661", "1 "])
def test_invalid_header_lengths_are_refused(given: str) -> None:
    with pytest.raises(InvalidRequestError, match="number of bytes"):
        parse_request(request("image", b"[]", [0]), given, max_values=MAX_VALUES)
