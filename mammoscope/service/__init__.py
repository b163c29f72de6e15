"""The HTTP service: routes, statuses, headers and pages.

It is independent of where its settings and its engine come from.
"""

from mammoscope.service.app import create_app
from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.service.tracing import configure_logging, logging_configuration

__all__ = ["LoadingEngine", "configure_logging", "create_app", "logging_configuration"]
