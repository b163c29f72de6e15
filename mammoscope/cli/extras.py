"""The package's extras: which one provides a package that is not installed."""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "cryptography": "archive",
    "dicomweb_client": "archive",
    "fsspec": "bulk",
    "highdicom": "archive",
    "imagehash": "train",
    "jax": "distributed",
    "kagglehub": "train",
    "matplotlib": "train",
    "pyarrow": "bulk",
    "pynetdicom": "archive",
    "ray": "bulk",
    "sklearn": "train",
    "sqlalchemy": "archive",
    "tensorflow": "train",
}
"""Extra that provides a package, by import name."""


def require(package: str) -> None:
    """Fail early if a package that is needed later is not installed.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """Return a sentence that says what to install; None if no extra provides the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return (
        f"This needs the package {package}, which is not installed. Run: "
        f"pip install 'mammoscope[{EXTRAS[package]}]' (in a checkout: make environment)"
    )
