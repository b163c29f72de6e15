"""Read DICOM objects into `Mammogram`.

The reader reads only the pixels and the tags named in `mammoscope.imaging.dicom.header`. It skips
all other tags, including those that identify a person, and never holds them in memory. Importing
this package does not import `mammoscope.imaging.dicom.mammography`, which needs pydicom and the
codecs: a process that never sees a DICOM file starts without them.
"""

from mammoscope.imaging.dicom.pseudonyms import Pseudonyms
from mammoscope.imaging.dicom.signature import is_dicom

__all__ = ["Pseudonyms", "is_dicom"]
