"""Run the notebooks from top to bottom and save them with their outputs.

Usage: .venv/bin/python scripts/notebooks.py DATA [NAME...]

DATA replaces the notebook's own data folder for this run only. A notebook whose outputs would
contain a path of this machine is not saved.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def run(path: Path, data: Path) -> None:
    """Run a notebook in its folder and save it."""
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    source = parameters.source
    parameters.source = f"{source}\nDATA = {str(data)!r}"
    NotebookClient(
        notebook, timeout=None, record_timing=False, resources={"metadata": {"path": FOLDER}}
    ).execute()
    parameters.source = source
    text = nbformat.writes(notebook)
    for folder in (data, FOLDER.parent, Path.home(), Path(sys.prefix)):
        if str(folder) in text:
            sys.exit(f"{path.name} was not saved: its outputs contain a path of this machine.")
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run the given notebooks, or all of them."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Usage: scripts/notebooks.py DATA [NAME...]; DATA is a folder of mammograms")
    data, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    # The notebooks train nothing, and this backend starts fastest.
    os.environ.setdefault("KERAS_BACKEND", "openvino")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            print(path.name, flush=True)
            run(path, data)


if __name__ == "__main__":
    main()
