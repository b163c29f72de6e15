"""Recognise DICOM files: DICOM PS3.10 7.1."""

from typing import Final

PREAMBLE: Final = 128
"""Bytes before the prefix, for use by other formats."""

PREFIX: Final = b"DICM"


def is_dicom(data: bytes) -> bool:
    """Whether the bytes have the prefix of a DICOM file."""
    return data[PREAMBLE : PREAMBLE + len(PREFIX)] == PREFIX
