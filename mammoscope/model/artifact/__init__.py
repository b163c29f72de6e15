"""A model folder: the network, and the card that belongs to it."""

from mammoscope.model.artifact.card import (
    DEFAULT_POINT,
    Card,
    CardComparison,
    CardCompiled,
    CardLevel,
    CardOperatingPoint,
    Level,
    Precision,
    Sha256,
)
from mammoscope.model.artifact.folder import (
    CARD_NAME,
    CARD_SCHEMA,
    NETWORK_NAME,
    Artifact,
    load_artifact,
    sha256_of,
    write_card,
)

__all__ = [
    "CARD_NAME",
    "CARD_SCHEMA",
    "DEFAULT_POINT",
    "NETWORK_NAME",
    "Artifact",
    "Card",
    "CardComparison",
    "CardCompiled",
    "CardLevel",
    "CardOperatingPoint",
    "Level",
    "Precision",
    "Sha256",
    "load_artifact",
    "sha256_of",
    "write_card",
]
