"""Choose the precision in which a model is served, and record it in the card."""

from importlib.metadata import version
from typing import Final, get_args

from mammoscope.errors import ConfigurationError
from mammoscope.export.comparison_images import PreprocessedImages
from mammoscope.export.score_comparison import acceptable, compare
from mammoscope.model.artifact.card import CardCompiled, Precision
from mammoscope.model.artifact.folder import Artifact, write_card
from mammoscope.model.engine import computes_in_bfloat16, load_engine, score_phantoms

_PACKAGES: Final = ("keras", "openvino")


def choose_precision(artifact: Artifact, images: PreprocessedImages) -> CardCompiled:
    """Compare scores in bfloat16 and float32; choose bfloat16 if they are close enough.

    Parameters
    ----------
    artifact
        A model with a card; the card is rewritten.
    images
        Images to score in both precisions.

    Returns
    -------
    CardCompiled
        The new facts in the card.

    Raises
    ------
    ArtifactError
        If the model has no card, or its network cannot be loaded or does not match the card.
    CompilationError
        If a score is not finite.
    ConfigurationError
        If this CPU does not compute in bfloat16.
    StorageError
        If the card cannot be written.
    """
    card = artifact.require_card()
    if not computes_in_bfloat16():
        raise ConfigurationError(
            "This CPU does not compute in bfloat16, so scores cannot be compared here. Compile on "
            "one that does, or omit --data to serve the model in float32."
        )
    plain = card.model_copy(update={"compiled": None})
    engines = {
        precision: load_engine(Artifact(artifact.network, plain, precision))
        for precision in get_args(Precision)
    }
    logits = {name: engine.infer(images.pixels).logits for name, engine in engines.items()}
    comparison = compare(plain, images, logits["float32"], logits["bfloat16"])
    precision: Precision = "bfloat16" if acceptable(comparison) else "float32"
    compiled = CardCompiled(
        precision=precision,
        comparison=comparison,
        reference_logits=score_phantoms(engines[precision]),
        packages={package: version(package) for package in _PACKAGES},
    )
    write_card(artifact.network.parent, plain.model_copy(update={"compiled": compiled}))
    return compiled
