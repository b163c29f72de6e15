"""The findings of an audit: the value types of its report.

``mammoscope audit --json`` writes `AuditReport.to_json`; the fields of the classes below are its
keys.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Images of a split by label, and its patients (0 if no image names one)."""

    pictures: int
    no_tumour: int
    tumour: int
    patients: int


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that cannot be used: its path below the folder and the stable code of the reason."""

    file: str
    code: str


@dataclass(frozen=True, slots=True)
class SamePicture:
    """Files that hold the same image.

    ``distance`` is None for files that are equal byte by byte. Otherwise it is the distance of
    their perceptual hashes in bits, at most `SAME_IMAGE_DISTANCE`. ``labels``, ``splits`` and
    ``patients`` list each value once; ``patients`` only known ones.
    """

    files: tuple[str, ...]
    distance: int | None
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two files, not equal byte by byte, whose perceptual hashes differ in ``distance`` bits."""

    files: tuple[str, str]
    distance: int
    same_patient: bool
    same_split: bool
    same_label: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Pairs of similar images.

    Two exposures of one breast are naturally similar; ``same_patient`` counts those. The other
    pairs, ``other_patient`` and all ``across_splits``, need a closer look. ``complete`` is False if
    there were too many pairs to count.
    """

    max_distance: int
    bits: int
    complete: bool
    pairs: int
    same_patient: int
    other_patient: int
    across_splits: int
    listed: tuple[NearPair, ...]


@dataclass(frozen=True, slots=True)
class MachineCount:
    """Number of a machine's inverted images, and of all its images."""

    inverted: int
    pictures: int


@dataclass(frozen=True, slots=True)
class InvertedCount:
    """Number of images with a bright background, in total and by machine if known."""

    pictures: int
    by_machine: Mapping[str, MachineCount]


@dataclass(frozen=True, slots=True)
class Patients:
    """Number of known patients, and of images whose patient is unknown."""

    count: int
    pictures_without: int


@dataclass(frozen=True, slots=True)
class Breasts:
    """Breasts of known patients, by laterality or else by the side of the chest wall.

    ``by_chest_wall`` counts the images of the second kind, ``both_labels`` the breasts that have
    images of both labels.
    """

    count: int
    by_chest_wall: int
    both_labels: int


@dataclass(frozen=True, slots=True)
class PatientLeak:
    """A patient in several splits, with the images in each."""

    patient_id: str
    splits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Leaks:
    """Patients and images in more than one split.

    ``excluded`` is True if there are none and every patient is known. If patients are unknown,
    leakage cannot be excluded.
    """

    patients: tuple[PatientLeak, ...]
    pictures: tuple[SamePicture, ...]
    excluded: bool


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The complete result of an audit.

    ``splits`` counts the published folders, ``merged`` with valid in train. ``sizes`` lists
    ``<width>x<height>`` in pixels, ``modes`` Pillow's sample layouts, ``formats`` containers, each
    with the number of readable images. ``same_pictures`` lists exact duplicates, and near
    duplicates that are one image saved twice; ``conflicts`` lists those of them with both labels.
    ``passed`` is False if there is a leak or a conflict.
    """

    pictures: int
    splits: Mapping[str, SplitCount]
    merged: Mapping[str, SplitCount]
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    refused: tuple[RefusedFile, ...]
    same_pictures: tuple[SamePicture, ...]
    near_duplicates: NearDuplicates
    conflicts: tuple[SamePicture, ...]
    inverted: InvertedCount
    patients: Patients
    breasts: Breasts
    leaks: Leaks
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with stable keys."""
        return asdict(self)
