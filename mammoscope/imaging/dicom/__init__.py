"""DICOM objects to `Mammogram`.

Only the pixels and the tags named in `mammoscope.imaging.dicom.header` are read. All other tags,
those that identify a person among them, are skipped and never held in memory. This package does
not import `mammoscope.imaging.dicom.mammography`, which reads objects: it brings pydicom and the
codecs, and a process that never sees a DICOM file should start without them.
"""

from mammoscope.imaging.dicom.pseudonyms import Pseudonyms
from mammoscope.imaging.dicom.signature import is_dicom

__all__ = ["Pseudonyms", "is_dicom"]
