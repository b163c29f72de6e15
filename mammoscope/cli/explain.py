"""``mammoscope explain FILE --output PNG``: draw the heat map of a prediction."""

import argparse
from pathlib import Path
from typing import Final

from PIL import Image

from mammoscope.cli.arguments import HelpFormatter, add_model, add_operating_point
from mammoscope.cli.output import shown
from mammoscope.errors import StorageError, UnreadableFileError
from mammoscope.imaging.arrays import Colours
from mammoscope.imaging.heat_map import heat_map, heat_range, overlay
from mammoscope.imaging.network_input import display_of
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.system.files import is_folder, replacing
from mammoscope.system.progress import phase

_CANNOT_WRITE: Final = "The heat map cannot be written: no permission or no space left."


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "explain",
        help="draw the heat map of a prediction",
        description=(
            "Predict one mammogram and draw the heat map over it, in the image's own size and "
            "geometry. Colours range from the least heat (dark blue) to the greatest (yellow) "
            f"in this image and cannot be compared between images. {RESEARCH_USE_NOTICE}"
        ),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the mammogram")
    parser.add_argument(
        "--output",
        metavar="PNG",
        type=Path,
        required=True,
        help="image to write; an existing file is replaced",
    )
    add_model(parser)
    add_operating_point(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict, draw and write; 0.

    Raises
    ------
    ArtifactError, ConfigurationError
        If the model cannot be used or has no such operating point.
    ImageError
        If the image is refused.
    StorageError
        If the heat map cannot be written, or would replace the mammogram.
    """
    output: Path = args.output
    _check_output(output, args.file)
    if is_folder(args.file):
        raise UnreadableFileError(f"{shown(args.file)} is a folder; give one image.")
    artifact = load_artifact(args.model)
    mammogram = read_file(args.file)

    from mammoscope.model.engine import load_engine

    with phase("load the model"):
        engine = load_engine(artifact)
    prediction = engine.predict(mammogram, operating_point=args.operating_point)
    _write(output, overlay(display_of(mammogram), prediction.logit_map, prediction.preprocessed))
    low, high = heat_range(*heat_map(prediction.logit_map, prediction.preprocessed))
    print(
        f"{prediction.label}, probability {prediction.probability:.3f}; "
        f"model {prediction.model_version}"
    )
    print(f"heat from {low:+.3f} (dark blue) to {high:+.3f} (yellow) written to {output}")
    for warning in prediction.warnings:
        print(warning)
    print(RESEARCH_USE_NOTICE)
    return 0


def _check_output(output: Path, source: Path) -> None:
    """Refuse an output file that cannot or must not be written, before the work."""
    try:
        if output.is_dir():
            raise StorageError("--output is a folder; give a file name.")
        if not output.parent.is_dir():
            raise StorageError("The folder of the output file does not exist.")
        if output.exists() and source.exists() and output.samefile(source):
            raise StorageError("The heat map would overwrite the mammogram; choose another file.")
    except OSError as err:
        raise StorageError(_CANNOT_WRITE) from err


def _write(path: Path, pixels: Colours) -> None:
    """Write a PNG atomically, whatever the file's name ends in."""
    try:
        with replacing(path) as target, target.open("wb") as stream:
            Image.fromarray(pixels).save(stream, "PNG")
    except OSError as err:
        raise StorageError(_CANNOT_WRITE) from err
