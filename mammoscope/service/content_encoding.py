"""Tell compressed bodies from plain ones, in requests and in answers of other servers."""

from typing import Final

_PLAIN: Final = frozenset({"", "identity", "aws-chunked"})
"""Encodings of uncompressed bodies: object stores name their framing, too."""

_LONGEST: Final = 40


def compression(content_encoding: str) -> str:
    """Return the first compression that a Content-Encoding names, for a message; empty if none."""
    for encoding in content_encoding.split(","):
        if encoding.strip(" \t").lower() not in _PLAIN:
            return "".join(filter(str.isprintable, encoding.strip()))[:_LONGEST]
    return ""
