"""Mammoscope: a mammogram classifier you can put to work.

::

    import mammoscope

    model = mammoscope.load()
    prediction = model.predict("mammogram.dcm")
    print(prediction.label, prediction.probability)

Data flows one way through the modules of this package::

    folder or bytes -> Mammogram -> network input -> network -> score -> Prediction -> client

Research software, not a medical device.
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammoscope.model.classifier import Classifier

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(model: "str | PathLike[str] | None" = None) -> "Classifier":
    """Load a model to predict with.

    The first load of a model compiles it, which takes about 5 s, and caches the result for later
    loads.

    Parameters
    ----------
    model
        Model folder, or the .keras file inside it. None uses the environment variable
        ``MAMMOSCOPE_MODEL``, or the released model, which is part of Mammoscope.

    Returns
    -------
    mammoscope.model.classifier.Classifier

    Raises
    ------
    ArtifactError
        If there is no such model, it is damaged, or it does not match its card.

    See Also
    --------
    mammoscope.imaging.preprocessor.MammogramPreprocessor
        Preprocesses images for the .keras file, for programs that call the network with Keras.

    Examples
    --------
    >>> import mammoscope
    >>> model = mammoscope.load()  # doctest: +SKIP
    >>> model.predict("mammogram.dcm").label  # doctest: +SKIP
    'no tumour'
    """
    from mammoscope.model.classifier import load_classifier  # imports NumPy and OpenVINO

    return load_classifier(model)
