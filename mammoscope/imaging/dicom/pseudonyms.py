"""Identifiers that tell patients apart and name nobody."""

import hashlib
import hmac
import secrets
from typing import Final

_LENGTH: Final = 16
_SHORTEST_KEY: Final = 16


class Pseudonyms:
    """A keyed hash of identifiers: stable under one key, not to be undone without it.

    Parameters
    ----------
    key
        At least 16 bytes, kept as secret as the identifiers; where None, one is drawn that nobody
        learns, so that pseudonyms hold as long as this object.

    Raises
    ------
    ValueError
        If the key is shorter.
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < _SHORTEST_KEY:
            raise ValueError(f"The key has {len(key)} bytes; at least {_SHORTEST_KEY} are needed.")
        self._key: Final = key or self.new_key()

    @staticmethod
    def new_key() -> bytes:
        """Draw a key at random: 32 bytes."""
        return secrets.token_bytes(32)

    def of(self, kind: str, *identifiers: str) -> str:
        """Pseudonym of `identifiers`: 16 hexadecimal digits.

        ``kind`` keeps equal identifiers of different things apart.
        """
        message = "\0".join((kind, *identifiers)).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_LENGTH]
