"""A model folder: ``model.keras``, what was compiled from it and ``card.json``, tied by sha256.

The card carries what is needed to use the network rightly (input size, calibration, operating
points) and what is known about it (how it was trained and measured). Where the network was
compiled for serving, the card names the compiled files too and says how near their scores come.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError, StorageError
from mammoscope.model.artifact.card import Card
from mammoscope.system.files import write_json

NETWORK_NAME: Final = "model.keras"
CARD_NAME: Final = "card.json"
TOPOLOGY_NAME: Final = "model.xml"
WEIGHTS_NAME: Final = "model.bin"

_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class CompiledFiles:
    """The two files of a network in OpenVINO's intermediate representation."""

    topology: Path
    weights: Path


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network file and what belongs to it.

    Parameters
    ----------
    network
        The .keras file.
    card
        None for a network without one.
    compiled
        What is served instead of `network`; None where nothing was compiled.
    """

    network: Path
    card: Card | None
    compiled: CompiledFiles | None = None


def load_artifact(path: Path) -> Artifact:
    """Find a model and check that its card and its compiled network belong to it.

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
        If the card cannot be read, or it was written for another network or names a compiled
        network that is missing or another, or the network was trained on whole images.
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
    if not card.crop:
        raise ArtifactMismatchError(
            "The network was trained on whole images, for comparison; only those trained on "
            "the breast alone can judge images."
        )
    return Artifact(network, card, _compiled_files(network.parent, card))


def write_card(folder: Path, card: Card) -> None:
    """Write the card beside its network, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    try:
        write_json(folder / CARD_NAME, card.model_dump(mode="json"))
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


def _compiled_files(folder: Path, card: Card) -> CompiledFiles | None:
    if card.compiled is None:
        return None
    for file in (card.compiled.topology, card.compiled.weights):
        path = folder / file.name
        if not path.is_file():
            raise ArtifactMismatchError(
                "The card names a compiled network that is not there; copy it, or compile anew."
            )
        if file.sha256 != sha256_of(path):
            raise ArtifactMismatchError(
                "The compiled network is not the one its card names (sha256 differs)."
            )
    return CompiledFiles(folder / card.compiled.topology.name, folder / card.compiled.weights.name)


def _read_card(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as err:
        raise ArtifactNotFoundError("The model's card cannot be read.") from err
    except ValidationError as err:
        raise ArtifactMismatchError("The model's card is damaged or of another kind.") from err
