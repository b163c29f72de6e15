"""A model folder: ``model.keras`` and ``card.json``, tied by sha256.

The card carries what is needed to use the network rightly (input size, calibration, operating
points) and what is known about it (how it was trained and measured).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammoscope.errors import (
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ConfigurationError,
    StorageError,
)

NETWORK_NAME: Final = "model.keras"
CARD_NAME: Final = "card.json"
DEFAULT_POINT: Final = "default"

Level = Literal["image", "breast", "patient"]

_BLOCK_BYTES: Final = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CardCalibration(_Frozen):
    """Platt scaling: log-odds of a tumour are ``slope`` x logit + ``intercept``."""

    slope: Annotated[float, Field(gt=0.0)] = 1.0
    intercept: float = 0.0

    def probability(self, logit: float) -> float:
        """Calibrated probability in [0, 1] of a raw logit."""
        log_odds = self.slope * logit + self.intercept
        # Two forms, so that the exponential cannot overflow.
        if log_odds >= 0:
            return 1.0 / (1.0 + math.exp(-log_odds))
        return math.exp(log_odds) / (1.0 + math.exp(log_odds))


class CardOperatingPoint(_Frozen):
    """Probability from which the label is ``tumour``, and what was measured there."""

    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    measured: dict[str, Any] = Field(default_factory=dict)


class CardLevel(_Frozen):
    """Calibration and operating points of breasts or of patients, fitted on validation patients.

    Without operating points those of pictures hold.
    """

    calibration: CardCalibration = CardCalibration()
    operating_points: dict[str, CardOperatingPoint] = Field(default_factory=dict)


class Card(_Frozen):
    """Facts about a model that travel with it.

    Parameters
    ----------
    version
        Of the model, not of the software.
    sha256
        Of the .keras file, in hexadecimal.
    input_size
        Height and width in pixels of the prepared picture.
    calibration, operating_points
        Fitted on validation patients; ``default`` is always there.
    levels
        What was fitted to breasts and to patients; where it was not, what was fitted to pictures
        holds for the mean or maximum of their logits too.
    training
        Configuration, data, split and environment of the run.
    metrics
        Measured results, by split.
    """

    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input_size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    calibration: CardCalibration = CardCalibration()
    operating_points: dict[str, CardOperatingPoint] = Field(
        default_factory=lambda: {DEFAULT_POINT: CardOperatingPoint(threshold=0.5)}
    )
    levels: dict[Literal["breast", "patient"], CardLevel] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)

    def scale(self, level: Level = "image") -> CardCalibration:
        """Calibration of pictures, breasts or patients."""
        return self.levels[level].calibration if level in self.levels else self.calibration

    def threshold(self, operating_point: str, level: Level = "image") -> float:
        """Probability from which the label is ``tumour``.

        Raises
        ------
        ConfigurationError
            If the card has no such operating point.
        """
        if operating_point not in self.operating_points:
            raise ConfigurationError(
                "The model has no such operating point; it has "
                f"{', '.join(sorted(self.operating_points))}."
            )
        of_level = self.levels[level].operating_points if level in self.levels else {}
        return of_level.get(operating_point, self.operating_points[operating_point]).threshold


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network file and the card that belongs to it; None for a network without a card."""

    network: Path
    card: Card | None


def load_artifact(path: Path) -> Artifact:
    """Find a model and check that its card belongs to it.

    Parameters
    ----------
    path
        Folder with `NETWORK_NAME` and `CARD_NAME`, or a .keras file, whose card lies beside it
        if it has one.

    Raises
    ------
    ArtifactNotFoundError
        If there is no model, or a folder has no card.
    ArtifactMismatchError
        If the card cannot be read or was written for another network.
    """
    is_folder = path.is_dir()
    network = path / NETWORK_NAME if is_folder else path
    card_path = network.parent / CARD_NAME
    if not network.is_file():
        raise ArtifactNotFoundError(
            f"There is no model; a folder with {NETWORK_NAME} and {CARD_NAME}, or a .keras file, "
            "is needed."
        )
    if not card_path.is_file():
        if is_folder:
            raise ArtifactNotFoundError(f"The model folder has no {CARD_NAME}.")
        return Artifact(network, None)
    card = _read_card(card_path)
    if card.sha256 != sha256_of(network):
        # A .keras that merely lies in the folder of another model has no card of its own.
        if not is_folder and network.name != NETWORK_NAME:
            return Artifact(network, None)
        raise ArtifactMismatchError("The card was written for another network (sha256 differs).")
    return Artifact(network, card)


def write_card(folder: Path, card: Card) -> None:
    """Write the card beside its network, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    partial = folder / f"{CARD_NAME}.partial"
    try:
        partial.write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n", "utf-8")
        partial.replace(folder / CARD_NAME)
    except OSError as err:
        raise StorageError("The model's card cannot be stored.") from err


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises
    ------
    ArtifactNotFoundError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as err:
        raise ArtifactNotFoundError("The model cannot be read.") from err
    return digest.hexdigest()


def _read_card(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as err:
        raise ArtifactNotFoundError("The model's card cannot be read.") from err
    except ValidationError as err:
        raise ArtifactMismatchError("The model's card is damaged or of another kind.") from err
