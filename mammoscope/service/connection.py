"""The connection under a request: whether anybody still listens, and how to stop reading."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

_SOCKET_KEY: Final = "gunicorn.socket"
"""Where gunicorn puts the connection into the WSGI environment."""


class Connection:
    """What is known of the client's connection; nothing under a server that does not hand it out.

    Parameters
    ----------
    environ
        The WSGI environment of the request.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        # One under TLS can neither be looked into nor half closed.
        found = environ.get(_SOCKET_KEY)
        plain = isinstance(found, socket.socket) and not isinstance(found, ssl.SSLSocket)
        self._socket: Final[socket.socket | None] = found if plain else None

    def is_open(self) -> bool:
        """Whether the client has not closed its side; to be asked once its body was read.

        A client that only stops sending, and still listens, cannot be told from one that is gone.
        """
        if self._socket is None:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:  # nothing to read, nothing closed
            return True
        except OSError:
            return False

    def stop_reading(self) -> None:
        """Let whoever reads the body find its end now; an answer can still be sent."""
        if self._socket is not None:
            with suppress(OSError):  # closed by the client meanwhile
                self._socket.shutdown(socket.SHUT_RD)
