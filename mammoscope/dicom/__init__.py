"""DICOM objects to `Mammogram`.

What is read of an object are the tags named in `mammoscope.dicom.header` and the pixels; all
others, those that identify somebody among them, are skipped without being taken into memory.
"""

from mammoscope.dicom.mammography import read_dicom
from mammoscope.dicom.part10 import is_dicom
from mammoscope.dicom.pseudonyms import Pseudonyms

__all__ = ["Pseudonyms", "is_dicom", "read_dicom"]
