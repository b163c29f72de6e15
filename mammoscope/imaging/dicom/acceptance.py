"""Rules that decide which DICOM objects are accepted as mammograms."""

from typing import Final

from pydicom.uid import (
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MediaStorageDirectoryStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from mammoscope.errors import NotAMammogramError, UnsupportedImageError
from mammoscope.imaging.dicom.acquisition import named_view
from mammoscope.imaging.dicom.header import Header

MAGNIFIED: Final = 1.3
"""Value of (0018,1114) Estimated Radiographic Magnification Factor from which an image counts as a
magnification view. Contact views have about 1.0 to 1.1, magnification views 1.5 to 2."""

_FOR_PROCESSING: Final = {
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
    BreastProjectionXRayImageStorageForProcessing,
}
_TOMOSYNTHESIS: Final = {
    BreastTomosynthesisImageStorage,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
}
_SECONDARY: Final = {
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
_MAMMOGRAPHY: Final = {
    DigitalMammographyXRayImageStorageForPresentation,
    # Older machines: computed radiography, and general detectors.
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
}

# Defined terms of (0008,0060) Modality that may appear in a message: other text may be a name.
_MODALITIES: Final = {
    *("AR", "BI", "BMD", "CR", "CT", "DOC", "DX", "ECG", "EPS", "ES", "FID", "GM", "HC", "IO"),
    *("IVUS", "KO", "LS", "MR", "NM", "OCT", "OP", "OPT", "OT", "PR", "PT", "PX", "REG", "RF"),
    *("RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SC", "SEG", "SM", "SMR"),
    *("SR", "TG", "US", "XA", "XC"),
}

# Values of (0008,0008) Image Type, as used by machines and the standard.
_TOMOSYNTHESIS_TYPES: Final = ("TOMO", "GENERATED_2D", "VOLUME")
_CAD_TYPES: Final = ("CAD",)
_DISPLAY_TYPES: Final = ("SCREEN", "DISPLAY", "PRESENTATION STATE", "SNAPSHOT")

_SCANNED: Final = {"DF", "SI"}
"""Conversion types of digitised film and of scanned images: PS3.3 C.8.6.1."""

# PS3.16 CID 4014 "View for Mammography" and CID 4015 "View Modifier for Mammography": codes of
# SNOMED CT, and of SNOMED RT as older machines write them.
_SPECIMEN: Final = {"127457009", "G-8310"}
_SPOT: Final = {"399055006", "R-102D7"}
_MAGNIFICATION: Final = {"399163009", "R-102D6"}


def require_mammogram(header: Header, sop_class: str) -> None:
    """Accept only images of one whole breast that are intended for presentation.

    Parameters
    ----------
    header
        The object's elements.
    sop_class
        (0008,0016) SOP Class UID, or that of the file meta information if missing.

    Raises
    ------
    NotAMammogramError
        If the image shows something else, or a breast in a form unknown to the model.
    UnsupportedImageError
        If the image is raw detector data, has several frames, or has colours.
    """
    _require_kind(header, sop_class)
    _require_single_grey_frame(header)
    _require_whole_breast(header)


def _require_kind(header: Header, sop_class: str) -> None:
    if sop_class == MediaStorageDirectoryStorage:
        raise NotAMammogramError(
            "The DICOM object is a directory of other files (DICOMDIR), not an image."
        )
    if sop_class in _TOMOSYNTHESIS or _type_has(header, _TOMOSYNTHESIS_TYPES):
        raise NotAMammogramError(
            "The image comes from tomosynthesis; only 2D mammograms are supported."
        )
    modality = header.text("Modality")
    if modality != "MG" and (modality or sop_class not in _MAMMOGRAPHY | _FOR_PROCESSING):
        named = f"is {modality}" if modality in _MODALITIES else "is missing or unknown"
        raise NotAMammogramError(
            f"The DICOM object's modality {named}; only MG (mammography) is supported."
        )
    if header.text("PresentationIntentType") == "FOR PROCESSING" or sop_class in _FOR_PROCESSING:
        raise UnsupportedImageError(
            "The image is FOR PROCESSING: the detector's raw values. Send the image FOR "
            "PRESENTATION."
        )
    if _type_has(header, _CAD_TYPES):
        raise NotAMammogramError(
            "The image has computer-aided detection marks drawn into it; send the machine's "
            "original image."
        )
    if sop_class in _SECONDARY and not is_film(header):
        raise NotAMammogramError(
            "The image is a secondary capture and cannot be recognised as digitised film. Film has "
            "Conversion Type DF or SI, or WSD in an object that names a view or BREAST, has no "
            "Presentation Intent Type and no Image Type of a display. Send the machine's original "
            "image."
        )


def is_film(header: Header) -> bool:
    """Whether a secondary capture shows digitised film.

    (0008,0064) Conversion Type either says so or does not decide: WSD can be digitised film
    exported by a workstation, or a copy of a display. Copies of a display have (0008,0068)
    Presentation Intent Type, which detectors write, or a matching (0008,0008) Image Type.
    """
    conversion = header.text("ConversionType")
    if conversion in _SCANNED:
        return True
    if conversion not in ("WSD", "") or header.text("PresentationIntentType"):
        return False
    if _type_has(header, _DISPLAY_TYPES):
        return False
    if named_view(header) is not None or header.codes("ViewCodeSequence"):
        return True
    of_breast = "BREAST" in (header.text("BodyPartExamined"), header.text("OrganExposed"))
    return of_breast and header.text("BurnedInAnnotation") != "YES"


def _require_single_grey_frame(header: Header) -> None:
    frames = header.number("NumberOfFrames")
    if frames is not None and frames > 1:
        raise UnsupportedImageError("The image has several frames; only one is allowed.")
    samples = header.whole("SamplesPerPixel")
    photometric = header.text("PhotometricInterpretation")
    if (samples or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedImageError(
            "The image is not greyscale; only MONOCHROME1 and MONOCHROME2 are supported."
        )


def _require_whole_breast(header: Header) -> None:
    views = header.items("ViewCodeSequence")
    codes = {item.text("CodeValue") for item in views}
    places = (header, *views)  # some machines write the modifiers next to the view
    modifiers = {code for place in places for code in place.codes("ViewModifierCodeSequence")}
    if codes & _SPECIMEN or _type_has(header, ("SPECIMEN",)):
        raise NotAMammogramError("The image shows a specimen, not a breast.")
    factor = header.number("EstimatedRadiographicMagnificationFactor")
    if modifiers & _MAGNIFICATION or (factor is not None and factor >= MAGNIFIED):
        raise NotAMammogramError("The image is a magnification view; send one of the whole breast.")
    if modifiers & _SPOT:
        raise NotAMammogramError("The image is a spot compression; send one of the whole breast.")


def _type_has(header: Header, words: tuple[str, ...]) -> bool:
    return any(word in value for value in header.texts("ImageType") for word in words)
