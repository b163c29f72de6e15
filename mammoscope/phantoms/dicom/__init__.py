"""Phantoms as DICOM objects: Digital Mammography X-Ray Image Storage - For Presentation.

The objects have the elements that PS3.3 A.26 requires, in any transfer syntax that
`mammoscope.imaging.dicom` reads. Tests, benchmarks and the demo use them as mammograms of every
kind. Patients and machines are fictitious.
"""

from mammoscope.phantoms.dicom.encoding import SYNTAXES, Encoding
from mammoscope.phantoms.dicom.objects import encode_image, encode_phantom
from mammoscope.phantoms.dicom.studies import write_phantom_study

__all__ = ["SYNTAXES", "Encoding", "encode_image", "encode_phantom", "write_phantom_study"]
