"""API keys of requests, and the rate limit of each key."""

import math
import os
import threading
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from flask import Flask, g, request

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

_READINESS: Final = frozenset({"/readyz", "/v2/health/ready"})

KEYS_WARNING: Final = "api_keys_unreadable"
"""Readiness warning while keys are valid although their file cannot be read."""

_SETTLED_S: Final = 1.0
"""Seconds without a change after which a file counts as complete."""

_MINUTE_S: Final = 60.0

_log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int] | None


class KeyFile:
    """The keys of a file, which is read again whenever it changes.

    While the file is being written, and for a second after its last change, both the new and the
    previous keys are valid, so no valid key is ever refused. If the file is removed or cannot be
    read, the last keys stay valid for `grace_s`; after that, no key is valid.

    Parameters
    ----------
    file
        The key file, written by `mammoscope.service.keys.issue_key`.
    grace_s
        Seconds for which keys stay valid while the file cannot be read.

    Raises
    ------
    ConfigurationError
        If the file cannot be read at the start.
    """

    def __init__(self, file: Path, grace_s: float) -> None:
        self._file: Final = file
        self._grace_s: Final = grace_s
        self._lock = threading.Lock()
        self._keys = ApiKeys.read(file)
        self._stamp: _Stamp = None  # of the file with `_keys`; None until it is complete
        self._changed_stamp: _Stamp = None
        self._changed_at = 0.0
        self._unreadable_since: float | None = None

    def holder(self, secret: str) -> str | None:
        """Return the name of the key with this secret; None if it is invalid.

        Raises
        ------
        ConfigurationError
            If the file has been unreadable for longer than `grace_s`.
        """
        names = (keys.holder(secret) for keys in self._valid_keys())
        return next((name for name in names if name is not None), None)

    def unreadable_s(self) -> float:
        """Seconds for which the file could not be read; 0 if it can be read."""
        with self._lock:
            self._look()
            since = self._unreadable_since
        return 0.0 if since is None else max(time.monotonic() - since, 1e-3)

    def require_readable(self) -> None:
        """Raise an error like `holder`."""
        self._valid_keys()

    def _valid_keys(self) -> tuple[ApiKeys, ...]:
        with self._lock:
            valid = self._look()
            since = self._unreadable_since
        if since is not None and time.monotonic() - since >= self._grace_s:
            raise ConfigurationError(
                f"The file of API keys could not be read for {self._grace_s:g} s. No key is valid "
                "until it can be read again."
            )
        return valid

    def _look(self) -> tuple[ApiKeys, ...]:
        """Return the keys that are valid now, according to the file."""
        stamp, now = self._current_stamp(), time.monotonic()
        if stamp is not None and stamp == self._stamp:
            self._unreadable_since = None
            return (self._keys,)
        if stamp != self._changed_stamp:
            self._changed_stamp, self._changed_at = stamp, now
        try:
            found = ApiKeys.read(self._file)
        except ConfigurationError as err:
            if self._unreadable_since is None:
                self._unreadable_since = now
                _log.error("api_keys_not_read", reason=str(err))
            return (self._keys,)
        self._unreadable_since = None
        if stamp is None or stamp != self._current_stamp() or not self._is_settled(stamp, now):
            return self._keys, found
        self._keys, self._stamp = found, stamp
        _log.info("api_keys_read", count=len(found.keys))
        return (found,)

    def _is_settled(self, stamp: tuple[int, int, int], now: float) -> bool:
        """Whether the file has not changed for a while; does not trust the wall clock."""
        return time.time() - stamp[0] / 1e9 >= _SETTLED_S or now - self._changed_at >= _SETTLED_S

    def _current_stamp(self) -> _Stamp:
        try:
            found = os.stat(self._file)  # noqa: PTH116 asked at every request
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def install(app: Flask, settings: ServiceSettings) -> KeyFile | None:
    """Require a key for every request to `app` except those of `OPEN`, if keys are configured.

    Returns
    -------
    KeyFile | None
        None if no keys are configured.

    Raises
    ------
    ConfigurationError
        If the key file cannot be read.
    """
    if settings.api_keys_file is None:
        return None
    keys = KeyFile(settings.api_keys_file, settings.key_file_grace_s)
    limiter = _Limiter(settings.rate_limit_per_minute) if settings.rate_limit_per_minute else None

    def authorize() -> None:
        rule = None if request.url_rule is None else request.url_rule.rule
        if rule in OPEN:
            if rule in _READINESS:
                keys.require_readable()
                g.readiness_warnings = [KEYS_WARNING] if keys.unreadable_s() else []
            return
        name = keys.holder(_presented())
        if name is None:
            raise UnauthorizedError(
                f"A valid API key is required, as Authorization: Bearer, as {KEY_HEADER}, or as "
                "the password of Authorization: Basic."
            )
        g.api_key = name
        if limiter is not None:
            limiter.count(name)

    app.before_request(authorize)
    return keys


def _presented() -> str:
    """Return the key in the request; empty if there is none."""
    given = request.authorization
    if given is not None and given.type == "bearer":
        return given.token or ""
    if given is not None and given.type == "basic":
        return given.password or ""
    return request.headers.get(KEY_HEADER, "")


class _Limiter:
    """Number of requests per key in the last minute; refused requests do not count."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute: Final = per_minute
        self._lock = threading.Lock()
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    def count(self, name: str) -> None:
        # Libraries for this use the wall clock: if it is set back, they refuse for that long.
        now = time.monotonic()
        with self._lock:
            asked = self._asked[name]
            while asked and asked[0] <= now - _MINUTE_S:
                asked.popleft()
            if len(asked) < self._per_minute:
                asked.append(now)
                return
            free_in_s = asked[0] + _MINUTE_S - now
        raise RateLimitedError(
            f"The key is limited to {self._per_minute} requests per minute.",
            retry_after_s=max(1, math.ceil(free_in_s)),
        )


def probes_of(app: WSGIApplication) -> WSGIApplication:
    """Return an application that passes only probes to `app`."""

    def probes(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] in PROBES:
            return app(environ, start_response)
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    return probes
