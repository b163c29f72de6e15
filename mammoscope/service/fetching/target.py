"""Parse URLs once, with one parser, so that the checked URL is the one used."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from mammoscope.errors import UrlNotAllowedError

MAX_URL_LENGTH: Final = 2048
"""Maximum length of a URL, including redirects, in characters."""

PORTS: Final = {"http": 80, "https": 443}
"""Allowed schemes, with their ports."""

_KEPT: Final = "/%:?&=+$,;@!~*'()[]"
"""Characters of a path or query that are sent unescaped."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL."""

    scheme: str
    host: str
    port: int
    request_target: str

    @property
    def host_header(self) -> str:
        """Value of the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def is_one_of(self, patterns: Iterable[str]) -> bool:
        """Whether the host matches one of `patterns`; ``*.name`` matches all hosts below a name."""
        return any(
            self.host.endswith(pattern[1:]) if pattern.startswith("*.") else self.host == pattern
            for pattern in patterns
        )


def parse(url: str) -> Target:
    """Parse `url`.

    Raises
    ------
    UrlNotAllowedError
        If it is not an absolute http or https URL, has user-info, or is ambiguous.
    """
    if len(url) > MAX_URL_LENGTH:
        raise UrlNotAllowedError(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise UrlNotAllowedError("The URL must not have blanks, control characters or backslashes.")
    try:
        url.encode()  # JSON can contain lone surrogates
        parts = urlsplit(url)
        port = parts.port
        path = quote(parts.path or "/", safe=_KEPT)
        query = quote(f"?{parts.query}", safe=_KEPT) if parts.query else ""
    except ValueError as err:  # including UnicodeError, for lone surrogates from JSON
        raise UrlNotAllowedError("The URL is not valid.") from err
    if parts.scheme not in PORTS:
        raise UrlNotAllowedError("Only http and https URLs are allowed.")
    if "@" in parts.netloc:
        raise UrlNotAllowedError("The URL must not have a user name or password.")
    return Target(
        scheme=parts.scheme,
        host=_host(parts.hostname or "", bracketed="[" in parts.netloc),
        port=PORTS[parts.scheme] if port is None else port,
        request_target=path + query,
    )


def redirected(url: str, location: str) -> str:
    """Return the URL that a redirect from `url` names in its Location field.

    Raises
    ------
    UrlNotAllowedError
        If the two cannot be combined.
    """
    try:
        return urljoin(url, location)
    except ValueError as err:
        raise UrlNotAllowedError("The other server redirects to an invalid URL.") from err


def _host(host: str, *, bracketed: bool) -> str:
    """Return `host` in ASCII: a plain IP address, or a name that no resolver reads as a number."""
    if bracketed:
        try:
            return str(ipaddress.IPv6Address(host.replace("%", " ")))  # no zone
        except ValueError as err:
            raise UrlNotAllowedError("The URL's host is not a valid IPv6 address.") from err
    try:
        ascii_host = host.encode("idna").decode("ascii")
    except UnicodeError as err:
        raise UrlNotAllowedError("The URL's host is not a valid name.") from err
    labels = ascii_host.removesuffix(".").split(".")
    if not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise UrlNotAllowedError("The URL's host is not a valid name.")
    # Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1: allow only the usual form.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        try:
            return str(ipaddress.IPv4Address(ascii_host))
        except ValueError as err:
            raise UrlNotAllowedError("The URL's host is not a plain IPv4 address.") from err
    return ascii_host.removesuffix(".")
