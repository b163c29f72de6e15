"""Films with outlined lesions: reading, boxes in the crop, and targets of cells."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.data.lesions import preprocess_film, read_films, read_lesions
from mammoscope.errors import DatasetNotFoundError, MetadataError
from mammoscope.model.cells import UNKNOWN, cell_edges, cell_targets

SIZE, GRID = (512, 288), (14, 7)
COLUMNS = ("file", "patient", "side", "view", "pathology", "x0", "y0", "x1", "y1", "use")
ROW = {
    "file": "a.png", "patient": "p", "side": "L", "view": "CC", "pathology": "MALIGNANT",
    "x0": "0.2", "y0": "0.3", "x1": "0.4", "y1": "0.5", "use": "train",
}  # fmt: skip


def write_table(folder: Path, *rows: dict[str, str]) -> Path:
    with (folder / "lesions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return folder


def test_films_of_other_uses_are_ignored(tmp_path):
    uses = ("train", "heldout", "twin", "external")
    write_table(tmp_path, *({"file": f"{use}.png", "use": use} for use in uses))
    assert [e.image_id for e in read_lesions(tmp_path).examples] == ["train.png", "heldout.png"]
    assert [film.example.image_id for film in read_films(tmp_path, "train")] == ["train.png"]


def test_a_film_has_all_its_boxes_and_is_malignant_if_one_is(tmp_path):
    write_table(
        tmp_path,
        {"pathology": "BENIGN_WITHOUT_CALLBACK"},
        {"pathology": "MALIGNANT-mixed", "x0": "0.1"},
        {"file": "b.png", "pathology": "BENIGN"},
    )
    first, second = read_films(tmp_path, "train")
    assert first.boxes[:, 0].tolist() == [1.0, 0.0]
    assert first.boxes[1, 1:].tolist() == pytest.approx([0.1, 0.3, 0.4, 0.5])
    assert (first.example.label, second.example.label) == (1, 0)


@pytest.mark.parametrize(
    "row", [{"pathology": "BIRADS-5"}, {"x0": "0.5"}, {"y1": "1.2"}, {"y1": "a"}, {"x0": "nan"}]
)
def test_invalid_boxes_are_refused(row, tmp_path):
    write_table(tmp_path, row)
    with pytest.raises(MetadataError):
        read_films(tmp_path, "train")


def test_invalid_tables_are_refused(tmp_path):
    with pytest.raises(DatasetNotFoundError):
        read_films(tmp_path, "train")
    (tmp_path / "lesions.csv").write_text("file,patient\n")
    with pytest.raises(MetadataError, match="lacks view, pathology"):
        read_films(tmp_path, "train")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_box_stays_on_its_lesion_through_crop_and_mirroring(mirrored, tmp_path):
    from PIL import Image

    rows, columns = np.mgrid[0:800, 0:800]
    inside = ((rows - 400) / 330) ** 2 + (columns / 420) ** 2 < 1
    film = np.where(inside, 90 + 20 * np.sin(rows / 9.0) * np.sin(columns / 7.0), 3)
    film[430:470, 150:200] = 240
    film = film[:, ::-1] if mirrored else film
    Image.fromarray(film.astype(np.uint8)).save(tmp_path / "a.png")
    ends = (600, 650) if mirrored else (150, 200)
    box = {"x0": ends[0] / 800, "x1": ends[1] / 800, "y0": 430 / 800, "y1": 470 / 800}
    write_table(tmp_path, {name: str(value) for name, value in box.items()})
    (one,) = read_films(tmp_path, "train")
    preprocessed, boxes = preprocess_film(one, SIZE)
    assert preprocessed.mirrored is mirrored
    _, x0, y0, x1, y1 = boxes[0] * [1, SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
    found_rows, found_columns = np.nonzero(preprocessed.pixels > 252)
    assert (found_rows.min(), found_rows.max() + 1) == pytest.approx((y0, y1), abs=4)
    assert (found_columns.min(), found_columns.max() + 1) == pytest.approx((x0, x1), abs=4)


@given(x0=st.floats(0, 0.98), y0=st.floats(0, 0.98), w=st.floats(0.01, 1.0), h=st.floats(0.01, 1.0))
def test_every_box_has_a_cell_at_its_centre_and_none_far_from_it(x0, y0, w, h):
    x1, y1 = min(x0 + w, 1.0), min(y0 + h, 1.0)
    targets = cell_targets(np.array([[1, x0, y0, x1, y1]], np.float32), SIZE, GRID)
    assert not targets[..., 0].any()
    rows, columns = (cell_edges(*side) for side in zip(SIZE, GRID, strict=True))
    for row, column in zip(*np.nonzero(targets[..., 1]), strict=True):
        assert rows[row] <= y1 + 1e-6
        assert rows[row + 1] >= y0 - 1e-6
        assert columns[column] <= x1 + 1e-6
        assert columns[column + 1] >= x0 - 1e-6
    row = np.searchsorted(rows, (y0 + y1) / 2) - 1
    column = np.searchsorted(columns, (x0 + x1) / 2) - 1
    assert targets[max(row, 0), max(column, 0), 1] == 1


def test_targets_of_a_box_that_fills_two_cells_and_touches_others():
    rows, columns = cell_edges(512, 14), cell_edges(288, 7)
    box = [0, columns[2], rows[3], columns[4], rows[4] + 0.3 * (rows[5] - rows[4])]
    targets = cell_targets(np.array([box], np.float32), SIZE, GRID)[..., 0]
    assert np.argwhere(targets == 1).tolist() == [[3, 2], [3, 3]]
    assert np.argwhere(targets == UNKNOWN).tolist() == [[4, 2], [4, 3]]
