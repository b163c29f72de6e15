"""``python -m benchmarks engine|service|train``: measure, print a table, write JSON."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import report
from mammoscope.settings.service import model_path


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("benchmark", choices=("engine", "service", "train"))
    parser.add_argument(
        "--model", type=Path, default=model_path(), help="model folder (not for train)"
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="length of each measurement, without warm-up"
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument(
        "--only", default="", help="part of the names of the servers to compare with Mammoscope"
    )
    options = parser.parse_args()
    # Servers are stopped on exit, however the run ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    if options.benchmark == "engine":
        from benchmarks import engine

        results = engine.run(options.model, seconds=options.seconds, rounds=options.rounds)
        text = engine.text(results)
    elif options.benchmark == "service":
        from benchmarks import comparison, service

        results = service.run(
            options.model, seconds=options.seconds, rounds=options.rounds, only=options.only
        )
        text = comparison.text(results)
    else:
        from benchmarks import train

        results = train.run(rounds=options.rounds)
        text = train.text(results)
    path = report.write(options.benchmark, results)
    print(f"{text}\n\nWritten to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
