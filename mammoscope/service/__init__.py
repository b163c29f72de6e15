"""The HTTP service: the only place that knows of statuses, headers and pages.

It is handed its settings and an engine and knows nothing of where either comes from.
"""

from mammoscope.service.app import create_app
from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.service.tracing import configure_logging, logging_configuration

__all__ = ["LoadingEngine", "configure_logging", "create_app", "logging_configuration"]
