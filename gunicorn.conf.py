"""How gunicorn serves ``predict:app``; every choice a setting leaves open stands here."""

import os
from pathlib import Path

from mammoscope.errors import ConfigurationError
from mammoscope.service import logging_configuration
from mammoscope.settings import ServiceSettings

try:
    _settings = ServiceSettings.from_environment()
except ConfigurationError as _error:
    raise SystemExit(f"mammoscope: {_error}") from None

wsgi_app = "predict:app"
bind = _settings.bind

# One process: the engine uses all cores for one model in memory, and requests are threads. More
# processes would hold the model several times and fight for the same cores; more pods scale.
workers = 1
worker_class = "gthread"
threads = _settings.request_threads

# The engine's threads do not survive a fork, so each worker loads the model itself.
preload_app = False

graceful_timeout = _settings.graceful_timeout_s
keepalive = 15  # seconds; longer than clients pause between two pictures

# The worker's heartbeat is a file: never on a disk that may be slow, full or read-only.
_memory = Path("/dev/shm")  # noqa: S108 gunicorn makes a file of its own there
worker_tmp_dir = str(_memory) if os.access(_memory, os.W_OK) else None

# gunicorn's control socket would need a writable folder, and nobody uses it here.
control_socket_disable = True

# The application logs requests itself, without what identifies anybody.
accesslog = None
logconfig_dict = logging_configuration(_settings.log_level)
