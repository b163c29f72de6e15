"""DICOM objects to `Mammogram`.

What is read of an object are the tags named in `mammoscope.imaging.dicom.header` and the pixels; all
others, those that identify somebody among them, are skipped without being taken into memory.
`mammoscope.imaging.dicom.mammography` reads; it is not imported here, for the sake of those who start
and may never see a DICOM file: with it come pydicom and the codecs.
"""

from mammoscope.imaging.dicom.pseudonyms import Pseudonyms
from mammoscope.imaging.dicom.signature import is_dicom

__all__ = ["Pseudonyms", "is_dicom"]
