"""Phantoms as DICOM objects: Digital Mammography X-Ray Image Storage - For Presentation.

The objects hold what PS3.3 A.26 asks of them, in any transfer syntax that `mammoscope.dicom`
reads, so that tests, benchmarks and the demonstration have mammograms of every kind. Patients and
machines in them are made up.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.mammogram import Laterality, View
from mammoscope.phantom import Phantom, PhantomConfig, draw_phantom

Words = npt.NDArray[Any]
Grey = npt.NDArray[np.float32]
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

JPEG_QUALITY: Final = 95
NEAR_LOSSLESS: Final = 3
"""Greatest error, in stored values, of JPEG-LS near-lossless."""

JPEG_2000_DECIBELS: Final = 60
"""Peak signal-to-noise ratio of lossy JPEG 2000."""

_SCT: Final = "SCT"
_VIEW_CODES: Final = {
    View.CRANIO_CAUDAL: ("399162004", "cranio-caudal"),
    View.MEDIO_LATERAL_OBLIQUE: ("399368009", "medio-lateral oblique"),
}
_DATE: Final = "20200101"
_TIME: Final = "120000"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an object stores its picture.

    Parameters
    ----------
    syntax
        Name of the transfer syntax, a key of `SYNTAXES`.
    bits
        Bits stored, 2 to 16; at most 8 are allocated as bytes. `SYNTAXES` that allow only some
        say so.
    signed
        Whether values are two's complements; not with loss, which would turn signs around.
    inverted
        Whether the photometric interpretation is MONOCHROME1.
    window
        Function of the window, None for an object without one.
    """

    syntax: str = "explicit"
    bits: int = 12
    signed: bool = False
    inverted: bool = False
    window: WindowFunction | None = "LINEAR"

    def __post_init__(self) -> None:
        if self.syntax not in SYNTAXES:
            raise ConfigurationError(
                f"There is no such transfer syntax; there are {', '.join(SYNTAXES)}."
            )
        allowed = SYNTAXES[self.syntax].bits
        if self.bits not in allowed:
            raise ConfigurationError(
                f"{self.bits} bits cannot be stored so; {allowed[0]} to {allowed[-1]} can."
            )
        if self.signed and SYNTAXES[self.syntax].lossy:
            raise ConfigurationError("Signed values are stored without loss only.")


_SIGMOID_WIDTH: Final = 0.25
"""Width of a sigmoid window over the range of stored values: its ends show 0.0003 and 0.9997."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax that can be written.

    ``encode`` takes words uint8 or uint16 (H, W) and the bits stored; None for native pixels.
    """

    transfer_syntax: uid.UID
    bits: range = field(default=range(2, 17))
    encode: Callable[[Words, int], bytes] | None = None
    lossy: str = ""
    """Defined term of (0028,2114) Lossy Image Compression Method; empty for lossless."""


def _rle(words: Words, _bits: int) -> bytes:
    # Planes of bytes, the most significant first; rows are packed each for itself (PS3.5 G.3).
    planes = words.astype(words.dtype.newbyteorder(">")).view(np.uint8)
    planes = planes.reshape(*words.shape, words.dtype.itemsize)
    segments = []
    for plane in range(words.dtype.itemsize):
        packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(planes[:, :, plane])))
        segments.append(packed + bytes(len(packed) % 2))
    offsets = np.cumsum([64, *map(len, segments[:-1])])
    header = np.zeros(16, "<u4")
    header[: 1 + len(segments)] = [len(segments), *offsets]
    return header.tobytes() + b"".join(segments)


def _jpeg(words: Words, bits: int) -> bytes:
    depth = 8 if bits <= 8 else 12
    return bytes(imagecodecs.jpeg_encode(words, level=JPEG_QUALITY, bitspersample=depth))


def _lossless_jpeg(words: Words, bits: int, predictor: int) -> bytes:
    return bytes(
        imagecodecs.jpeg_encode(words, lossless=True, predictor=predictor, bitspersample=bits)
    )


def _jpeg_2000(words: Words, bits: int, level: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            words, level=level, codecformat="j2k", bitspersample=bits, reversible=level == 0
        )
    )


def _htj2k(words: Words, level: float | None) -> bytes:
    return bytes(imagecodecs.htj2k_encode(words, level=level, reversible=level is None))


_WHOLE_WORDS: Final = range(8, 17, 8)

SYNTAXES: Final[Mapping[str, Syntax]] = {
    "implicit": Syntax(uid.ImplicitVRLittleEndian),
    "explicit": Syntax(uid.ExplicitVRLittleEndian),
    "big-endian": Syntax(uid.ExplicitVRBigEndian),
    "deflated": Syntax(uid.DeflatedExplicitVRLittleEndian),
    "rle": Syntax(uid.RLELossless, encode=_rle),
    "jpeg": Syntax(uid.JPEGBaseline8Bit, range(8, 9), _jpeg, "ISO_10918_1"),
    "jpeg-extended": Syntax(uid.JPEGExtended12Bit, range(8, 13, 4), _jpeg, "ISO_10918_1"),
    "jpeg-lossless": Syntax(
        uid.JPEGLossless, encode=lambda words, bits: _lossless_jpeg(words, bits, 6)
    ),
    "jpeg-lossless-sv1": Syntax(
        uid.JPEGLosslessSV1, encode=lambda words, bits: _lossless_jpeg(words, bits, 1)
    ),
    "jpeg-ls": Syntax(
        uid.JPEGLSLossless, encode=lambda words, _: bytes(imagecodecs.jpegls_encode(words))
    ),
    "jpeg-ls-near": Syntax(
        uid.JPEGLSNearLossless,
        encode=lambda words, _: bytes(imagecodecs.jpegls_encode(words, level=NEAR_LOSSLESS)),
        lossy="ISO_14495_1",
    ),
    "jpeg-2000": Syntax(
        uid.JPEG2000Lossless, encode=lambda words, bits: _jpeg_2000(words, bits, 0)
    ),
    "jpeg-2000-lossy": Syntax(
        uid.JPEG2000,
        encode=lambda words, bits: _jpeg_2000(words, bits, JPEG_2000_DECIBELS),
        lossy="ISO_15444_1",
    ),
    "htj2k": Syntax(uid.HTJ2KLossless, _WHOLE_WORDS, lambda words, _: _htj2k(words, None)),
    "htj2k-lossy": Syntax(
        uid.HTJ2K, _WHOLE_WORDS, lambda words, _: _htj2k(words, 0.001), "ISO_15444_15"
    ),
}
"""Transfer syntaxes by name."""


def encode_phantom(phantom: Phantom, encoding: Encoding | None = None) -> bytes:
    """Write a phantom as a DICOM file; equal phantoms and encodings give equal bytes."""
    return encode_picture(phantom.pixels, phantom.config, encoding)


def encode_picture(pixels: Grey, config: PhantomConfig, encoding: Encoding | None = None) -> bytes:
    """Write grey values as the DICOM file of the woman, breast and view that `config` names.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], dense tissue bright; stored in full range.
    config
        Seed, laterality and view.
    encoding
        How; uncompressed and of 12 bits where None.
    """
    encoding = encoding or Encoding()
    elements = _described(config)
    elements.update(_acquired(config))
    elements.update(_stored(pixels, encoding))
    return _file(elements, encoding)


def write_phantom_exam(
    folder: Path, *, seed: int = 0, encoding: Encoding | None = None, tumour: bool = False
) -> list[Path]:
    """Write the four views of a woman, CC and MLO of both breasts, into a folder.

    Parameters
    ----------
    folder
        Made where it is not there.
    seed
        Names the woman.
    encoding
        How each picture is stored; uncompressed and of 12 bits where None.
    tumour
        Whether the left breast has a mass.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    paths = []
    for laterality in (Laterality.RIGHT, Laterality.LEFT):
        for view in (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE):
            mass = tumour and laterality is Laterality.LEFT
            phantom = draw_phantom(PhantomConfig(seed, laterality, view, mass=mass))
            path = folder / f"phantom_{seed:03d}_{laterality}_{view}.dcm"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_phantom(phantom, encoding))
            except OSError as err:
                raise StorageError("A phantom could not be written.") from err
            paths.append(path)
    return paths


def _unique(*parts: object) -> str:
    """UID derived from `parts` (PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def _code(value: str, meaning: str, scheme: str = _SCT) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _described(config: PhantomConfig) -> Dataset:
    """Patient, study, series and equipment."""
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
    """Anatomy, positioning and the image's own facts."""
    elements = Dataset()
    elements.InstanceNumber = 1
    elements.ImageType = ["ORIGINAL", "PRIMARY", ""]
    elements.AcquisitionNumber = None
    # A left breast has its chest wall on the left: rows run to the front.
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
    """Values in [0, 1] that a sigmoid window as broad as `_SIGMOID_WIDTH` displays as `shown`."""
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
