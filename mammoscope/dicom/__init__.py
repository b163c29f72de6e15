"""DICOM objects to `Mammogram`.

What is read of an object are the tags named in `mammoscope.dicom.header` and the pixels; all
others, those that identify somebody among them, are skipped without being taken into memory.
`mammoscope.dicom.mammography` reads; it is not imported here, for the sake of those who start
and may never see a DICOM file: with it come pydicom and the codecs.
"""

from mammoscope.dicom.pseudonyms import Pseudonyms
from mammoscope.dicom.signature import is_dicom

__all__ = ["Pseudonyms", "is_dicom"]
