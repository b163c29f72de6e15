"""The key of the state: encrypts identifiers of pending work, and hashes those of finished work."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mammoscope.errors import ConfigurationError, StateError

_SHORTEST_KEY: Final = 32
_HASH_DIGITS: Final = 24
"""96 bits: no two of a billion studies share a hash by chance."""

_NONCE_BYTES: Final = 12


class Vault:
    """Encryption and keyed hashes under one secret key.

    Parameters
    ----------
    key
        At least 32 bytes.

    Raises
    ------
    ConfigurationError
        If the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"The state's key has {len(key)} bytes; it needs at least {_SHORTEST_KEY}."
            )
        master = hashlib.sha256(key).digest()
        self._hashing: Final = HKDFExpand(SHA256(), 32, b"mammoscope state: hash").derive(master)
        sealing = HKDFExpand(SHA256(), 32, b"mammoscope state: encrypt").derive(master)
        self._cipher: Final = AESGCM(sealing)

    def hash(self, kind: str, identifier: str) -> str:
        """Return 24 hexadecimal digits; ``kind`` separates identifiers of different things."""
        message = f"{kind}\0{identifier}".encode()
        return hmac.new(self._hashing, message, hashlib.sha256).hexdigest()[:_HASH_DIGITS]

    def seal(self, data: bytes) -> bytes:
        """Encrypt and authenticate `data`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, None)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned.

        Raises
        ------
        StateError
            If it was encrypted with another key, or is damaged.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError) as err:
            raise StateError(
                "The state has an entry that its key does not open: it is damaged."
            ) from err


def read_key(path: Path, *, create: bool = False) -> bytes:
    """Read a key file.

    Parameters
    ----------
    path
        The file.
    create
        Whether to make a missing file, with a random key, readable by its owner alone.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or made.
    """
    try:
        if create:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            try:
                with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
                    stream.write(secrets.token_hex(32).encode())
                    stream.flush()
                    os.fsync(stream.fileno())
            except FileExistsError:
                pass
        return path.read_bytes().strip()
    except OSError as err:
        raise ConfigurationError(
            "The state's key file cannot be read; make one with: openssl rand -hex 32 >FILE"
        ) from err
