"""Phantoms as DICOM objects: Digital Mammography X-Ray Image Storage - For Presentation.

The objects hold what PS3.3 A.26 asks for, in any transfer syntax that
`mammoscope.imaging.dicom` reads, so that tests, benchmarks and the demo have mammograms of every
kind. Their patients and machines are made up.
"""

from mammoscope.phantoms.dicom.encoding import SYNTAXES, Encoding
from mammoscope.phantoms.dicom.objects import encode_image, encode_phantom
from mammoscope.phantoms.dicom.studies import write_phantom_study

__all__ = ["SYNTAXES", "Encoding", "encode_image", "encode_phantom", "write_phantom_study"]
