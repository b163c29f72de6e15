"""The second pass: rows of breasts and patients from those of images.

Images of one study, or of one patient of a manifest, form a group. Each group is aggregated like a
study of ``predict --study``. Groups are divided by a hash, so that one division fits in memory
whatever the number of images.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from mammoscope.bulk.dataset import Level, Part, Store
from mammoscope.model.artifact.card import Card
from mammoscope.studies import PredictedImage, RefusedImage, StudyImage, aggregate

_ROWS: Final = 50_000
"""Rows of images in a division, about."""

_NEEDED: Final = (
    "file", "patient", "study", "laterality", "view", "chest_wall", "probability", "threshold",
    "logit", "warnings", "error",
)  # fmt: skip


def divisions(images: int) -> int:
    """Return the number of divisions for a number of images."""
    return -(-images // _ROWS) or 1


def aggregate_division(
    store: Store, card: Card, operating_point: str, index: int, count: int
) -> dict[Level, Part]:
    """Write the rows of breasts and patients of division `index` of `count`.

    Raises
    ------
    StorageError
        If a part cannot be written.
    """
    groups: defaultdict[str, list[StudyImage]] = defaultdict(list)
    for group, image in _images(store):
        if zlib.crc32(group.encode()) % count == index:
            groups[group].append(image)
    rows: dict[Level, list[dict[str, Any]]] = {"breast": [], "patient": []}
    for images in groups.values():
        result = aggregate(sorted(images, key=lambda each: each.file), card, operating_point)
        facts = {"study": images[0].study, "model_version": card.version}
        rows["breast"] += [facts | each.to_json() for each in result.breasts]
        rows["patient"] += [facts | each.to_json() for each in result.patients]
    name = f"part-{index:05d}-of-{count:05d}.parquet"
    return {level: store.write_part(level, name, rows[level]) for level in rows}


def _images(store: Store) -> Iterator[tuple[str, StudyImage]]:
    """Yield the images whose study or patient is known, and the name of their group."""
    rows = store.rows("image")
    if rows is None:
        return
    for batch in rows.to_batches(columns=list(_NEEDED)):
        for row in batch.to_pylist():
            if row["study"] or row["patient"]:
                yield row["study"] or f"patient {row['patient']}", _image(row)


def _image(row: dict[str, Any]) -> StudyImage:
    if row["error"]:
        names = ("file", "patient", "laterality", "view", "error", "study")
        return RefusedImage.model_validate({name: row[name] for name in names})
    return PredictedImage.model_validate({name: row[name] for name in _NEEDED if name != "error"})
