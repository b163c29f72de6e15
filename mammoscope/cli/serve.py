"""``mammoscope serve``: run the HTTP service with gunicorn."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import DEFAULT_MODEL
from mammoscope.errors import ConfigurationError
from mammoscope.settings.service import ENVIRONMENT_PREFIX, ServiceSettings

_CONFIGURATION: Final = "python:mammoscope.service.gunicorn_settings"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    bind = ServiceSettings.model_fields["bind"].default
    parser = subparsers.add_parser(
        "serve",
        help="start the HTTP service",
        description=(
            f"Serve predictions over HTTP on {bind} until SIGTERM or Ctrl-C. Environment variables "
            f"{ENVIRONMENT_PREFIX}... configure the service; {ENVIRONMENT_PREFIX}BIND sets "
            "another address and port."
        ),
    )
    parser.add_argument(
        "--model",
        metavar="PATH",
        type=Path,
        help=f"model folder, or a .keras file in one {DEFAULT_MODEL}",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replace this process with gunicorn; does not return.

    Raises
    ------
    ConfigurationError
        If a setting is invalid, or gunicorn cannot be started.
    """
    environment = dict(os.environ)
    if args.model is not None:
        environment[f"{ENVIRONMENT_PREFIX}MODEL"] = str(args.model)
    ServiceSettings.from_environment(environment)  # reports invalid settings before gunicorn starts
    checkout = str(Path(__file__).resolve().parents[2])
    if sys.path[0] == checkout:  # not installed, so gunicorn must be told where the package is
        paths = (checkout, environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    try:
        os.execve(  # noqa: S606 - no shell, fixed arguments
            sys.executable,
            [sys.executable, "-m", "gunicorn", "--config", _CONFIGURATION],
            environment,
        )
    except OSError as err:
        raise ConfigurationError("This Python cannot start gunicorn; is it installed?") from err
