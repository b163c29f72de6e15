"""Run the notebooks from top to bottom and keep them with their outputs.

Usage: .venv/bin/python .ci/notebooks.py DATA [NAME...]

The parameters in a notebook stay as they are; DATA takes their place for the run only, and a
notebook that would keep a path of this machine is not written.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def run(path: Path, data: Path) -> None:
    """Run a notebook in its folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    source = parameters.source
    parameters.source = f"{source}\nDATA = {str(data)!r}"
    NotebookClient(
        notebook, timeout=None, record_timing=False, resources={"metadata": {"path": FOLDER}}
    ).execute()
    parameters.source = source
    text = nbformat.writes(notebook)
    for place in (data, FOLDER.parent, Path.home(), Path(sys.prefix)):
        if str(place) in text:
            sys.exit(f"{path.name} was not written: its outputs hold a path of this machine.")
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run the notebooks named, or all."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Usage: .ci/notebooks.py DATA [NAME...]; DATA is a folder of mammograms")
    data, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    # Nothing is trained here, and this backend starts in a second.
    os.environ.setdefault("KERAS_BACKEND", "openvino")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            print(path.name, flush=True)
            run(path, data)


if __name__ == "__main__":
    main()
