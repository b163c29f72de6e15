"""Parse the JSON of an inference protocol request in memory proportional to its body.

Base64 images are nearly all of the body. They are decoded in place; the rest is small, which is
checked before it is parsed.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Final

from mammoscope.errors import InvalidRequestError, RequestTooLargeError

_LONG_TEXT_BYTES: Final = 1024
"""Minimum length of a JSON string that is lifted out, because it can only be a base64 file."""

_MOST_ESCAPED: Final = 64
"""Maximum number of consecutive backslashes inspected before a quote."""

_BLOCK_BYTES: Final = 1024 * 1024
"""Amount of base64 decoded at a time, so that other threads can run in between."""

_ESCAPE_BYTES: Final = 6
"""Length of the longest escape: a backslash, u and four digits."""

_WIDE_ESCAPE: Final = re.compile(rb"\\u(?!00)")
"""An escape that base64 never needs, and that makes a Python string four times as large."""

_LIFTED: Final = ""
"""Key of the object that replaces a long text while the rest of the JSON is parsed."""

_OTHER_TOKENS: Final = 1000
"""Maximum number of commas, brackets and quotes besides those of the data."""

_OTHER_BYTES: Final = 64 * 1024
"""Maximum number of bytes of JSON besides those of the data."""

_BYTES_A_VALUE: Final = 8
"""Maximum number of bytes of a number from 0 to 255 in JSON, with comma and white space."""


def lift_texts(
    body: bytes | bytearray, length: int, max_values: int
) -> tuple[dict[int, memoryview], bytes]:
    """Take long texts out of the JSON in the first `length` bytes of a body.

    Returns
    -------
    tuple
        The texts by number, with their quotes, as views; and the JSON with placeholders for them.

    Raises
    ------
    RequestTooLargeError
        If the JSON has more values than `max_values`, or too much other text: parsing it would
        take much more memory than the values need.
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
    """Yield start and end of the first texts in the JSON, including their quotes."""
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
        f"The JSON has more than {max_values} values, or too much other text. "
        "Send images as BYTES in base64, and tensors as binary data after the JSON."
    )


def decode_element(element: object, texts: dict[int, memoryview]) -> bytes:
    """Return the bytes of a base64 element.

    Parameters
    ----------
    element
        A text, or the placeholder that `lift_texts` put in its place.
    texts
        The lifted texts; the element's text is removed from them.

    Raises
    ------
    InvalidRequestError
        If it is neither, or not valid base64.
    """
    try:
        if isinstance(element, str):
            return base64.b64decode(element, validate=True)
        return b"".join(_decoded(texts.pop(element[_LIFTED])[1:-1]))  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as err:  # binascii.Error is a ValueError
        raise InvalidRequestError("BYTES in JSON must be in base64.") from err


def _decoded(text: memoryview) -> Iterator[bytes]:
    """Decode base64 block by block; raises ValueError if it is invalid."""
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
