"""Choose the precision in which a model is served, and record it in the card."""

import logging
from importlib.metadata import version
from typing import Final

from mammoscope.errors import ConfigurationError
from mammoscope.export.comparison_images import PreprocessedImages
from mammoscope.export.score_comparison import LogitPairs, compare, exceeded
from mammoscope.model.artifact.card import Card, CardCompiled, Precision
from mammoscope.model.artifact.folder import Artifact, write_card
from mammoscope.model.engine import computes_in, load_engine, score_phantoms

_PACKAGES: Final = ("keras", "openvino")

_log: Final = logging.getLogger(__name__)


def choose_precision(artifact: Artifact, images: PreprocessedImages) -> CardCompiled:
    """Compare scores with those in float32; choose the fastest precision that is close enough.

    int8 comes first, for a network that was trained for it, then bfloat16, then float32.

    Parameters
    ----------
    artifact
        A model with a card; the card is rewritten.
    images
        Images to score in each precision.

    Returns
    -------
    CardCompiled
        The new facts in the card, with the last comparison made.

    Raises
    ------
    ArtifactError
        If the model has no card, or its network cannot be loaded or does not match the card.
    CompilationError
        If a score is not finite.
    ConfigurationError
        If this CPU computes in none of these precisions.
    StorageError
        If the card cannot be written.
    """
    plain = artifact.require_card().model_copy(update={"compiled": None})
    if not (candidates := _candidates(plain)):
        raise ConfigurationError(
            "This CPU does not compute in bfloat16, so scores cannot be compared here. Compile on "
            "one that does, or omit --data to serve the model in float32."
        )
    exact = load_engine(Artifact(artifact.network, plain, "float32"))
    logits = exact.infer(images.pixels).logits
    chosen: Precision = "float32"
    engine = exact
    for precision in candidates:
        rounded = load_engine(Artifact(artifact.network, plain, precision))
        pairs = LogitPairs(
            images.source, images.labels, logits, rounded.infer(images.pixels).logits
        )
        comparison = compare(plain, pairs, precision)
        if not (failed := exceeded(comparison)):
            chosen, engine = precision, rounded
            break
        _log.warning("Scores in %s differ too much: %s.", precision, "; ".join(failed))
    compiled = CardCompiled(
        precision=chosen,
        comparison=comparison,
        reference_logits=score_phantoms(engine),
        packages={package: version(package) for package in _PACKAGES},
    )
    write_card(artifact.network.parent, plain.model_copy(update={"compiled": compiled}))
    return compiled


def _candidates(card: Card) -> list[Precision]:
    """Return the precisions to compare with float32, the fastest first."""
    candidates: list[Precision] = ["bfloat16"] if computes_in("bfloat16") else []
    if card.quantisation is not None and computes_in("int8"):
        if not (failed := exceeded(card.quantisation.comparison)):
            return ["int8", *candidates]
        _log.warning("int8 differs too much from the network before: %s.", "; ".join(failed))
    return candidates
