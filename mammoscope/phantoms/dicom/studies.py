"""Write the four views of a woman as files."""

from pathlib import Path

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.dicom.encoding import Encoding
from mammoscope.phantoms.dicom.objects import encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom, store


def write_phantom_study(
    folder: Path, *, seed: int = 0, encoding: Encoding | None = None, tumour: bool = False
) -> list[Path]:
    """Write the four views of a woman, CC and MLO of both breasts, to a folder.

    Parameters
    ----------
    folder
        Created if it does not exist.
    seed
        Selects the woman.
    encoding
        Encoding of each image; None writes 12 bits uncompressed.
    tumour
        Whether the left breast has a mass.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    paths = []
    for laterality in (Laterality.RIGHT, Laterality.LEFT):
        for view in (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE):
            mass = tumour and laterality is Laterality.LEFT
            phantom = draw_phantom(PhantomConfig(seed, laterality, view, mass=mass))
            path = folder / f"phantom_{seed:03d}_{laterality}_{view}.dcm"
            store(path, encode_phantom(phantom, encoding))
            paths.append(path)
    return paths
