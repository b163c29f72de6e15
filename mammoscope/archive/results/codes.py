"""Codes in results: those of DICOM, SNOMED CT and UCUM, and private ones where they have none."""

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

SCHEME: Final = "99MAMMOSCOPE"
"""Designator of the private coding scheme; docs/guides/archive-results.md lists its codes."""

MAMMOGRAPHY: Final = Code("71651007", "SCT", "Mammography")
IMAGING: Final = Code("363679005", "SCT", "Imaging procedure")
"""Context group 100 of PS3.16, which TID 1500 asks for, has no code of mammography."""

BREAST: Final = Code("76752008", "SCT", "Breast")
LEFT: Final = Code("7771000", "SCT", "Left")
RIGHT: Final = Code("24028007", "SCT", "Right")
NEOPLASM: Final = Code("108369006", "SCT", "Neoplasm")
ABNORMALITY: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
POSITIVE: Final = Code("10828004", "SCT", "Positive")
NEGATIVE: Final = Code("260385009", "SCT", "Negative")
PROBABILITY: Final = Code("111047", "DCM", "Probability of cancer")
LIBRARY: Final = Code("111028", "DCM", "Image Library")
LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
SOURCE: Final = Code("260753009", "SCT", "Source")
EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT: Final = Code("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
SOURCE_IMAGE: Final = Code("121322", "DCM", "Source Image for Image Processing Operation")
PERCENT: Final = Code("%", "UCUM", "Percent")

TITLE: Final = Code("126000", "DCM", "Imaging Measurement Report, RESEARCH USE ONLY")
"""The meaning is free text for people, so it says what the report must not be used for."""

NOTICE: Final = Code("notice", SCHEME, "Research use only")
REFUSAL: Final = Code("refusal", SCHEME, "Image without result")
LABEL: Final = Code("label", SCHEME, "Result at the operating point")
THRESHOLD: Final = Code("threshold", SCHEME, "Threshold of the operating point")
SENSITIVITY: Final = Code("sensitivity", SCHEME, "Measured sensitivity at the operating point")
SPECIFICITY: Final = Code("specificity", SCHEME, "Measured specificity at the operating point")

PRIVATE: Final = (NOTICE, REFUSAL, LABEL, THRESHOLD, SENSITIVITY, SPECIFICITY)
"""All codes of the private scheme."""


def scheme() -> CodingSchemeIdentificationItem:
    """Return the description of the private scheme for an object's header."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME,
        name="Mammoscope codes for results of mammogram classification",
        responsible_organization="The Mammoscope authors",
    )


def item(code: Code) -> CodedConcept:
    """Return a code as an item of a sequence."""
    return CodedConcept.from_code(code)
