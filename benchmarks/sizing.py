"""``make sizing``: pods and cost for 10 to 10,000 requests per second, and for a million studies.

The cost of a request is the service's processor time per answer in ``results/service.json``, or
that of the network alone in ``results/engine.json``. Everything else comes from the deployment: the
autoscaler's target, bounds and steps, and a pod's requests. A million studies are predicted by
``mammoscope bulk`` on nodes that do nothing else.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Self

import yaml

from benchmarks import report
from benchmarks.comparison import JUDGED
from benchmarks.contenders import OURS
from benchmarks.environments import ROOT

RATES: Final = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Requests per second."""

STUDIES: Final = 1_000_000
VIEWS: Final = 4
"""Images of a screening study: CC and MLO of both breasts."""

NODES: Final = (1, 4, 16, 64)
NODE_CORES: Final = 16
NODE_HOUR: Final = 0.80
"""Numbers of nodes, the cores of one, and a price similar to those of clouds, on demand."""

CORE_HOUR: Final = 0.04
GIB_HOUR: Final = 0.005
"""Prices similar to those of clouds for general-purpose machines, on demand."""

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_GIB: Final = 2**30
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Deployment:
    """The manifests' facts about pods and their number.

    Parameters
    ----------
    cores, memory_bytes
        Requested by a pod.
    utilisation
        Target share of the requested cores for the autoscaler.
    least, most
        Minimum and maximum number of pods.
    percent, pods, period_s
        Growth per period: the larger of a percentage and a number of pods.
    """

    cores: float
    memory_bytes: int
    utilisation: float
    least: int
    most: int
    percent: int
    pods: int
    period_s: int

    @classmethod
    def rendered(cls, folder: Path) -> Self:
        """Read the manifests rendered by kustomize from a folder."""
        kubectl = Path(sys.executable).with_name("kubectl")
        text = subprocess.run(
            [kubectl, "kustomize", folder], check=True, capture_output=True, text=True
        ).stdout
        specs = {each["kind"]: each.get("spec") for each in yaml.safe_load_all(text)}
        (container,) = specs["Deployment"]["template"]["spec"]["containers"]
        scaler = specs["HorizontalPodAutoscaler"]
        (target,) = (each["resource"]["target"] for each in scaler["metrics"])
        policies = scaler["behavior"]["scaleUp"]["policies"]
        steps = {each["type"]: each["value"] for each in policies}
        (period_s,) = {each["periodSeconds"] for each in policies}
        requests = container["resources"]["requests"]
        return cls(
            float(quantity(requests["cpu"])),
            int(quantity(requests["memory"])),
            target["averageUtilization"] / 100,
            scaler["minReplicas"],
            scaler["maxReplicas"],
            steps["Percent"],
            steps["Pods"],
            period_s,
        )

    def pods_for(self, rate: float, core_s: float) -> int:
        """Return the pods for `rate` requests per second of `core_s` processor seconds each."""
        return max(self.least, math.ceil(rate * core_s / (self.cores * self.utilisation)))

    def seconds_to_grow(self, before: int, after: int) -> int:
        """Return the seconds needed to grow from `before` to `after` pods."""
        seconds = 0
        while before < after:
            before += max(self.pods, math.ceil(before * self.percent / 100))
            seconds += self.period_s
        return seconds


@dataclass(frozen=True, slots=True)
class Row:
    """Results for one rate."""

    requests_per_s: int
    pods: int
    cores: float
    memory_gib: float
    seconds_to_grow: int
    cost_per_hour: float
    cost_per_million: float


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A million studies on a number of nodes."""

    nodes: int
    hours: float
    cost: float


def bulk_rows(core_s: float, node_cores: int, node_hour: float) -> list[BulkRow]:
    """Return a row for each of `NODES`.

    Parameters
    ----------
    core_s
        Processor seconds per image.
    node_cores
        Cores of a node, all of them at work.
    node_hour
        Price of a node per hour.
    """
    node_hours = STUDIES * VIEWS * core_s / node_cores / _HOUR_S
    return [BulkRow(nodes, node_hours / nodes, node_hours * node_hour) for nodes in NODES]


def quantity(text: str) -> Fraction:
    """Parse a Kubernetes quantity, such as 500m or 3Gi."""
    for unit, factor in _BINARY.items():
        if text.endswith(unit):
            return Fraction(text.removesuffix(unit)) * factor
    return Fraction(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def core_seconds(results: Mapping[str, Any]) -> float:
    """Return the processor seconds per request.

    Parameters
    ----------
    results
        Of ``make bench-service``, or of ``make bench-engine``: of its fastest engine.

    Raises
    ------
    ValueError
        If the results have no such value.
    """
    try:
        if results["benchmark"] == "service":
            at = results["servers"][OURS.name]["clients"][str(JUDGED)]
            return float(at["server_cpu_s"]["median"])
        rates = [
            float(engine["many_per_s"]["median"])
            for name, engine in results["engines"].items()
            if name.startswith("OpenVINO") and "failure" not in engine
        ]
        return float(results["machine"]["processors"] / max(rates))
    except (KeyError, ValueError) as err:
        raise ValueError("The results have no time per request.") from err


def rows(deployment: Deployment, core_s: float, core_hour: float, gib_hour: float) -> list[Row]:
    """Return a row for each of `RATES`; pods grow from those of the row before."""
    found: list[Row] = []
    before = deployment.least
    for rate in RATES:
        pods = deployment.pods_for(rate, core_s)
        cores, memory_gib = pods * deployment.cores, pods * deployment.memory_bytes / _GIB
        per_hour = cores * core_hour + memory_gib * gib_hour
        found.append(
            Row(
                rate,
                pods,
                cores,
                memory_gib,
                deployment.seconds_to_grow(before, pods),
                per_hour,
                1e6 * per_hour / (rate * _HOUR_S),
            )
        )
        before = pods
    return found


def text(results: Mapping[str, Any], deployment: Deployment, found: list[Row]) -> str:
    """Format the rows as a table, with their assumptions."""
    core_s = core_seconds(results)
    cells = [
        [
            f"{row.requests_per_s:,}",
            f"{row.pods:,}" + ("*" if row.pods > deployment.most else ""),
            f"{row.cores:,.0f}",
            f"{row.memory_gib:,.0f}",
            f"{row.seconds_to_grow / 60:.0f}",
            f"{row.cost_per_hour:,.2f}",
            f"{row.cost_per_million:,.2f}",
        ]
        for row in found
    ]
    titles = (
        "requests/s", "pods", "cores", "GiB", "minutes to grow", "cost per hour",
        "per million images",
    )  # fmt: skip
    lines = [
        report.heading(results["machine"]),
        f"{1 / core_s:.2f} requests per second per core "
        f"({core_s * 1000:.0f} ms of processor time each"
        + (")." if results["benchmark"] == "service" else ", of the network alone)."),
        f"A pod requests {deployment.cores:g} core{'s' * (deployment.cores != 1)} and "
        f"{deployment.memory_bytes / _GIB:g} GiB; the autoscaler aims at "
        f"{deployment.utilisation:.0%} of the cores, from {deployment.least} to {deployment.most} "
        "pods.",
        "",
        report.table(titles, cells),
        "",
        "Minutes to grow: from the row above, or from the minimum number of pods.",
    ]
    if any(row.pods > deployment.most for row in found):
        lines.append(f"* more than maxReplicas, {deployment.most}: raise it for such rates.")
    return "\n".join(lines)


def bulk_text(found: list[BulkRow], node_cores: int, node_hour: float) -> str:
    """Format the rows of a million studies, with their assumptions."""
    cells = [[f"{row.nodes}", f"{row.hours:,.1f}", f"{row.cost:,.2f}"] for row in found]
    return "\n".join(
        [
            f"{STUDIES:,} studies of {VIEWS} images with mammoscope bulk, on nodes of {node_cores} "
            f"cores at {node_hour:g} per hour each:",
            "",
            report.table(("nodes", "hours", "cost"), cells),
        ]
    )


def main() -> None:
    """Read results and manifests, print the table and write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizing",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--results", type=Path, default=report.RESULTS / "service.json", help="benchmark results"
    )
    parser.add_argument(
        "--manifests",
        type=Path,
        default=ROOT / "kube-config" / "overlays" / "production",
        help="kustomize folder with a Deployment and its autoscaler",
    )
    parser.add_argument(
        "--core-hour", type=float, default=CORE_HOUR, help="price of a core per hour"
    )
    parser.add_argument("--gib-hour", type=float, default=GIB_HOUR, help="price of a GiB per hour")
    parser.add_argument("--node-cores", type=int, default=NODE_CORES, help="cores of a node")
    parser.add_argument(
        "--node-hour", type=float, default=NODE_HOUR, help="price of a node per hour"
    )
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text("utf-8"))
        core_s = core_seconds(results)
    except (OSError, ValueError):
        raise SystemExit(
            f"{options.results.name} has no such results; run make bench-service first."
        ) from None
    deployment = Deployment.rendered(options.manifests)
    found = rows(deployment, core_s, options.core_hour, options.gib_hour)
    archive = bulk_rows(core_s, options.node_cores, options.node_hour)
    path = report.write(
        "sizing",
        {
            "benchmark": "sizing",
            "machine": results["machine"],
            "core_s": core_s,
            "core_hour": options.core_hour,
            "gib_hour": options.gib_hour,
            "deployment": asdict(deployment),
            "rows": [asdict(row) for row in found],
            "node_cores": options.node_cores,
            "node_hour": options.node_hour,
            "bulk": [asdict(row) for row in archive],
        },
    )
    print(text(results, deployment, found))
    print(f"A core costs {options.core_hour:g} per hour, a GiB {options.gib_hour:g}.")
    print(f"\n{bulk_text(archive, options.node_cores, options.node_hour)}")
    print(f"\nWritten to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
