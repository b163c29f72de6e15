"""``mammoscope serve``: run the HTTP service with gunicorn."""

import argparse
import errno
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import DEFAULT_MODEL
from mammoscope.errors import ConfigurationError
from mammoscope.settings.frozen import descriptions
from mammoscope.settings.service import ENVIRONMENT_PREFIX, ServiceSettings
from mammoscope.system.listening import listen_on, parse_bind

_CONFIGURATION: Final = "python:mammoscope.service.gunicorn_settings"
_WIDTH: Final = 78


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    bind = ServiceSettings.model_fields["bind"].default
    parser = subparsers.add_parser(
        "serve",
        help="start the HTTP service",
        description=textwrap.fill(
            f"Serve predictions over HTTP on {bind} until SIGTERM or Ctrl-C. The environment "
            "variables below configure the service.",
            _WIDTH,
        ),
        epilog="settings and their defaults:\n\n" + "\n".join(_settings()).replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        metavar="PATH",
        type=Path,
        help=f"model folder, or the .keras file inside it {DEFAULT_MODEL}",
    )
    parser.set_defaults(run=run)


def _settings() -> Iterator[str]:
    """Yield the lines of the help for each setting."""
    described = descriptions(ServiceSettings)
    for name, field in ServiceSettings.model_fields.items():
        default = "not set" if field.default is None else json.dumps(field.default).strip('"')
        yield f"  {ENVIRONMENT_PREFIX}{name.upper()} ({default})"
        yield textwrap.fill(
            described[name], _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )


def run(args: argparse.Namespace) -> int:
    """Replace this process with gunicorn; does not return.

    Raises
    ------
    ConfigurationError
        If a setting is invalid, the address cannot be used, or gunicorn cannot be started.
    """
    environment = dict(os.environ)
    if args.model is not None:
        environment[f"{ENVIRONMENT_PREFIX}MODEL"] = str(args.model)
    # Reported before gunicorn starts, which would print frames and try again for seconds.
    _require_free(ServiceSettings.from_environment(environment).bind)
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


def _require_free(bind: str) -> None:
    """Raise ConfigurationError if the address cannot be used."""
    _, port = parse_bind(bind)
    try:
        listen_on(bind).close()
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {port} is in use; stop the other program or set "
                f"{ENVIRONMENT_PREFIX}BIND=127.0.0.1:PORT."
            ) from err
        raise ConfigurationError(
            f"The service cannot listen on {bind}: no such address here, or no permission; set "
            f"{ENVIRONMENT_PREFIX}BIND=127.0.0.1:PORT."
        ) from err
