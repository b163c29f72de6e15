"""The path below which a reverse proxy serves this application, as the proxy announces it."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Network = IPv4Network | IPv6Network

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){1,8}")


class PathPrefix:
    """Takes ``X-Forwarded-Prefix`` from trusted proxies for the path of the application.

    Parameters
    ----------
    application
        What answers.
    trusted
        Addresses whose header counts; that of all others is ignored.
    """

    def __init__(self, application: "WSGIApplication", trusted: Sequence[Network]) -> None:
        self._application: Final = application
        self._trusted: Final = tuple(trusted)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/")
        if prefix and self._is_trusted(environ) and _PREFIX.fullmatch(prefix):
            environ["SCRIPT_NAME"] = prefix
            path = environ.get("PATH_INFO", "")
            if path == prefix or path.startswith(f"{prefix}/"):  # a proxy that does not strip it
                environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return self._application(environ, start_response)

    def _is_trusted(self, environ: "WSGIEnvironment") -> bool:
        try:
            peer = ip_address(environ.get("REMOTE_ADDR", ""))
        except ValueError:
            return False
        return any(peer in network for network in self._trusted)
