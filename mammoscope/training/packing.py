"""Save a trained network as a small .keras file."""

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope.errors import StorageError
from mammoscope.system.files import replacing

SIGNIFICANT_BITS: Final = 10
"""Significant bits of each stored weight: one less than float16, but with the range of float32. A
fully trained network then fits in less than 50 MB."""

_COMPRESSION_LEVEL: Final = 5
"""Deflate level. The highest, 9, saves little more but takes several times as long."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Date of every archive member, so that equal weights give equal files."""

_UNIX: Final = 3
"""Operating system recorded for every member: Unix, wherever the archive is made."""

_SHARED: Final = "shared_object_id"
"""Key in Keras' config for a memory address that identifies layers with a shared precision policy.
Networks loaded from a file do not have it."""


def round_weights(values: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.float32]:
    """Round float32 values of any shape to `bits` significant bits, ties to even."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    return np.asarray(rounded, dtype=np.float32)


def save_network(network: keras.Model, path: Path) -> None:
    """Round a network's weights in place and save it as a deflated .keras archive.

    Plain ``keras.saving.load_model`` opens the result. Equal weights and layer names give equal
    files: the dates and memory addresses that Keras writes are left out.

    Raises
    ------
    StorageError
        If the file cannot be written; an existing file of that name is then unchanged.
    """
    network.set_weights([_rounded(weight) for weight in network.get_weights()])
    plain = path.with_name(f".{path.stem}.plain.keras")
    try:
        network.save(plain)
        with (
            replacing(path) as packed,
            zipfile.ZipFile(plain) as source,
            zipfile.ZipFile(
                packed, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL
            ) as target,
        ):
            for name in sorted(source.namelist()):
                member = zipfile.ZipInfo(name, _EPOCH)
                member.compress_type = zipfile.ZIP_DEFLATED
                member.create_system = _UNIX
                target.writestr(member, _repeatable(name, source.read(name)))
    except OSError as err:
        raise StorageError("The trained network cannot be written.") from err
    finally:
        plain.unlink(missing_ok=True)


def _repeatable(name: str, content: bytes) -> bytes:
    """Return a member of the archive without what differs between two saves of a network."""
    if not name.endswith(".json"):
        return content
    facts = json.loads(
        content,
        object_hook=lambda known: {key: known[key] for key in known if key != _SHARED},
    )
    if name == "metadata.json":
        facts["date_saved"] = datetime(*_EPOCH, tzinfo=UTC).strftime("%Y-%m-%d@%H:%M:%S")
    return json.dumps(facts).encode()


def _rounded(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if weight.dtype != np.float32:
        return weight
    return round_weights(weight, SIGNIFICANT_BITS)
