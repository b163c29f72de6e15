"""Decide which patient an image belongs to if DICOM objects contradict each other.

De-identified archives write a placeholder such as ``removed`` into every (0010,0020) Patient ID,
leave it empty, or write another ID into each image. A study always belongs to one patient, so
(0020,000D) Study Instance UID decides.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from mammoscope.studies.results import PredictedImage, StudyImage

_APART: Final = (
    "Several studies have the same patient ID, as with a placeholder; each study counts as one "
    "patient. To name the patients, use a manifest."
)
_NAMELESS: Final = (
    "Several studies have no patient ID; each study counts as one patient. To name the patients, "
    "use a manifest."
)
_TOGETHER: Final = (
    "The images of this study name several patients; the study counts as one patient."
)

PATIENT_WARNINGS: Final = (_APART, _NAMELESS, _TOGETHER)
"""Warnings of images whose patient the study decides."""


def settle_patients(images: Sequence[StudyImage]) -> tuple[StudyImage, ...]:
    """Tell patients apart by their studies if patient IDs do not.

    Parameters
    ----------
    images
        Images of one request. Images whose patient the caller gave, or without a study, do not
        change.

    Returns
    -------
    tuple
        The same images. If a study names no patient, several, or one that other studies also name,
        the study's pseudonym replaces the patient. Predicted images then have a warning, unless the
        request has only one study.
    """
    studies: defaultdict[str, set[str]] = defaultdict(set)
    patients: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        if image.study is not None:
            named_in_it = patients[image.study]
            if image.patient is not None:
                named_in_it.add(image.patient)
                studies[image.patient].add(image.study)
    nameless = sum(not named for named in patients.values())

    def settled(image: StudyImage) -> StudyImage:
        if image.study is None:
            return image
        named = patients[image.study]
        shared = any(len(studies[patient]) > 1 for patient in named)
        notes = [
            note
            for note, applies in (
                (_APART, shared),
                (_TOGETHER, len(named) > 1),
                (_NAMELESS, not named and nameless > 1),
            )
            if applies
        ]
        patient = image.study if shared or len(named) != 1 else next(iter(named))
        if isinstance(image, PredictedImage):
            warnings = (*image.warnings, *notes)
            return image.model_copy(update={"patient": patient, "warnings": warnings})
        return image.model_copy(update={"patient": patient})

    return tuple(settled(image) for image in images)
