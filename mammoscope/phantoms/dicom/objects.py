"""Write a phantom's image as a DICOM object: PS3.3 A.26."""

import hashlib
import io
from typing import Final

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mammoscope.imaging.arrays import Grey
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.dicom.encoding import SYNTAXES, Encoding
from mammoscope.phantoms.drawing import Phantom, PhantomConfig

_SIGMOID_WIDTH: Final = 0.25
"""Width of a sigmoid window over the range of stored values: its ends show 0.0003 and 0.9997."""

_SCT: Final = "SCT"
_VIEW_CODES: Final = {
    View.CRANIO_CAUDAL: ("399162004", "cranio-caudal"),
    View.MEDIO_LATERAL_OBLIQUE: ("399368009", "medio-lateral oblique"),
}
_DATE: Final = "20200101"
_TIME: Final = "120000"


def encode_phantom(phantom: Phantom, encoding: Encoding | None = None) -> bytes:
    """Write a phantom as a DICOM file; equal phantoms and encodings give equal bytes."""
    return encode_image(phantom.pixels, phantom.config, encoding)


def encode_image(pixels: Grey, config: PhantomConfig, encoding: Encoding | None = None) -> bytes:
    """Write grey values as a DICOM file, with the woman, breast and view from `config`.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], dense tissue bright; stored in full range.
    config
        Seed, laterality and view.
    encoding
        Encoding; None writes 12 bits uncompressed.
    """
    encoding = encoding or Encoding()
    elements = _described(config)
    elements.update(_acquired(config))
    elements.update(_stored(pixels, encoding))
    return _file(elements, encoding)


def _unique(*parts: object) -> str:
    """Derive a UID from `parts` (PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def _code(value: str, meaning: str, scheme: str = _SCT) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _described(config: PhantomConfig) -> Dataset:
    """Elements of patient, study, series and equipment."""
    elements = Dataset()
    elements.SpecificCharacterSet = "ISO_IR 100"
    elements.PatientName = f"Phantom^{config.seed}"
    elements.PatientID = f"PHANTOM-{config.seed}"
    elements.PatientBirthDate = ""
    elements.PatientSex = "F"
    elements.PatientAge = "060Y"
    elements.StudyInstanceUID = _unique("study", config.seed)
    elements.StudyDate = elements.SeriesDate = elements.ContentDate = _DATE
    elements.AcquisitionDate = _DATE
    elements.StudyTime = elements.SeriesTime = elements.ContentTime = _TIME
    elements.AcquisitionTime = _TIME
    elements.ReferringPhysicianName = ""
    elements.StudyID = "1"
    elements.AccessionNumber = ""
    elements.SeriesInstanceUID = _unique("series", config.seed, config.laterality, config.view)
    elements.SeriesNumber = 1
    elements.Modality = "MG"
    elements.PresentationIntentType = "FOR PRESENTATION"
    elements.Manufacturer = "Mammoscope"
    elements.ManufacturerModelName = "Phantom"
    elements.DeviceSerialNumber = "0"
    elements.SoftwareVersions = "1"
    return elements


def _acquired(config: PhantomConfig) -> Dataset:
    """Elements of anatomy, positioning and acquisition."""
    elements = Dataset()
    elements.InstanceNumber = 1
    elements.ImageType = ["ORIGINAL", "PRIMARY", ""]
    elements.AcquisitionNumber = None
    # A left breast has its chest wall on the left, so rows run to the front.
    front = {Laterality.LEFT: "A", Laterality.RIGHT: "P"}[config.laterality]
    side = {Laterality.LEFT: "L", Laterality.RIGHT: "R"}[config.laterality]
    down = side if config.view is View.CRANIO_CAUDAL else f"F{side}"
    elements.PatientOrientation = [front, down]
    elements.ImageLaterality = str(config.laterality)
    elements.ViewPosition = str(config.view)
    elements.OrganExposed = "BREAST"
    elements.AnatomicRegionSequence = [_code("76752008", "Breast")]
    view = _code(*_VIEW_CODES[config.view])
    view.ViewModifierCodeSequence = []
    elements.ViewCodeSequence = [view]
    elements.AcquisitionContextSequence = []
    elements.PositionerType = "MAMMOGRAPHIC"
    elements.BreastImplantPresent = "NO"
    elements.PartialView = "NO"
    elements.BurnedInAnnotation = "YES" if config.label_text else "NO"
    elements.DetectorType = "DIRECT"
    elements.ImagerPixelSpacing = [0.2, 0.2]
    elements.BodyPartExamined = "BREAST"
    elements.KVP = None
    elements.PresentationLUTShape = "IDENTITY"
    elements.PixelIntensityRelationship = "LOG"
    elements.PixelIntensityRelationshipSign = 1
    elements.RescaleIntercept, elements.RescaleSlope, elements.RescaleType = 0, 1, "US"
    return elements


def _sigmoid_inverse(shown: Grey) -> Grey:
    """Inverse of a sigmoid window with width `_SIGMOID_WIDTH`, in [0, 1]."""
    steepness = 4.0 / _SIGMOID_WIDTH
    darkest = 1.0 / (1.0 + np.exp(steepness / 2.0))
    grey = np.clip(shown, darkest, 1.0 - darkest)
    return np.asarray(0.5 + np.log(grey / (1.0 - grey)) / steepness, np.float32)


def _stored(pixels: Grey, encoding: Encoding) -> Dataset:
    """Image Pixel and VOI LUT modules, with the pixels."""
    syntax = SYNTAXES[encoding.syntax]
    allocated = 8 if encoding.bits <= 8 else 16
    highest = (1 << encoding.bits) - 1
    lowest = -(1 << (encoding.bits - 1)) if encoding.signed else 0
    shown = 1.0 - pixels if encoding.inverted else pixels
    if encoding.window == "SIGMOID":
        shown = _sigmoid_inverse(shown)
    values = np.rint(shown * highest).astype(np.int32) + lowest
    words = (values & highest).astype(np.uint8 if allocated == 8 else np.uint16)

    elements = Dataset()
    elements.SamplesPerPixel = 1
    elements.PhotometricInterpretation = "MONOCHROME1" if encoding.inverted else "MONOCHROME2"
    elements.Rows, elements.Columns = pixels.shape
    elements.BitsAllocated, elements.BitsStored = allocated, encoding.bits
    elements.HighBit = encoding.bits - 1
    elements.PixelRepresentation = int(encoding.signed)
    if encoding.inverted:
        elements.PresentationLUTShape = "INVERSE"
        elements.PixelIntensityRelationshipSign = -1
    if encoding.window:
        exact = encoding.window != "LINEAR"
        elements.WindowCenter = lowest + (highest + (not exact)) / 2
        elements.WindowWidth = highest + (not exact)
        if encoding.window == "SIGMOID":
            elements.WindowWidth = round(highest * _SIGMOID_WIDTH)
        elements.VOILUTFunction = encoding.window
    elements.LossyImageCompression = "01" if syntax.lossy else "00"
    if syntax.encode is None:
        big = syntax.transfer_syntax == uid.ExplicitVRBigEndian
        native = words.astype(words.dtype.newbyteorder(">" if big else "<")).tobytes()
        pixel_data, native_vr = native + bytes(len(native) % 2), "OW" if allocated == 16 else "OB"
    else:
        if encoding.signed and syntax.tells_sign:
            words = values.astype(np.int8 if allocated == 8 else np.int16)
        compressed = syntax.encode(words, encoding.bits)
        if syntax.lossy:
            elements.LossyImageCompressionRatio = round(words.nbytes / len(compressed), 2)
            elements.LossyImageCompressionMethod = syntax.lossy
            elements.ImageType = ["DERIVED", "PRIMARY", ""]
            elements.DerivationDescription = "Lossy compression"
        pixel_data, native_vr = encapsulate([compressed]), "OB"
    elements.add_new("PixelData", native_vr, pixel_data)
    elements["PixelData"].is_undefined_length = syntax.encode is not None
    return elements


def _file(elements: Dataset, encoding: Encoding) -> bytes:
    syntax = SYNTAXES[encoding.syntax].transfer_syntax
    elements.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    pixels = hashlib.sha256(elements["PixelData"].value).hexdigest()
    elements.SOPInstanceUID = _unique("image", elements.SeriesInstanceUID, encoding, pixels)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = elements.SOPClassUID
    meta.MediaStorageSOPInstanceUID = elements.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    elements.file_meta = meta
    stream = io.BytesIO()
    elements.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
