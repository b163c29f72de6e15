"""gunicorn reads this file by default; the settings are the package's."""

from mammoscope.service.gunicorn_settings import *  # noqa: F403 - gunicorn takes the names it knows
