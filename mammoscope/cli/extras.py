"""The extras of the package: which one brings a package that is not installed."""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "imagehash": "train",
    "kagglehub": "train",
    "matplotlib": "train",
    "sklearn": "train",
    "tensorflow": "train",
}
"""Extra that brings a package, by the name under which it is imported."""


def require(package: str) -> None:
    """Fail before the work if a package that it needs in the end is not installed.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """Return the sentence that says what to install; None if no extra brings the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return (
        f"This needs the package {package}, which is not installed. Run: "
        f"pip install 'mammoscope[{EXTRAS[package]}]' (in a checkout: make environment)"
    )
