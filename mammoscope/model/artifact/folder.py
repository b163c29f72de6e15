"""A model folder: ``model.keras`` and ``card.json``, linked by sha256.

The card has what is needed to use the network correctly (input size, calibration, operating points,
precision) and the facts about its training and evaluation. `mammoscope.model.cache` compiles the
.keras file for serving.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError, StorageError
from mammoscope.model.artifact.card import Card, Precision
from mammoscope.system import schema
from mammoscope.system.files import write_json

NETWORK_NAME: Final = "model.keras"
CARD_NAME: Final = "card.json"

CARD_SCHEMA: Final = 4
"""Schema of the cards that this version writes. Those of schema 1 may name compiled files; those
before 3 have no gate, and those before 4 no quantisation."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network file and its card.

    Parameters
    ----------
    network
        The .keras file.
    card
        None for a network without a card.
    precision
        Precision in which the network is served if the CPU supports it.
    """

    network: Path
    card: Card | None
    precision: Precision = "float32"

    @property
    def ranges(self) -> dict[str, float] | None:
        """Ranges for computing in 8 bits; None in another precision."""
        quantisation = self.card.quantisation if self.card else None
        return quantisation.ranges if quantisation and self.precision == "int8" else None

    def require_card(self) -> Card:
        """Return the card; raises `ArtifactNotFoundError` if there is none."""
        if self.card is None:
            raise ArtifactNotFoundError("The model has no card.")
        return self.card


def load_artifact(path: Path) -> Artifact:
    """Find a model and check that its card matches.

    Parameters
    ----------
    path
        Folder with `NETWORK_NAME` and `CARD_NAME`, or a .keras file, with or without a card next to
        it.

    Raises
    ------
    ArtifactNotFoundError
        If there is no model, or a folder has no card.
    ArtifactMismatchError
        If the card cannot be read or belongs to another network, or the network was trained on
        whole images.
    """
    is_folder = path.is_dir()
    network = path / NETWORK_NAME if is_folder else path
    card_path = network.parent / CARD_NAME
    if not network.is_file():
        raise ArtifactNotFoundError(
            f"There is no model; give a folder with {NETWORK_NAME} and {CARD_NAME}, or a .keras "
            "file."
        ).at(path)
    if not card_path.is_file():
        if is_folder:
            raise ArtifactNotFoundError(f"The model folder has no {CARD_NAME}.").at(path)
        return Artifact(network, None)
    card = _read_card(card_path)
    if card.sha256 != sha256_of(network):
        # A .keras file that happens to be in another model's folder has no card.
        if not is_folder and network.name != NETWORK_NAME:
            return Artifact(network, None)
        raise ArtifactMismatchError("The card belongs to another network (sha256 differs).").at(
            path
        )
    if not card.crop:
        raise ArtifactMismatchError(
            "The network was trained on whole images, for comparison. Only networks trained on "
            "images cropped to the breast can be served."
        ).at(path)
    return Artifact(network, card, card.compiled.precision if card.compiled else "float32")


def write_card(folder: Path, card: Card) -> None:
    """Write the card next to its network, atomically.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    try:
        write_json(folder / CARD_NAME, {schema.KEY: CARD_SCHEMA, **card.model_dump(mode="json")})
    except OSError as err:
        raise StorageError("The model's card cannot be written.") from err


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes.

    Raises
    ------
    ArtifactNotFoundError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise ArtifactNotFoundError("The model cannot be read.") from err


def _read_card(path: Path) -> Card:
    try:
        content = json.loads(path.read_bytes())
        schema.require_known(content.pop(schema.KEY, None), CARD_SCHEMA, "card")
        return Card.model_validate(content)
    except OSError as err:
        raise ArtifactNotFoundError("The model's card cannot be read.").at(path) from err
    except schema.SchemaError as err:
        raise ArtifactMismatchError(str(err)).at(path) from err
    except (ValueError, TypeError, AttributeError) as err:
        raise ArtifactMismatchError("The model's card is damaged or of another kind.").at(
            path
        ) from err
