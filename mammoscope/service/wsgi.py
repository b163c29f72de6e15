"""The WSGI application, with settings from the environment.

The model is loaded in the background, so that the probes answer from the start. ``/readyz`` says
when the model is loaded, or why it cannot be loaded.
"""

import os
from pathlib import Path

from mammoscope.imaging.pool import PoolLimits, ReadingPool
from mammoscope.model.conversion import import_openvino
from mammoscope.model.engine import Engine, load_engine
from mammoscope.service.app import create_app
from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.service.tracing import configure_logging
from mammoscope.settings.service import ServiceSettings, released_model
from mammoscope.system.allocator import release_code, return_memory
from mammoscope.system.cpus import ONE_THREAD, available_processors

settings = ServiceSettings.from_environment()


def make_engine() -> Engine:
    """Return the engine for the model in the settings."""
    engine = load_engine(
        settings.model or released_model(),
        threads=settings.threads,
        performance_mode=settings.performance_mode,
        age_from_dicom=settings.age_from_dicom,
        cache=settings.cache,
    )
    engine.card.threshold(settings.operating_point)  # fails now, not at the first request
    return engine


def release_compiler() -> None:
    """Release the code with which OpenVINO compiled the network: predicting runs little of it."""
    release_code(Path(import_openvino().__file__).parent)


configure_logging(settings.log_level)
# Before the engine starts its threads, which a fork would miss. That of the log is not missed,
# because reading processes do not log.
reader = ReadingPool(
    available_processors(),
    PoolLimits(
        settings.decoding_memory_bytes, settings.decoding_time_s, 2.0 * settings.decoding_time_s
    ),
    fork=ONE_THREAD.items() <= os.environ.items(),  # with `gunicorn_settings`
)
return_memory()  # not in the reading processes, where it costs time
app = create_app(settings, LoadingEngine(make_engine, release_compiler).start(), reader)
