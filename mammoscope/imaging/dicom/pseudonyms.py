"""Pseudonyms that distinguish patients without identifying them."""

import hashlib
import hmac
import secrets
from typing import Final

_LENGTH: Final = 16
_SHORTEST_KEY: Final = 16


class Pseudonyms:
    """A keyed hash of identifiers: stable under one key, irreversible without it.

    Parameters
    ----------
    key
        At least 16 bytes, as secret as the identifiers. None draws a random key, so that pseudonyms
        are stable only for the lifetime of this object.

    Raises
    ------
    ValueError
        If the key is too short.
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < _SHORTEST_KEY:
            raise ValueError(f"The key has {len(key)} bytes; it needs at least {_SHORTEST_KEY}.")
        self._key: Final = key or self.new_key()

    @staticmethod
    def new_key() -> bytes:
        """Return a random key of 32 bytes."""
        return secrets.token_bytes(32)

    def of(self, kind: str, *identifiers: str) -> str:
        """Return the pseudonym of `identifiers`: 16 hexadecimal digits.

        ``kind`` separates equal identifiers of different things.
        """
        message = "\0".join((kind, *identifiers)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_LENGTH]
