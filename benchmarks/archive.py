"""``make bench-archive``: the archive worker compared with ``mammoscope predict``.

Both take the same studies of four views, ``predict`` from a folder, the worker from an Orthanc that
this starts, and which also stores the results. Both also take a single study: the difference is the
time of the others, without the start of the program. Bars: the worker's studies per second as a
share of those of ``predict``, Orthanc's processor time subtracted; and no report lost or doubled.
The processor time of both commands is printed too: other programs disturb it less.
"""

import argparse
import resource
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import report
from benchmarks.processes import processor_time_s
from benchmarks.starting import command_s
from tests.archive.servers import Orthanc

LEAST_SHARE: Final = 0.6
"""Bar: studies per second, as a share of those of ``mammoscope predict``."""

_QUIET: Final = {
    "MAMMOSCOPE_ARCHIVE_QUIET_S": "0",
    "MAMMOSCOPE_ARCHIVE_METRICS_BIND": "",
}


class Taken(NamedTuple):
    """Seconds of a command, its processor time, and that of Orthanc."""

    elapsed_s: float
    cpu_s: float
    orthanc_s: float = 0.0

    def without(self, start: "Taken") -> "Taken":
        """Return what it took longer than another command."""
        return Taken(*(mine - its for mine, its in zip(self, start, strict=True)))


def timed(*words: str) -> Taken:
    """Run a command of ``mammoscope``."""
    before = _cpu_of_commands_s()
    elapsed_s = command_s(*words, **_QUIET)
    return Taken(elapsed_s, _cpu_of_commands_s() - before)


def _cpu_of_commands_s() -> float:
    """Processor time of all commands that have ended, with their own processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reported(orthanc: Orthanc, source: Path, state: Path) -> Taken:
    """Let a worker report the studies of a folder."""
    for path in sorted(source.rglob("*.dcm")):
        orthanc.store(path.read_bytes())
    before = processor_time_s(orthanc.process.pid)
    taken = timed(
        *("archive", "worker", "--dicomweb", orthanc.dicomweb, "--from", "2020-01-01"),
        *("--state", f"sqlite:///{state}", "--until-idle"),
    )
    return taken._replace(orthanc_s=processor_time_s(orthanc.process.pid) - before)


def compared(studies: int) -> dict[str, Any]:
    """Measure, and return the results.

    Parameters
    ----------
    studies
        Number of studies to time, besides a single one for the start.
    """
    facts = report.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, many = folder / "one", folder / "many"
        for seed, (path, count) in enumerate({one: 1, many: studies + 1}.items()):
            words = ("--studies", "--count", str(count), "--seed", str(seed))
            command_s("phantoms", str(path), *words)
        command_s("predict", str(one))  # compiles the network
        predict = timed("predict", str(many)).without(timed("predict", str(one)))
        orthanc = Orthanc(folder)
        orthanc.start()
        try:
            start = reported(orthanc, one, folder / "state.db")
            worker = reported(orthanc, many, folder / "state.db").without(start)
            reports = len(orthanc.instances("SR"))
        finally:
            orthanc.stop()
    return {
        "benchmark": "archive",
        "machine": facts,
        "studies": studies,
        "predict": predict._asdict(),
        "worker": worker._asdict(),
        "share": report.ratio(predict.elapsed_s, worker.elapsed_s - worker.orthanc_s),
        "cpu_share": report.ratio(predict.cpu_s, worker.cpu_s),
        "missing_reports": studies + 2 - reports,
    }


def bars(results: dict[str, Any]) -> list[report.Bar]:
    """Return the bars."""
    return [
        report.Bar("studies/s, of predict's", results["share"], LEAST_SHARE, at_least=True),
        report.Bar("reports lost or doubled", abs(results["missing_reports"]), 0.0, at_least=False),
    ]


def text(results: dict[str, Any]) -> str:
    """Format the results with their bars."""
    rows = [
        (name, *(f"{results[name][key] / results['studies']:.2f}" for key in Taken._fields))
        for name in ("predict", "worker")
    ]
    titles = ("seconds per study", "elapsed", "processor", "Orthanc's processor")
    return "\n".join(
        [
            report.heading(results["machine"]),
            report.table(titles, rows),
            f"predict takes {results['cpu_share']:.2f} of the worker's processor time.",
            "",
            report.table(("bar", "measured", "limit", ""), [b.cells() for b in bars(results)]),
        ]
    )


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.archive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--studies", type=int, default=6, help="studies to time")
    options = parser.parse_args()
    results = compared(options.studies)
    path = report.write("archive", results)
    print(text(results))
    print(f"\nWritten to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
