"""The JSON of a request of the inference protocol, in memory that its body bounds.

Images in base64 are nearly all of it. They are decoded where they stand in the body; what is left
is small, which is checked before it is parsed.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Final

from mammoscope.errors import InvalidRequestError, RequestTooLargeError

_LONG_TEXT_BYTES: Final = 1024
"""Of a JSON string that is not parsed with the rest, as it can only be a file in base64."""

_MOST_ESCAPED: Final = 64
"""Backslashes in a row that are looked at before a quote."""

_BLOCK_BYTES: Final = 1024 * 1024
"""Of base64 that is decoded at a time: other threads go on in between."""

_ESCAPE_BYTES: Final = 6
"""Bytes of the longest escape, a backslash, u and four digits."""

_WIDE_ESCAPE: Final = re.compile(rb"\\u(?!00)")
"""An escape that no base64 needs, and that makes a Python string four times as large."""

_LIFTED: Final = ""
"""Key of the object that stands for a long text while the rest of the JSON is parsed."""

_OTHER_TOKENS: Final = 1000
"""Commas, brackets and quotes that a request may have beside those of its data."""

_OTHER_BYTES: Final = 64 * 1024
"""Bytes that a request may have beside those of its data."""

_BYTES_A_VALUE: Final = 8
"""Bytes that a number from 0 to 255 may take in JSON, with its comma and white space."""


def lift_texts(
    body: bytes | bytearray, length: int, max_values: int
) -> tuple[dict[int, memoryview], bytes]:
    """Take long texts out of the first `length` bytes of a body, which are JSON.

    Returns
    -------
    tuple
        The texts by number, with their quotes, as views; and the JSON with objects for them.

    Raises
    ------
    RequestTooLargeError
        If the JSON has more values than `max_values`, or more text around them, than is allowed:
        parsing it would take much more memory than its values need.
    """
    texts: dict[int, memoryview] = {}
    view, end = memoryview(body), 0
    parts: list[bytes | memoryview] = []
    for start, stop in _texts(body, length):
        if stop - start > _LONG_TEXT_BYTES:
            number = len(texts)
            texts[number] = view[start:stop]
            parts += [view[end:start], b'{"%b":%d}' % (_LIFTED.encode(), number)]
            end = stop
    parts.append(view[end:length])
    if sum(map(len, parts)) > _BYTES_A_VALUE * max_values + _OTHER_BYTES:
        raise _too_many(max_values)
    content = b"".join(parts)
    most = max_values + _OTHER_TOKENS
    if any(content.count(token) > most for token in (b",", b"[")) or any(
        content.count(token) > _OTHER_TOKENS for token in (b"{", b'"')
    ):
        raise _too_many(max_values)
    return texts, content


def _texts(body: bytes | bytearray, length: int) -> Iterator[tuple[int, int]]:
    """Where the first texts of the JSON begin and end, with their quotes."""
    start = -1
    stop = body.find(b'"', 0, length)
    for _ in range(2 * _OTHER_TOKENS):  # more are refused
        if stop < 0:
            return
        if start < 0:
            start = stop
        else:
            before = body[max(start + 1, stop - _MOST_ESCAPED) : stop]
            if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:  # not an escaped quote
                yield start, stop + 1
                start = -1
        stop = body.find(b'"', stop + 1, length)


def _too_many(max_values: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The JSON has more values than the {max_values} allowed, or more text around them. "
        "Images may be sent as BYTES in base64, tensors as binary data after the JSON."
    )


def decode_element(element: object, texts: dict[int, memoryview]) -> bytes:
    """Return the bytes of an element in base64.

    Parameters
    ----------
    element
        A text, or the object that `lift_texts` put in the place of one.
    texts
        What was lifted; the element's is taken out.

    Raises
    ------
    InvalidRequestError
        If it is neither, or not in base64.
    """
    try:
        if isinstance(element, str):
            return base64.b64decode(element, validate=True)
        return b"".join(_decoded(texts.pop(element[_LIFTED])[1:-1]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as err:  # binascii.Error is a ValueError
        raise InvalidRequestError("BYTES in JSON must be in base64.") from err


def _decoded(text: memoryview) -> Iterator[bytes]:
    """Decode base64 block by block; raises ValueError where it is none."""
    start, rest = 0, b""
    while start < len(text):
        block = bytes(text[start : start + _BLOCK_BYTES])
        if start + len(block) < len(text):
            cut = block.rfind(b"\\", len(block) - _ESCAPE_BYTES)
            block = block[:cut] if cut >= 0 else block  # a whole escape, or none
        start += len(block)
        if b"\\" in block:
            if _WIDE_ESCAPE.search(block):
                raise ValueError
            block = json.loads(b'"%b"' % block).encode("ascii")
        block = rest + block
        quads = len(block) // 4 * 4
        if start < len(text) and block[:quads].endswith(b"="):
            raise ValueError
        rest = block[quads:]
        yield base64.b64decode(block[:quads], validate=True)
    if rest:
        raise ValueError
