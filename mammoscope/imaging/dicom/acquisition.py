"""View, laterality and exposure from a DICOM object's elements."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from mammoscope.imaging.dicom.header import Header
from mammoscope.imaging.dicom.pseudonyms import Pseudonyms
from mammoscope.imaging.mammogram import Exposure, Laterality, View

# PS3.16 CID 4014 "View for Mammography": SNOMED CT, and SNOMED RT as in older machines.
_VIEW_CODES: Final = {
    "399162004": View.CRANIO_CAUDAL,
    "R-10242": View.CRANIO_CAUDAL,
    "399368009": View.MEDIO_LATERAL_OBLIQUE,
    "R-10226": View.MEDIO_LATERAL_OBLIQUE,
    "399260004": View.MEDIO_LATERAL,
    "R-10224": View.MEDIO_LATERAL,
    "399352003": View.LATERO_MEDIAL,
    "R-10228": View.LATERO_MEDIAL,
    "399099002": View.LATERO_MEDIAL_OBLIQUE,
    "R-10230": View.LATERO_MEDIAL_OBLIQUE,
    "399188001": View.SUPEROLATERAL_TO_INFEROMEDIAL_OBLIQUE,
    "R-40AAA": View.SUPEROLATERAL_TO_INFEROMEDIAL_OBLIQUE,
    "441555000": View.INFEROMEDIAL_TO_SUPEROLATERAL_OBLIQUE,
    "399196006": View.CAUDO_CRANIAL,
    "R-10244": View.CAUDO_CRANIAL,
    "399192008": View.CRANIO_CAUDAL_EXAGGERATED_LATERALLY,
    "R-1024A": View.CRANIO_CAUDAL_EXAGGERATED_LATERALLY,
    "399101009": View.CRANIO_CAUDAL_EXAGGERATED_MEDIALLY,
    "R-1024B": View.CRANIO_CAUDAL_EXAGGERATED_MEDIALLY,
}

# Names of mammography manufacturers by the words they write. Free text is never passed on.
_MANUFACTURERS: Final = {
    "HOLOGIC": "Hologic",
    "LORAD": "Lorad",
    "GE ": "GE",
    "GENERAL ELECTRIC": "GE",
    "SIEMENS": "Siemens",
    "FUJI": "Fujifilm",
    "PHILIPS": "Philips",
    "SECTRA": "Sectra",
    "PLANMED": "Planmed",
    "IMS": "IMS Giotto",
    "GIOTTO": "IMS Giotto",
    "METALTRONICA": "Metaltronica",
    "KONICA": "Konica Minolta",
    "CARESTREAM": "Carestream",
    "KODAK": "Kodak",
    "AGFA": "Agfa",
    "FISCHER": "Fischer",
    "XCOUNTER": "XCounter",
    "UNITED IMAGING": "United Imaging",
}

_AGE: Final = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_OLDEST: Final = 90.0


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Values of the acquisition elements, and their contradictions in words."""

    laterality: Laterality | None
    view: View | None
    exposure: Exposure
    warnings: tuple[str, ...]


def acquisition(header: Header, pseudonyms: Pseudonyms | None) -> Acquisition:
    """Read how the image was taken; patient and study are None without pseudonyms."""
    notes: list[str] = []
    laterality = _laterality(header, notes)
    view = _view(header, notes)
    if header.text("PartialView") == "YES":
        notes.append("The image shows only part of the breast (partial view).")
    exposure = Exposure(
        age=_age(header),
        implant={"YES": True, "NO": False}.get(header.text("BreastImplantPresent")),
        manufacturer=_manufacturer(header),
        chest_wall=_chest_wall(header, laterality),
        patient=_patient(header, pseudonyms),
        study=_pseudonym(header, "StudyInstanceUID", pseudonyms),
    )
    return Acquisition(laterality, view, exposure, tuple(notes))


def _laterality(header: Header, notes: list[str]) -> Laterality | None:
    said = {
        Laterality(text)
        for keyword in ("ImageLaterality", "FrameLaterality", "Laterality")
        if (text := header.text(keyword)) in list(Laterality)
    }
    if len(said) > 1:
        notes.append("The DICOM object names both left and right; its laterality is ignored.")
        return None
    if not said and header.text("ImageLaterality") == "B":
        notes.append("The DICOM object claims to show both breasts; one is expected.")
    return next(iter(said), None)


def _view(header: Header, notes: list[str]) -> View | None:
    coded = {_VIEW_CODES[code] for code in header.codes("ViewCodeSequence") if code in _VIEW_CODES}
    named = named_view(header)
    said = coded | ({named} if named is not None else set())
    if len(said) > 1:
        notes.append(
            f"The DICOM object names two views, {' and '.join(sorted(said))}; both are ignored."
        )
        return None
    return next(iter(said), None)


def named_view(header: Header) -> View | None:
    """Read the view from (0018,5101) View Position, or for film from Patient Orientation."""
    for keyword in ("ViewPosition", "PatientOrientation"):
        if (text := header.text(keyword)) in list(View):
            return View(text)
    return None


def _chest_wall(header: Header, laterality: Laterality | None) -> Literal["left", "right"] | None:
    """Side of the chest wall: from (0020,0020) Patient Orientation, else by hanging convention.

    The first value is the direction of the rows. If it is missing, a left breast has its chest wall
    on the left. If the machine flipped the image, the side is unknown.
    """
    rows_run = next(iter(header.texts("PatientOrientation")), "")
    if rows_run[:1] in ("A", "P"):
        return "left" if rows_run[0] == "A" else "right"
    if laterality is None or header.text("FieldOfViewHorizontalFlip") == "YES":
        return None
    return "left" if laterality is Laterality.LEFT else "right"


def _age(header: Header) -> float | None:
    match = _AGE.fullmatch(header.text("PatientAge"))
    return min(int(match[1]) * _YEARS[match[2]], _OLDEST) if match else None


def _manufacturer(header: Header) -> str | None:
    text = f"{header.text('Manufacturer')} "
    return next((name for word, name in _MANUFACTURERS.items() if text.startswith(word)), None)


def _patient(header: Header, pseudonyms: Pseudonyms | None) -> str | None:
    """Pseudonym of the patient; None without a Patient ID."""
    identifier = header.identifier("PatientID")
    if pseudonyms is None or not identifier:
        return None
    return pseudonyms.of("patient", header.identifier("IssuerOfPatientID"), identifier)


def _pseudonym(header: Header, keyword: str, pseudonyms: Pseudonyms | None) -> str | None:
    identifier = header.identifier(keyword)
    return pseudonyms.of(keyword, identifier) if pseudonyms and identifier else None
