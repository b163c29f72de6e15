"""Addresses to listen on."""

import re
import socket
from typing import Final

_BIND: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]]+)):(?P<port>\d{1,5})"
)
_LAST_PORT: Final = 65_535


def parse_bind(bind: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, with an IPv6 address in brackets.

    Raises
    ------
    ValueError
        If the text is anything else.
    """
    found = _BIND.fullmatch(bind)
    if found is None or int(found["port"]) > _LAST_PORT:
        raise ValueError("no HOST:PORT")
    return found["ipv6"] or found["name"], int(found["port"])


def listen_on(bind: str) -> socket.socket:
    """Open a socket that listens on ``HOST:PORT``.

    Raises
    ------
    OSError
        If the address is in use, is not this machine's, or may not be used.
    """
    host, port = parse_bind(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
