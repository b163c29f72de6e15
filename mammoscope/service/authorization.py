"""API keys of requests, and the rate limit of each key."""

import os
import threading
import time
from pathlib import Path
from typing import Final

import structlog
from flask import Flask, g, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from mammoscope.errors import ConfigurationError, RateLimitedError, UnauthorizedError
from mammoscope.service.keys import ApiKeys
from mammoscope.settings.service import ServiceSettings

KEY_HEADER: Final = "X-API-Key"

PROBES: Final = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Routes that load balancers ask; they need no key."""

PAGES: Final = frozenset({"/", "/model/card", "/docs", "/openapi.json", "/static/<path:filename>"})
"""Routes of the page and of the documentation. They need no key, since browsers cannot show one
when they load a page: the page asks for it, and shows it for all that it loads of the model and of
images."""

OPEN: Final = PROBES | PAGES
"""Routes that need no key."""

_log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int] | None


class KeyFile:
    """The keys of a file, which is read again whenever it changes.

    If the file cannot be read any more or is half written, the keys that were read last stay valid.

    Parameters
    ----------
    file
        Written by `mammoscope.service.keys.issue_key`.

    Raises
    ------
    ConfigurationError
        If it cannot be read to begin with.
    """

    def __init__(self, file: Path) -> None:
        self._file: Final = file
        self._lock = threading.Lock()
        self._stamp = self._current_stamp()
        self._keys = ApiKeys.read(file)

    def holder(self, secret: str) -> str | None:
        """Name of the key that `secret` is, None where it is none."""
        with self._lock:
            stamp = self._current_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
            keys = self._keys
        return keys.holder(secret)

    def _read_again(self) -> None:
        try:
            self._keys = ApiKeys.read(self._file)
        except ConfigurationError as err:
            _log.error("api_keys_not_read", reason=str(err))
        else:
            _log.info("api_keys_read", count=len(self._keys.keys))

    def _current_stamp(self) -> _Stamp:
        try:
            found = os.stat(self._file)  # noqa: PTH116 asked at every request
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def install(app: Flask, settings: ServiceSettings) -> None:
    """Have every request to `app` but those of `OPEN` show a key, where keys are asked for.

    Raises
    ------
    ConfigurationError
        If the file of keys cannot be read.
    """
    if settings.api_keys_file is None:
        return
    keys = KeyFile(settings.api_keys_file)
    limiter = _Limiter(settings.rate_limit_per_minute) if settings.rate_limit_per_minute else None

    def authorize() -> None:
        if request.url_rule is not None and request.url_rule.rule in OPEN:
            return
        name = keys.holder(_presented())
        if name is None:
            raise UnauthorizedError(
                f"A valid API key is needed, as Authorization: Bearer, as {KEY_HEADER}, or as the "
                "password of Authorization: Basic."
            )
        g.api_key = name
        if limiter is not None:
            limiter.count(name)

    app.before_request(authorize)


def _presented() -> str:
    """The key that the request shows, empty where there is none."""
    given = request.authorization
    if given is not None and given.type == "bearer":
        return given.token or ""
    if given is not None and given.type == "basic":
        return given.password or ""
    return request.headers.get(KEY_HEADER, "")


class _Limiter:
    """How often each key asked in the last minute; a request that was refused does not count."""

    def __init__(self, per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(per_minute)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def count(self, name: str) -> None:
        if self._window.hit(self._item, name):
            return
        free_at = self._window.get_window_stats(self._item, name).reset_time
        raise RateLimitedError(
            f"The key may ask {self._item.amount} times a minute.",
            retry_after_s=max(1, round(free_at - time.time() + 0.5)),
        )
