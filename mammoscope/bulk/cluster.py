"""Start Ray on this machine, or connect to a cluster."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import ray

from mammoscope.errors import UsageError

_OBJECT_STORE_BYTES: Final = 128 << 20
"""For lists of files only; images never go through Ray's object store."""

_LOOPBACK: Final = "127.0.0.1"
_ANSWER_S: Final = 10.0
_NO_CLUSTER: Final = (
    "No Ray cluster answers at --address; give HOST:PORT of its head, or auto on one of its "
    "machines."
)


@contextmanager
def on_ray(address: str | None) -> Iterator[None]:
    """Start Ray on this machine until the end, or connect to a cluster.

    A started Ray has its dashboard and job API on the loopback interface, and sends no statistics.

    Raises
    ------
    UsageError
        If no cluster answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's own lines, which mean nothing to users of the command; its log files have them too.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _require_answer(address)
    try:
        if address is None:
            # Its metrics, which nobody collects from a Ray that ends with the command.
            os.environ.setdefault("RAY_enable_metrics_collection", "0")
            # It would look for new log files twice a second, for a driver that shows none.
            os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "10")
            # By default, Ray ends idle processes after one second; starting one takes longer.
            os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
            ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host=_LOOPBACK,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as err:
        if address is None:
            raise
        raise UsageError(_NO_CLUSTER) from err
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as err:
        raise UsageError(_NO_CLUSTER) from err
