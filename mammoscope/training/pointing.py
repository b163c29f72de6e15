"""Whether a network's map points at malignant lesions of films it was not trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope.data.lesions import MALIGNANT, read_films
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.imaging.arrays import Boxes, Float
from mammoscope.model.cells import FIRST_CENTRE_PX, STRIDE_PX, cell_targets
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import as_input
from mammoscope.training.lesions import PreprocessedFilms, preprocess_films

TOLERANCE_PX: Final = STRIDE_PX / 2
"""Half a cell: a map cannot resolve smaller distances."""

_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Pointing:
    """How often the centre of the highest cell is in an outlined malignant lesion.

    Parameters
    ----------
    films
        Films with a malignant lesion.
    hits
        Share of films whose highest cell has its centre in such a lesion.
    near
        The same share with a tolerance of `TOLERANCE_PX`.
    by_chance
        Expected value of ``near`` for a random cell in the breast.
    cell_auc
        AUC of the cells of all films, without those at the edge of a lesion.
    """

    films: int
    hits: float
    near: float
    by_chance: float
    cell_auc: float


def point(network: keras.Model, lesions: Path, cache: Path) -> Pointing:
    """Measure a network on the films of use ``heldout``.

    Parameters
    ----------
    network
        A network with an output ``logit_map``.
    lesions
        Folder of films with outlined lesions.
    cache
        Folder for preprocessed films.

    Raises
    ------
    DatasetError
        If the films cannot be listed.
    StorageError
        If the cache cannot be written.
    """
    height, width, channels = network.input.shape[1:]
    look = {"input_size": (height, width), "channels": "three" if channels == 3 else "ranks"}
    films = preprocess_films(
        read_films(lesions, "heldout"), TrainConfig.from_preset("default", look), cache
    )
    maps = [
        keras.ops.convert_to_numpy(
            network.predict_on_batch(as_input(films.pixels[start : start + _BATCH]))["logit_map"]
        )[..., 0]
        for start in range(0, len(films.pixels), _BATCH)
    ]
    return measure_pointing(np.concatenate(maps), films)


def measure_pointing(maps: Float, films: PreprocessedFilms) -> Pointing:
    """Measure the maps (N, h, w) of films."""
    rows, columns = maps.shape[1:]
    height, width = films.pixels.shape[1:3]
    centres = [FIRST_CENTRE_PX + STRIDE_PX * np.arange(cells) for cells in (rows, columns)]
    # The last centre may be outside a small image.
    places = np.ix_(
        *(
            np.minimum(each.astype(int), side - 1)
            for each, side in zip(centres, (height, width), strict=True)
        )
    )
    found, cells, targets = [], [], []
    for logits, pixels, boxes in zip(maps, films.pixels, films.boxes, strict=True):
        wanted = cell_targets(boxes, (height, width), (rows, columns))[..., MALIGNANT]
        cells.append(logits[wanted >= 0])
        targets.append(wanted[wanted >= 0])
        malignant = boxes[boxes[:, 0] == MALIGNANT]
        if len(malignant):
            highest = np.unravel_index(logits.argmax(), logits.shape)
            exact, near = (
                _inside(malignant, (height, width), centres, by) for by in (0.0, TOLERANCE_PX)
            )
            breast = pixels[places].reshape(rows, columns, -1)[..., 0] > 0
            found.append((exact[highest], near[highest], near[breast].mean()))
    scores, labels = np.concatenate(cells), np.concatenate(targets)
    area = Curve(scores, labels.astype(np.int64)).auc(np.ones((1, labels.size)))
    shares = [float(mean) for mean in np.mean(found, axis=0)]
    return Pointing(len(found), shares[0], shares[1], shares[2], float(area[0]))


def _inside(
    boxes: Boxes, size: tuple[int, int], centres: list[npt.NDArray[Any]], by: float
) -> npt.NDArray[np.bool_]:
    """Cells (h, w) whose centre is in one of the boxes, or at most `by` pixels from it."""
    rows, columns = centres
    found = np.zeros((len(rows), len(columns)), dtype=np.bool_)
    for _, x0, y0, x1, y1 in boxes:
        high = (rows >= y0 * size[0] - by) & (rows <= y1 * size[0] + by)
        wide = (columns >= x0 * size[1] - by) & (columns <= x1 * size[1] + by)
        found |= np.outer(high, wide)
    return found
