"""API keys: issued once, stored as hashes, compared in constant time.

A key is 256 random bits and cannot be guessed, so one round of SHA-256 suffices; slow hashes are
for secrets that people choose. The file has one line per key::

    NAME sha256:HEX [EXPIRES]

with the last day, in UTC, on which the key is valid. Empty lines and lines that start with # are
ignored.
"""

import datetime as dt
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mammoscope.errors import ConfigurationError, StorageError

_KEY_BYTES: Final = 32
_PREFIX: Final = "mammoscope_"
"""Prefix that shows people and secret scanners what a key is for."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key: its name, its hash, and the last day on which it is valid."""

    name: str
    digest: bytes
    expires: dt.date | None = None


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """All keys of a file."""

    keys: tuple[ApiKey, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a key file.

        Raises
        ------
        ConfigurationError
            If it cannot be read, has an invalid line, or has two keys with the same name.
        """
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigurationError("The file of API keys cannot be read.") from err
        keys = tuple(_parsed(lines))
        if len({key.name for key in keys}) < len(keys):
            raise ConfigurationError("The file of API keys has two keys with the same name.")
        return cls(keys)

    def holder(self, secret: str) -> str | None:
        """Return the name of the key with this secret; None if no key valid today has it.

        Takes the same time for every guess: all keys are compared, each in constant time.
        """
        digest = _digest(secret)
        today = dt.datetime.now(dt.UTC).date()
        found = None
        for key in self.keys:
            valid = key.expires is None or today <= key.expires
            if hmac.compare_digest(key.digest, digest) and valid:
                found = key.name
        return found


def issue_key(file: Path, name: str, *, expires: dt.date | None = None) -> str:
    """Generate a key, append its hash to a file, and return the key, which is not stored.

    Raises
    ------
    ConfigurationError
        If the name is invalid or taken, or the file is not a key file.
    StorageError
        If the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "A key's name must have 1 to 64 letters, digits, dots, hyphens or underscores."
        )
    if file.exists() and name in {key.name for key in ApiKeys.read(file).keys}:
        raise ConfigurationError(f"A key with the name {name} exists already; choose another name.")
    secret = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    fields = [name, f"sha256:{_digest(secret).hex()}", *([str(expires)] if expires else [])]
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(" ".join(fields) + "\n")
    except OSError as err:
        raise StorageError("The file of API keys cannot be written.") from err
    return secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _parsed(lines: Iterable[str]) -> Iterable[ApiKey]:
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        digest = _DIGEST.fullmatch(fields[1]) if len(fields) in (2, 3) else None
        if digest is None or not _NAME.fullmatch(fields[0]):
            raise ConfigurationError(f"Line {number} of the file of API keys is not a valid key.")
        try:
            expires = dt.date.fromisoformat(fields[2]) if len(fields) == 3 else None
        except ValueError as err:
            raise ConfigurationError(
                f"Line {number} of the file of API keys must end in a date like 2030-12-31."
            ) from err
        yield ApiKey(fields[0], bytes.fromhex(digest[1]), expires)
