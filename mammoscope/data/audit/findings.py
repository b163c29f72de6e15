"""What an audit finds: the value types of its report.

`AuditReport.to_json` is what ``python -m mammoscope audit --json`` writes; the fields of the
classes below are its keys.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Pictures of a split by label, and its patients (0 where no picture names one)."""

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
    """Files that hold one picture.

    ``distance`` is None for files equal byte by byte, else how far their perceptual hashes are
    apart in bits, at most `SAME_IMAGE_DISTANCE`. ``labels``, ``splits`` and ``patients`` have
    each value once; ``patients`` only those that are known.
    """

    files: tuple[str, ...]
    distance: int | None
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two files, not equal byte by byte, whose perceptual hashes are ``distance`` bits apart."""

    files: tuple[str, str]
    distance: int
    same_patient: bool
    same_split: bool
    same_label: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Pairs of pictures that look alike.

    Two exposures of one breast are alike by nature: ``same_patient`` counts those. The others,
    ``other_patient``, are worth a look, and so is every pair ``across_splits``. ``complete`` is
    False where there were too many pairs to count.
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
    """Inverted pictures of a machine and all its pictures."""

    inverted: int
    pictures: int


@dataclass(frozen=True, slots=True)
class InvertedCount:
    """Pictures with a bright background, in all and by machine where metadata name it."""

    pictures: int
    by_machine: Mapping[str, MachineCount]


@dataclass(frozen=True, slots=True)
class Patients:
    """Known patients, and pictures whose patient is not known."""

    count: int
    pictures_without: int


@dataclass(frozen=True, slots=True)
class Breasts:
    """Breasts of known patients, by laterality, else by the side of the chest wall.

    ``by_chest_wall`` counts the pictures of the second kind, ``both_labels`` the breasts that
    have pictures of both labels.
    """

    count: int
    by_chest_wall: int
    both_labels: int


@dataclass(frozen=True, slots=True)
class PatientLeak:
    """A patient in several splits, with the pictures in each."""

    patient_id: str
    splits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Leaks:
    """What stands in more than one split.

    ``excluded`` is True where nothing does and every patient is known; without patients a leak
    cannot be excluded.
    """

    patients: tuple[PatientLeak, ...]
    pictures: tuple[SamePicture, ...]
    excluded: bool


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything the audit found.

    ``splits`` counts as the folder stands, ``merged`` with valid in train. ``sizes`` has
    ``<width>x<height>`` in pixels, ``modes`` Pillow's sample layouts, ``formats`` containers, each
    with the number of readable pictures. ``same_pictures`` holds the exact duplicates and the near
    ones that are one picture saved twice; ``conflicts`` those of them with both labels. ``passed``
    is False where there is a leak or a conflict.
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
        """JSON object; its keys are stable."""
        return asdict(self)
