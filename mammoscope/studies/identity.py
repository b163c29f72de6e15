"""Whose images these are, where DICOM objects contradict each other about it.

De-identified archives write one placeholder, such as ``removed``, into (0010,0020) Patient ID of
every woman, or nothing, or another ID into each image. A study is one patient's in any case, so
(0020,000D) Study Instance UID decides.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from mammoscope.studies.results import PredictedImage, StudyImage

_APART: Final = (
    "One patient ID stands in several studies, as placeholders do; each study counts as a patient "
    "of its own. A manifest can name the patients."
)
_NAMELESS: Final = (
    "Several studies have no patient ID; each counts as a patient of its own. A manifest can name "
    "the patients."
)
_TOGETHER: Final = "The images of this study name several patients; it counts as one patient's."


def settle_patients(images: Sequence[StudyImage]) -> tuple[StudyImage, ...]:
    """Tell patients apart by their studies where patient IDs do not.

    Parameters
    ----------
    images
        Images of one request. Those whose patient the caller gave, or that name no study, stay as
        they are.

    Returns
    -------
    tuple
        The same images. Where a study names no patient, several, or one that other studies name
        too, the study's pseudonym stands for the patient. Images with an answer say so in a
        warning, unless the request has no other study.
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
