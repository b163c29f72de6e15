"""Summarise the measurements of servers as medians, ratios, bars and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import report
from benchmarks.contenders import OTHERS, OURS, REFERENCES
from benchmarks.measurement import Spread, percentile
from benchmarks.report import Bar, ratio

CLIENTS: Final = (1, 2, 8, 32)
JUDGED: Final = 8
"""Number of clients at which bars are evaluated."""

_MEGA: Final = 1e6


@dataclass(slots=True)
class Seen:
    """Measurements of one server over all rounds."""

    probabilities: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    per_s: dict[int, list[float]] = field(default_factory=dict)
    latencies_s: dict[int, list[float]] = field(default_factory=dict)
    client_cpu_s: list[float] = field(default_factory=list)
    server_cpu_s: dict[int, list[float]] = field(default_factory=dict)
    """The server's processor time per answer, by number of clients."""

    errors: list[str] = field(default_factory=list)
    failure: str | None = None


def summary(
    seen: dict[str, Seen],
    one_process: list[float],
    environments: dict[str, dict[str, Any]],
    *,
    processors: int,
) -> dict[str, Any]:
    """Return medians, percentiles, ratios and bars of the measurements.

    Parameters
    ----------
    seen
        Measurements by server.
    one_process
        Images per second of the service's work without HTTP, one value per round.
    environments
        ``installed_bytes`` and ``versions`` of each server's environment.
    processors
        Number of processors, which the load generator shares with the servers.
    """
    servers = {name: _server(one) | environments[name] for name, one in seen.items()}
    limit = _spread(one_process) if one_process else None
    ours = _value(servers, OURS.name, JUDGED, "per_s")
    for name, server in servers.items():
        if "failure" not in server:
            server["ours_times_this"] = ratio(ours, _value(servers, name, JUDGED, "per_s"))
    bars = _bars(servers, limit["median"] if limit else None, processors)
    return {
        "one_process_per_s": limit,
        "servers": servers,
        "bars": [bar.to_json() for bar in bars],
    }


def text(results: dict[str, Any]) -> str:
    """Format the results as tables."""
    parts = [
        report.heading(results["machine"]),
        f"{results['images']} phantoms, 640x640 JPEG of {results['image_bytes']['least']} to "
        f"{results['image_bytes']['largest']} bytes; network input "
        f"{results['input_size'][0]}x{results['input_size'][1]}; ours serves: "
        f"{results['network_served']}",
    ]
    limit = results["one_process_per_s"]
    if limit:
        cell = report.spread_cell(Spread(**limit), 2)
        parts.append(f"The service's work in one process, without HTTP: {cell} images/s")
    rows, details, notes = [], [], []
    for name, server in results["servers"].items():
        if "failure" in server:
            rows.append([name, *["–"] * 7])
            notes.append(f"{name}: {server['failure']}")
            continue
        rows.append(_row(name, server))
        details += _details(name, server)
        if server["errors"]:
            notes.append(f"{name}: {server['errors']} errors, such as {server['first_error']}")
    titles = (
        f"server ({JUDGED} clients)", "ours is times", "images/s", "p50 ms", "p99 ms",
        "memory MB", "start s", "installed MB",
    )  # fmt: skip
    shares = [s["client_cpu_ms"] for s in results["servers"].values() if s.get("client_cpu_ms")]
    bars = [Bar(b["what"], b["value"], b["limit"], b["at_least"]).cells() for b in results["bars"]]
    parts += ["", report.table(titles, rows)]
    parts += ["", report.table(("bar", "measured", "wanted", "verdict"), bars)]
    if details:
        columns = ("server and clients", "answers", "images/s", "p50 ms", "p99 ms")
        parts += ["", report.table(columns, details)]
    parts += ["", *notes]
    if shares:
        parts.append(
            f"The load generator took at most {max(shares):.1f} ms of processor time per answer."
        )
    return "\n".join(parts)


def _server(seen: Seen) -> dict[str, Any]:
    if seen.failure is not None or not seen.start_s:
        checked = f"not measured; answered {len(seen.probabilities)} images rightly"
        return {"failure": seen.failure or checked, "probabilities": seen.probabilities}
    return {
        "start_s": _spread(seen.start_s),
        "memory_bytes": _spread(seen.memory_bytes),
        "probabilities": seen.probabilities,
        "clients": {
            str(clients): {
                "per_s": _spread(seen.per_s[clients]),
                "server_cpu_s": _spread(seen.server_cpu_s[clients]),
                "answers": len(latencies),
                "p50_s": percentile(latencies, 50) if latencies else None,
                "p99_s": percentile(latencies, 99) if latencies else None,
            }
            for clients, latencies in seen.latencies_s.items()
        },
        "errors": len(seen.errors),
        "first_error": seen.errors[0] if seen.errors else None,
        "client_cpu_ms": 1000 * max(seen.client_cpu_s),
    }


def _value(servers: dict[str, Any], name: str, clients: int, key: str) -> float | None:
    """Return a value of a server that gave only correct answers; else None."""
    server = servers.get(name, {"failure": "left out"})
    if "failure" in server or server["errors"]:
        return None
    value: Any = server["clients"][str(clients)][key]
    if isinstance(value, dict):
        value = value["median"]
    return None if value is None else float(value)


def _bars(servers: dict[str, Any], one_process_per_s: float | None, processors: int) -> list[Bar]:
    ours = _value(servers, OURS.name, JUDGED, "per_s")
    tails = [_value(servers, peer.name, JUDGED, "p99_s") for peer in OTHERS]
    tail = min((value for value in tails if value is not None), default=None)
    one = REFERENCES[0].name
    mine = servers.get(OURS.name, {})
    at = f"at {JUDGED} clients"

    def best(*, int8: bool) -> float | None:
        peers = (peer for peer in OTHERS if peer.int8 == int8)
        rates = (_value(servers, peer.name, JUDGED, "per_s") for peer in peers)
        return max((rate for rate in rates if rate is not None), default=None)

    def p99_of_p50(clients: int) -> Bar:
        p99, p50 = (_value(servers, OURS.name, clients, key) for key in ("p99_s", "p50_s"))
        return Bar(f"p99 / p50 at {clients} clients", ratio(p99, p50), 1.6, at_least=False)

    def median(name: str, key: str) -> float | None:
        spread = servers.get(name, {}).get(key)
        return None if spread is None else float(spread["median"])

    start, memory = median(OURS.name, "start_s"), median(OURS.name, "memory_bytes")
    size = mine.get("installed_bytes")
    limit_per_s = None
    if one_process_per_s is not None and ours is not None:
        # The load generator computes on the same processors.
        taken = ours * mine["client_cpu_ms"] / 1000 / processors
        limit_per_s = one_process_per_s * (1 - taken)
    return [
        *(
            Bar(
                f"throughput {at} / {reference.name}",
                ratio(ours, _value(servers, reference.name, JUDGED, "per_s")),
                wanted,
                at_least=True,
            )
            for reference, wanted in zip(REFERENCES, (6.0, 4.5), strict=True)
        ),
        Bar(
            f"throughput {at} / best peer in float",
            ratio(ours, best(int8=False)),
            2.0,
            at_least=True,
        ),
        Bar(
            f"throughput {at} / best peer in 8 bits",
            ratio(ours, best(int8=True)),
            1.0,
            at_least=True,
        ),
        Bar(
            f"throughput {at} / one process without HTTP",
            ratio(ours, limit_per_s),
            0.95,
            at_least=True,
        ),
        p99_of_p50(JUDGED),
        p99_of_p50(CLIENTS[-1]),
        Bar(
            f"p99 {at} / best peer's",
            ratio(_value(servers, OURS.name, JUDGED, "p99_s"), tail),
            1.0,
            at_least=False,
        ),
        Bar("start to first answer, s", start, 0.9, at_least=False),
        Bar(f"start / {one}", ratio(start, median(one, "start_s")), 1 / 3, at_least=False),
        Bar("memory, MB", None if memory is None else memory / _MEGA, 300, at_least=False),
        Bar(f"memory / {one}", ratio(memory, median(one, "memory_bytes")), 1 / 3, at_least=False),
        Bar("installed size, MB", None if size is None else size / _MEGA, 500, at_least=False),
    ]


def _row(name: str, server: dict[str, Any]) -> list[str]:
    at = server["clients"][str(JUDGED)]
    times = server["ours_times_this"]
    return [
        name,
        "–" if times is None else f"{times:.2f}",
        report.spread_cell(Spread(**at["per_s"]), 2),
        _milliseconds(at["p50_s"]),
        _milliseconds(at["p99_s"]),
        report.spread_cell(Spread(**server["memory_bytes"]), 0, 1 / _MEGA),
        report.spread_cell(Spread(**server["start_s"]), 1),
        f"{server['installed_bytes'] / _MEGA:.0f}",
    ]


def _details(name: str, server: dict[str, Any]) -> list[list[str]]:
    return [
        [
            f"{name}, {clients}",
            str(at["answers"]),
            report.spread_cell(Spread(**at["per_s"]), 2),
            _milliseconds(at["p50_s"]),
            _milliseconds(at["p99_s"]),
        ]
        for clients, at in server["clients"].items()
    ]


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.0f}"


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = Spread.of(values)
    return {"median": spread.median, "low": spread.low, "high": spread.high}
