"""Scanner groups: images of similar brightness, background and crop, regardless of the tissue.

A score that depends on these features is a shortcut: it recognises the scanner, not a tumour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Example
from mammoscope.imaging.arrays import Float
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import Preprocessed

HISTOGRAM_BINS: Final = 16
"""Number of histogram bins for grey values inside the breast, of equal width."""

_BACKGROUND_PERCENTILES: Final = (10.0, 50.0, 90.0)

CLUSTERS: Final = 6
"""Number of scanner groups; the Kaggle set comes from nine machines."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Scanner features of an image, and its network input as a thumbnail, uint8 (24, 18)."""

    example: Example
    features: Float
    thumbnail: npt.NDArray[np.uint8] | None = None


THUMBNAIL: Final = (24, 18)


def thumbnail(preprocessed: Preprocessed) -> npt.NDArray[np.uint8]:
    """Shrink preprocessed pixels to uint8 of size `THUMBNAIL`."""
    height, width = THUMBNAIL
    small = cv2.resize(preprocessed.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def scanner_features(mammogram: Mammogram, preprocessed: Preprocessed) -> Float:
    """Describe brightness, background and crop of an image, but not its tissue.

    Returns
    -------
    ndarray
        float32 (24,): shares of the histogram inside the breast; percentiles of the background;
        height, width and top of the breast's box and the breast's area as shares of the image; and
        1 for an image with a bright background, else 0.
    """
    small, breast = preprocessed.search_copy, preprocessed.breast
    counts, _ = np.histogram(small[breast], bins=HISTOGRAM_BINS, range=(0.0, 1.0))
    outside = small[~breast]
    background = (
        np.percentile(outside, _BACKGROUND_PERCENTILES)
        if outside.size
        else np.zeros(len(_BACKGROUND_PERCENTILES))
    )
    height, width = mammogram.pixels.shape
    top, left, bottom, right = preprocessed.box
    rest = (
        (bottom - top) / height,
        (right - left) / width,
        top / height,
        preprocessed.breast_share,
        float(preprocessed.inverted),
    )
    return np.concatenate([counts / max(counts.sum(), 1), background, rest]).astype(np.float32)


def group_by_scanner(features: Sequence[Float], *, seed: int = 0) -> list[str]:
    """Cluster images by scanner features: a number per image, from 1 for the largest group.

    The group replaces the machine if the metadata has none.
    """
    # Imported here, because scikit-learn belongs to training and the service does not need it.
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    standardised = StandardScaler().fit_transform(np.stack(features))
    clusters = min(CLUSTERS, len(np.unique(standardised, axis=0)))
    found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(standardised)
    order = np.argsort(-np.bincount(found, minlength=clusters), kind="stable")
    number = {int(cluster): str(place) for place, cluster in enumerate(order, start=1)}
    return [number[int(cluster)] for cluster in found]
