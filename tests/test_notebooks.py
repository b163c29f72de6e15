"""The notebooks as committed, and run from top to bottom on phantoms."""

import ast
import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NAMES = ["01-exploration", "02-backbones", "03-tuning", "04-final"]
HOST_PATHS = re.compile(r"(?:^|[\s\"'=(])(?:/(?:home|root|tmp|work|Users|mnt|var|opt)/|[A-Z]:\\)")
EMBEDDED = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=\s]+)")
LARGEST_PHANTOM = 500
"""Pixels along a side."""


def cells(path: Path, kind: str) -> list[dict]:
    notebook = json.loads(path.read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def rasters(cell: dict) -> list[Image.Image]:
    """Return raster images in a cell's outputs, alone or inside an SVG."""
    found = []
    for output in cell["outputs"]:
        for kind, content in output.get("data", {}).items():
            text = "".join(content) if isinstance(content, list) else str(content)
            codes = [text] if kind in ("image/png", "image/jpeg") else EMBEDDED.findall(text)
            found += [Image.open(io.BytesIO(base64.b64decode(code))) for code in codes]
    return found


def sources(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "code"))


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_was_run_from_top_to_bottom(name: str):
    code = cells(FOLDER / f"{name}.ipynb", "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert not [tags(cell) for cell in code if "injected-parameters" in tags(cell)]


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_shows_phantoms_and_plots_only(name: str):
    for cell in cells(FOLDER / f"{name}.ipynb", "code"):
        images = rasters(cell)
        if "phantoms" in tags(cell):
            assert images
            assert max(max(image.size) for image in images) <= LARGEST_PHANTOM
            assert not {"DATA", "SHOW_IMAGES", "read_file"} & names_in("".join(cell["source"]))
        else:
            assert not images
    assert "SHOW_IMAGES = True" not in sources(FOLDER / f"{name}.ipynb")


def names_in(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def test_rasters_are_detected():
    png = io.BytesIO()
    Image.new("L", (7, 5)).save(png, "PNG")
    code = base64.b64encode(png.getvalue()).decode()
    inside = {"image/svg+xml": [f'<svg><image xlink:href="data:image/png;base64,\n{code}"/></svg>']}
    for data in (inside, {"image/png": code}):
        assert [p.size for p in rasters({"outputs": [{"data": data}]})] == [(7, 5)]


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_has_no_machine_paths(name: str):
    assert not HOST_PATHS.search((FOLDER / f"{name}.ipynb").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_imports_the_package_and_defines_nothing(name: str):
    tree = ast.parse(sources(FOLDER / f"{name}.ipynb"))
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(tree) if isinstance(node, defined)]
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert any(module.startswith("mammoscope") for module in imported)


def test_the_story_shows_every_notebook_and_figures_that_exist():
    story = (ROOT / "docs" / "experiments" / "story.md").read_text("utf-8")
    shown = re.findall(r"\]\(\.\./\.\./((?:images|notebooks)/[^)]*)\)", story)
    assert len(shown) > 8
    assert [path for path in shown if not (ROOT / path).exists()] == []
    named = {path.removeprefix("notebooks/") for path in shown if path.endswith(".ipynb")}
    assert named == {f"{name}.ipynb" for name in NAMES}


PLAN = """
[base.small]
preset = "smoke"
batch_size = 16
validation_fraction = 0.34
head = "mean"
head_epochs = 0
epochs = 1
trainable_from = "none"
augmentation = "none"

[[run]]
name = "backbone-inceptionv3"
base = "small"

[[run]]
name = "tuning-baseline"
base = "small"

[[run]]
name = "tuning-flips"
base = "small"
augmentation = "flips"
"""


@pytest.mark.training
def test_the_notebooks_run_on_phantoms(phantom_dataset: Path, small_run: Path, tmp_path: Path):
    """All four in reading order; the second trains its run, the third finds its runs finished."""
    import papermill

    (tmp_path / "plan.toml").write_text(PLAN)
    runs, records = tmp_path / "runs", tmp_path / "records"
    config = json.loads((small_run / "config.json").read_text())
    for name, augmentation in (("tuning-baseline", "none"), ("tuning-flips", "flips")):
        shutil.copytree(small_run, runs / name)
        stored = json.dumps({**config, "augmentation": augmentation})
        (runs / name / "config.json").write_text(stored)
    places = {"DATA": phantom_dataset, "RECORDS": records}
    training = {**places, "PLAN": tmp_path / "plan.toml", "RUNS": runs, "TRAIN": True}
    for name, parameters in {
        "01-exploration": {
            "DATA": phantom_dataset, "RECORD": tmp_path / "dataset.json", "SHOW_IMAGES": True
        },
        "02-backbones": training,
        "03-tuning": training,
        "04-final": {**places, "MODEL": runs / "backbone-inceptionv3"},
    }.items():  # fmt: skip
        papermill.execute_notebook(
            FOLDER / f"{name}.ipynb",
            tmp_path / f"{name}.ipynb",
            {k: v if isinstance(v, bool) else str(v) for k, v in parameters.items()},
            cwd=FOLDER,
            progress_bar=False,
        )
    shown = {name: drawings(tmp_path / f"{name}.ipynb") for name in NAMES}
    assert shown == {"01-exploration": 9, "02-backbones": 4, "03-tuning": 3, "04-final": 10}
    assert json.loads((tmp_path / "dataset.json").read_text())["patients"]["count"] == 12
    assert {path.name for path in records.iterdir()} == {
        "backbone-inceptionv3", "tuning-baseline", "tuning-flips"
    }  # fmt: skip


def drawings(path: Path) -> int:
    return sum(
        "image/svg+xml" in output.get("data", {})
        for cell in cells(path, "code")
        for output in cell["outputs"]
    )
