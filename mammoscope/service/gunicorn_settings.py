"""Settings of gunicorn: ``gunicorn --config python:mammoscope.service.gunicorn_settings``.

The names are gunicorn's. Values that users may change come from `ServiceSettings`.
"""

# ruff: noqa: E402 - garbage collection is stopped before most imports

import gc
import math
import os
import sys
from pathlib import Path

from mammoscope.system.cpus import ONE_THREAD

os.environ.update(ONE_THREAD)  # the worker forks the processes that read images
gc.disable()  # until `pre_fork`: imports make many objects and hardly any garbage

from mammoscope.errors import ConfigurationError
from mammoscope.service.keys import ApiKeys
from mammoscope.service.tracing import logging_configuration
from mammoscope.service.worker import SPARE_THREADS, PoliteWorker, most_connections
from mammoscope.settings.service import ServiceSettings
from mammoscope.system.allocator import release_code, share_memory

try:
    _settings = ServiceSettings.from_environment()
    if _settings.api_keys_file is not None:
        ApiKeys.read(_settings.api_keys_file)
    worker_connections = most_connections(_settings)
except ConfigurationError as _error:
    raise SystemExit(f"mammoscope: {_error}") from None

wsgi_app = "mammoscope.service.wsgi:app"
bind = _settings.bind

# One process: the engine uses all cores for one model in memory, and requests are threads. More
# processes would each hold the model and compete for the same cores. To scale, add pods.
workers = 1
worker_class = PoliteWorker

# One thread per queue slot, and spare ones for refusals.
threads = _settings.concurrency + _settings.queue_size + SPARE_THREADS

# With sendfile, a thread would wait until the client has received the file.
sendfile = False

# The engine's threads do not survive a fork, so each worker loads the model itself.
preload_app = False

graceful_timeout = math.ceil(_settings.drain_s) + _settings.graceful_timeout_s
keepalive = 15  # seconds; longer than clients pause between two images

# The worker's heartbeat is a file. Keep it off disks that may be slow, full or read-only.
_memory = Path("/dev/shm")  # noqa: S108 gunicorn creates a file of its own there
worker_tmp_dir = str(_memory) if os.access(_memory, os.W_OK) else None

# gunicorn's control socket would need a writable folder, and the service does not use it.
control_socket_disable = True

# The application logs requests itself, without anything that identifies a person.
accesslog = None
logconfig_dict = logging_configuration(_settings.log_level)


def pre_fork(_server: object, _worker: object) -> None:
    """Let the worker share what this process has imported, which itself runs little of it."""
    # OpenVINO would import it to convert networks of other frameworks, and hold more memory.
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    share_memory()
    gc.enable()
    release_code(Path("/"))
