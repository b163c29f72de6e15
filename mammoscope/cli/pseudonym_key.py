"""The file of ``--id-key``: a secret key for pseudonyms."""

import os
from pathlib import Path

from mammoscope.errors import UsageError
from mammoscope.imaging.dicom import Pseudonyms


def read(key_file: Path) -> bytes:
    """Return the key in a file.

    Raises
    ------
    UsageError
        If the file cannot be read, or has fewer than 16 bytes.
    """
    try:
        key = key_file.read_bytes()
        Pseudonyms(key)  # raises ValueError for a short key
    except (OSError, ValueError) as err:
        raise UsageError(
            "--id-key cannot be used; give a readable file of at least 16 bytes."
        ) from err
    return key


def read_or_make(key_file: Path) -> bytes:
    """Return the key in a file; a missing file gets a new key, which only its user can read.

    Raises
    ------
    UsageError
        If the file can be neither read nor created, or has fewer than 16 bytes.
    """
    try:
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read(key_file)
    except OSError as err:
        raise UsageError(
            "The key for pseudonyms cannot be created: its folder does not exist or cannot be "
            "written to. Create the folder, or name another file with --id-key."
        ) from err
    with open(descriptor, "wb") as stream:  # noqa: PTH123 a descriptor, no path
        stream.write(key := Pseudonyms.new_key())
    return key
