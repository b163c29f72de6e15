"""One training on several processes: JAX divides each batch among them.

Every process computes the same step on its share of a batch. JAX averages losses, gradients and the
statistics of batch normalisation over the whole batch, and draws dropout for it, so that the result
is that of one process but for rounding. Import this before Keras computes anything.
"""

import hashlib
import os
import socket
from typing import Any, Final

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from mammoscope.errors import ConfigurationError, RunError
from mammoscope.system.listening import parse_bind
from mammoscope.training.processes import LOOPBACK, Place

_TOGETHER_S: Final = 6 * 3600
"""Time for the others to start, in seconds: process 0 preprocesses all images before it joins."""


def join(place: Place, batch_size: int) -> int:
    """Wait for the other processes; networks that are built from now on are distributed.

    Returns the number of devices of all processes. On CPUs, a process is one device.

    Raises
    ------
    ConfigurationError
        If a batch cannot be divided equally among the devices.
    RunError
        If Keras was imported with another backend than JAX.
    """
    if keras.backend.backend() != "jax":
        raise RunError(
            f"Keras runs on {keras.backend.backend()}, but a training on several processes needs "
            "JAX. Set KERAS_BACKEND=jax before Keras is imported."
        )
    host, port = parse_bind(place.coordinator)
    if place.leads:
        _require_free(host, port)
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.number,
        initialization_timeout=_TOGETHER_S,
        # By default, process 0 would listen on all interfaces even if all are on this machine.
        coordinator_bind_address=place.coordinator if host == LOOPBACK else f"[::]:{port}",
    )
    keras.distribution.set_distribution(
        # Auto-sharding takes tf.data only; `Batches` divides the batches.
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    devices: int = jax.device_count()
    if batch_size % devices:
        raise ConfigurationError(
            f"The batch size {batch_size} cannot be divided among {devices} devices; give a "
            "multiple with --batch-size."
        )
    return devices


def _require_free(host: str, port: int) -> None:
    """Refuse a port on which another program listens; JAX would crash."""
    everywhere = host != LOOPBACK
    dual = everywhere and socket.has_dualstack_ipv6()
    try:
        socket.create_server(
            ("" if everywhere else host, port),
            family=socket.AF_INET6 if dual else socket.AF_INET,
            dualstack_ipv6=dual,
        ).close()
    except OSError as err:
        raise RunError(
            f"Process 0 cannot listen on port {port}: {os.strerror(err.errno or 0)}. Give all "
            "processes another port in --coordinator."
        ) from err


def require_same(refusal: str, *facts: Any) -> None:
    """Compare facts with those of the other processes.

    Raises
    ------
    RunError
        If they differ; its message is `refusal`.
    """
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.tobytes() if isinstance(fact, np.ndarray) else repr(fact).encode())
    words = np.frombuffer(digest.digest(), dtype=np.int32)
    if (multihost_utils.process_allgather(words).reshape(-1, words.size) != words).any():
        raise RunError(refusal)


def leave() -> None:
    """Part from the other processes; networks that are built from now on are this process's own."""
    keras.distribution.set_distribution(None)
    jax.distributed.shutdown()
