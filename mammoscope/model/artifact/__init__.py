"""A model folder: the network, what was compiled from it, and the card that ties them."""

from mammoscope.model.artifact.card import (
    DEFAULT_POINT,
    METHOD_TITLES,
    Card,
    CardComparison,
    CardCompiled,
    CardFile,
    CardLevel,
    CardOperatingPoint,
    Level,
    Method,
)
from mammoscope.model.artifact.folder import (
    CARD_NAME,
    NETWORK_NAME,
    TOPOLOGY_NAME,
    WEIGHTS_NAME,
    Artifact,
    CompiledFiles,
    load_artifact,
    sha256_of,
    write_card,
)

__all__ = [
    "CARD_NAME",
    "DEFAULT_POINT",
    "METHOD_TITLES",
    "NETWORK_NAME",
    "TOPOLOGY_NAME",
    "WEIGHTS_NAME",
    "Artifact",
    "Card",
    "CardComparison",
    "CardCompiled",
    "CardFile",
    "CardLevel",
    "CardOperatingPoint",
    "CompiledFiles",
    "Level",
    "Method",
    "load_artifact",
    "sha256_of",
    "write_card",
]
