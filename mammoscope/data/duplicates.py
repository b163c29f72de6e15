"""Find images that show the same: a perceptual hash, and a search for similar hashes.

Copies are found even if inverted, mirrored, stretched, reduced, brightened or saved again, but not
if strongly padded or cropped.
"""

from typing import Final, NamedTuple

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

Hashes = npt.NDArray[np.uint64]

HASH_SIDE: Final = 16
HASH_BITS: Final = HASH_SIDE**2
"""Bits of a hash: the signs, relative to their median, of the lowest 16 x 16 cosine terms.

Mammograms have similar coarse shapes: the customary 8 x 8 terms do not distinguish women.

References
----------
.. [1] N. Krawetz, "Looks Like It", The Hacker Factor Blog, 2011, for the algorithm, as in the
   package imagehash.
.. [2] C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", thesis,
   Upper Austria University of Applied Sciences, Hagenberg, 2010.
"""

NEAR_DISTANCE: Final = 16
"""Maximum Hamming distance in bits of near duplicates.

Measured on 2,986 mammograms of 848 patients: images of different patients differ in at least 18
bits.
"""

SAME_IMAGE_DISTANCE: Final = 8
"""Maximum Hamming distance in bits of copies of one image.

Measured on 249 mammograms: JPEG at quality 25, halving or stretching changes at most 6 bits; a
gamma of 1.2 changes at most 8 bits in half of them.
"""

_TILE_ROWS: Final = 256
_TILE_COLUMNS: Final = 2048


class NearPairs(NamedTuple):
    """Pairs of hashes that differ in few bits, nearest first.

    ``pairs`` is int64 (K, 2), indices of the hashes with the smaller first. ``distances`` is int64
    (K,), in bits. ``complete`` tells whether these are all such pairs.
    """

    pairs: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    complete: bool


def perceptual_hash(
    pixels: npt.NDArray[np.float32], *, inverted: bool = False, mirrored: bool = False
) -> Hashes:
    """Hash a whole image after undoing inversion and turning the chest wall to the left.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1].
    inverted, mirrored
        Whether the image is inverted, or has its chest wall on the right.

    Returns
    -------
    `HASH_BITS` bits as uint64 (4,).
    """
    low, high = float(pixels.min()), float(pixels.max())
    grey = np.asarray((pixels - low) * (255 / max(high - low, 1e-6)), np.uint8)
    grey = 255 - grey if inverted else grey
    grey = grey[:, ::-1] if mirrored else grey
    bits = imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE).hash
    return np.packbits(np.asarray(bits, np.bool_)).view(np.uint64)


def find_near_pairs(hashes: Hashes, max_distance: int, *, max_pairs: int = 1_000_000) -> NearPairs:
    """Find the pairs of hashes that differ in at most `max_distance` bits.

    Every pair is compared, in tiles that fit the processor's cache: first by one word, which
    excludes most pairs, then by all words.

    Parameters
    ----------
    hashes
        uint64 (N, W).
    max_distance
        Maximum Hamming distance in bits.
    max_pairs
        Number of pairs after which the search stops, to limit memory.
    """
    pairs = [np.empty((0, 2), np.int64)]
    distances = [np.empty(0, np.int64)]
    found = 0
    for top, left in _tiles(len(hashes)):
        rows, columns = _near_in_tile(hashes, top, left, max_distance)
        distance = np.bitwise_count(hashes[rows] ^ hashes[columns]).sum(axis=1, dtype=np.int64)
        near = distance <= max_distance
        pairs.append(np.stack([rows[near], columns[near]], axis=1))
        distances.append(distance[near])
        found += int(near.sum())
        if found > max_pairs:
            break
    all_pairs, all_distances = np.concatenate(pairs), np.concatenate(distances)
    order = np.argsort(all_distances, kind="stable")[:max_pairs]
    return NearPairs(all_pairs[order], all_distances[order], found <= max_pairs)


def _tiles(count: int) -> list[tuple[int, int]]:
    return [
        (top, left)
        for top in range(0, count, _TILE_ROWS)
        for left in range(top, count, _TILE_COLUMNS)
    ]


def _near_in_tile(
    hashes: Hashes, top: int, left: int, max_distance: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns, row < column, whose first words are similar enough."""
    above = hashes[top : top + _TILE_ROWS, 0]
    beside = hashes[left : left + _TILE_COLUMNS, 0]
    close = np.bitwise_count(above[:, None] ^ beside[None, :]) <= max_distance
    rows, columns = np.nonzero(close)
    rows, columns = rows + top, columns + left
    upper = rows < columns
    return rows[upper], columns[upper]
