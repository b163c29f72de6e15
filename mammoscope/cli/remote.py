"""``python test.py URL|FILE|FOLDER...``: send images to a running service.

Prints a table, or one JSON object per line with --json. With --study, prints one result by image,
breast and patient. Exit status: 0 if every image was predicted, 1 if an image was refused, 2 for
wrong usage or if no server answers, 130 if interrupted.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mammoscope.cli.ending import EXIT_USAGE, described, ended
from mammoscope.cli.output import STANDARD_OUTPUT, UNKNOWN_PATIENT, shown
from mammoscope.client import DEFAULT_SERVER, Client
from mammoscope.errors import (
    MammoscopeError,
    ServerAnswerError,
    ServerUnreachableError,
    UsageError,
)
from mammoscope.imaging.image_files import walk_images
from mammoscope.model.prediction import AGES_YEARS
from mammoscope.studies import find_study
from mammoscope.system.files import is_folder

_WIDTH: Final = 44
_LONGEST_WAIT_S: Final = 86_400
_HEAD: Final = f"{'image':<{_WIDTH}}  label       probability  remarks"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="test.py", description="Send images to a running service and print its predictions."
    )
    parser.add_argument("images", nargs="*", metavar="URL|FILE|FOLDER")
    parser.add_argument(
        "--server",
        type=_server,
        default=DEFAULT_SERVER,
        metavar="URL",
        help="default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line, no table")
    study = (
        "treat the images as one study: files, folders or a manifest (CSV: file, patient_id, "
        "laterality, view)"
    )
    parser.add_argument("--study", action="store_true", help=study)
    key = "file with the API key, for servers that require one"
    parser.add_argument("--key-file", type=Path, metavar="FILE", help=key)
    age = "the woman's age in years, for all images"
    parser.add_argument("--age", type=_age, metavar="YEARS", help=age)
    wait = "wait for a service that is starting (default: %(default)s)"
    parser.add_argument("--wait", type=_seconds, default=0.0, metavar="SECONDS", help=wait)
    arguments = parser.parse_args()
    if arguments.json and STANDARD_OUTPUT in arguments.images:
        # Other commands take a path for --json; here, standard output is the only destination.
        arguments.images.remove(STANDARD_OUTPUT)
    if not arguments.images:
        parser.error(
            "give the images to predict, as in: python test.py samples/image.jpg. A service must "
            f"be running at {arguments.server}; mammoscope serve starts one."
        )
    if arguments.study and arguments.age is not None:
        parser.error("--age cannot be combined with --study")
    if arguments.study and any(map(is_url, arguments.images)):
        parser.error("--study takes files, not URLs")
    return arguments


def _server(argument: str) -> str:
    if not is_url(argument):
        raise argparse.ArgumentTypeError(
            f"{argument!r} is not a URL; write http:// before the host, as in {DEFAULT_SERVER}"
        )
    return argument


def _age(argument: str) -> float:
    low, high = AGES_YEARS
    return _number(argument, low, high, f"a number of years from {low} to {high}")


def _seconds(argument: str) -> float:
    return _number(argument, 0.0, _LONGEST_WAIT_S, f"seconds from 0 to {_LONGEST_WAIT_S}")


def _number(argument: str, low: float, high: float, allowed: str) -> float:
    try:
        number = float(argument)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{argument!r} is not {allowed}")
    return number


def is_url(argument: str) -> bool:
    """Whether the server must fetch the image itself."""
    return argument.startswith(("http://", "https://"))


def sources(arguments: list[str]) -> Iterator[str | Path]:
    """Yield URLs as text and files as paths; for a folder, the images in it and its subfolders."""
    for argument in arguments:
        if is_url(argument):
            yield argument
        elif is_folder(path := Path(argument)):
            # A folder that has no images or cannot be listed is reported like a refused file.
            unlisted: list[OSError] = []
            found = list(walk_images(path, unlisted.append))
            yield from found or [path]
            yield from (Path(error.filename) for error in unlisted if found)
        else:
            yield path


def ask(client: Client, source: str | Path, age: float | None) -> dict[str, Any]:
    """Return the prediction for one image, or the reason for a refusal under ``error``."""
    try:
        return {"picture": str(source), **client.predict(source, age=age)}
    except ServerUnreachableError:
        raise
    except MammoscopeError as err:
        code = err.problem_code if isinstance(err, ServerAnswerError) else None
        return {"picture": str(source), "error": {"code": code or err.code, "detail": str(err)}}


def read_key(file: Path | None) -> str | None:
    """Return the API key in a file; None without a file."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError("The API key file cannot be read.") from err


def row(name: str, answer: dict[str, Any], remarks: str) -> str:
    """Return the table row of one image, breast or patient."""
    name = shown(name)
    name = name if len(name) <= _WIDTH else f"…{name[1 - _WIDTH :]}"
    if "error" in answer:
        return f"{name:<{_WIDTH}}  {'refused':<23}  {remarks}"
    label, probability = answer["label"], answer["probability"]
    return f"{name:<{_WIDTH}}  {label:<9}  {probability:>12.4f}  {remarks}".rstrip()


def image_row(answer: dict[str, Any]) -> str:
    """Return the table row of a single image."""
    error = answer.get("error")
    return row(
        answer["picture"], answer, error["detail"] if error else " ".join(answer["warnings"])
    )


def study_rows(study: dict[str, Any]) -> Iterator[str]:
    """Yield the table rows of a study: images, breasts, patients."""
    for image in study["images"]:
        error = image.get("error")
        yield row(image["file"], image, error["message"] if error else " ".join(image["warnings"]))
    for level in ("breast", "patient"):
        for each in study[f"{level}s"]:
            side = f"{each['laterality']} of " if level == "breast" else ""
            missing = ", ".join(each["missing_views"])
            remarks = f"{each['images']} image{'s' * (each['images'] != 1)}"
            remarks += f", without {missing}" if missing else ""
            yield row(f"{level} {side}{each['patient']}", each, remarks)


def ask_one_by_one(client: Client, arguments: argparse.Namespace) -> int:
    """Send each image and print its result at once; return the number of refusals."""
    waiting, refused = list(sources(arguments.images)), 0
    if not arguments.json:
        print(_HEAD)
    for number, source in enumerate(waiting, start=1):
        if sys.stderr.isatty():
            print(f"{number}/{len(waiting)}", end="\r", file=sys.stderr)
        answer = ask(client, source, arguments.age)
        refused += "error" in answer
        print(json.dumps(answer) if arguments.json else image_row(answer), flush=True)
    return refused


def ask_about_study(client: Client, arguments: argparse.Namespace) -> int:
    """Send a study and print the result; return the number of refusals."""
    try:
        # An image given twice, as in a folder and by its name, must not count twice.
        given = (each for path in arguments.images for each in find_study(Path(path)))
        study = client.study(list(dict.fromkeys(given)))
    except ServerUnreachableError:
        raise
    except MammoscopeError as err:
        print(f"test.py: {described(err)}", file=sys.stderr)
        return 1
    print(json.dumps(study) if arguments.json else "\n".join([_HEAD, *study_rows(study)]))
    refused = sum("error" in image for image in study["images"])
    if not study["patients"] and refused < len(study["images"]):
        print(f"test.py: {UNKNOWN_PATIENT}", file=sys.stderr)
    return refused


def main() -> int:
    """Run the command line; returns the exit status."""
    arguments = parse_arguments()
    return ended("test.py", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    """Send the images; 0, 1 if an image was refused, or 2 if no server answers."""
    ask_all = ask_about_study if arguments.study else ask_one_by_one
    try:
        with Client(arguments.server, api_key=read_key(arguments.key_file)) as client:
            client.wait_ready(arguments.wait)
            refused = ask_all(client, arguments)
    except ServerAnswerError as err:
        hint = "; start one with `mammoscope serve`" * isinstance(err, ServerUnreachableError)
        print(f"test.py: {err} ({arguments.server}{hint})", file=sys.stderr)
        return EXIT_USAGE
    return int(refused > 0)
