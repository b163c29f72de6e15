"""The HTTP requests of a fetch.

It uses ``http.client`` directly, which has no proxies from the environment, no cookies, no
``.netrc``, no redirects and no decompression, and accepts our own socket.
"""

import functools
import http.client
import io
import socket
import ssl
import string
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import certifi

from mammoscope.errors import (
    FetchError,
    FetchFailedError,
    FetchTimeoutError,
    FetchTooLargeError,
    UrlNotAllowedError,
)
from mammoscope.service.content_encoding import compression
from mammoscope.service.fetching.addresses import is_public, resolve_addresses
from mammoscope.service.fetching.deadline import Deadline
from mammoscope.service.fetching.target import PORTS, Target, parse, redirected
from mammoscope.settings.service import ServiceSettings

Resolve = Callable[[str, int], Sequence[str]]
"""Maps host and port to the host's addresses in text form; raises OSError if it has none."""

Hold = Callable[[int], None]
"""Called with a number of bytes before they are kept in memory."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024


def _hold_any(size: int) -> None:
    """Allow any number of bytes, within the limit of one image."""


def fetch(
    url: str,
    settings: ServiceSettings,
    *,
    resolve: Resolve = resolve_addresses,
    tls: ssl.SSLContext | None = None,
    hold: Hold = _hold_any,
) -> bytes:
    """Return the body at `url`, at most ``settings.max_image_bytes``.

    Parameters
    ----------
    url
        An absolute http or https URL without user-info, on port 80 or 443.
    settings
        Allowed hosts, and limits on total time, bytes and redirects.
    resolve
        Resolves host names.
    tls
        Trusted certificates; None trusts the public authorities.
    hold
        Called with the number of bytes before they are kept: once if the other server declares the
        length, else block by block. An error from it ends the fetch.

    Raises
    ------
    UrlNotAllowedError
        If fetching is disabled, or the URL or a redirect is not allowed.
    FetchTimeoutError
        If the whole fetch takes longer than ``settings.fetch_timeout_s``.
    FetchTooLargeError
        If the other server declares or sends more bytes than allowed.
    FetchFailedError
        If the other server cannot be reached or does not answer with an image.
    """
    if not settings.url_fetching:
        raise UrlNotAllowedError("This service does not fetch images by URL; send the file.")
    with Deadline(settings.fetch_timeout_s) as deadline:
        hop = _Hop(settings, deadline, resolve, tls or _public_authorities(), hold)
        try:
            for redirects in range(settings.fetch_max_redirects + 1):
                try:
                    answer = hop.get(url)
                except UrlNotAllowedError as err:
                    if not redirects:
                        raise
                    raise UrlNotAllowedError(f"The other server redirects. {err}") from err
                if isinstance(answer, bytes):
                    deadline.remaining_s()  # a body cut off at the deadline looks complete
                    return answer
                url = redirected(url, answer.location)
        except (OSError, http.client.HTTPException, FetchFailedError) as err:
            deadline.remaining_s()  # a cut-off at the deadline is not the server's error
            if isinstance(err, FetchError):
                raise
            if isinstance(err, ssl.SSLCertVerificationError):
                raise FetchFailedError("The other server's certificate is not valid.") from err
            if isinstance(err, TimeoutError):
                raise FetchTimeoutError("The other server took too long to connect.") from err
            raise FetchFailedError("The other server could not be reached.") from err
    raise FetchFailedError(
        f"The other server redirects more than {settings.fetch_max_redirects} times."
    )


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


def _as_browsers_do(location: str) -> str:
    """Decode a Location, which may have raw UTF-8, blanks, tabs and backslashes, like browsers do.

    References
    ----------
    WHATWG URL Standard, "URL parsing" and "percent-encode after encoding".
    """
    raw = location.strip(" \t").encode("latin-1")  # http.client decodes headers as Latin-1
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = quote(raw, safe=string.printable)
    path, mark, query = text.replace("\t", "").partition("#")[0].partition("?")
    return (path.replace("\\", "/") + mark + query.replace("\\", "%5C")).replace(" ", "%20")


class _Response(http.client.HTTPResponse):
    """A response without chunks of negative size.

    For a chunk of -1 bytes, ``http.client`` would read everything, whatever its size.
    """

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # not in typeshed
        if size < 0:
            raise http.client.HTTPException
        return size


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


@dataclass(frozen=True, slots=True)
class _Hop:
    """One request of a fetch; each is checked in the same way."""

    settings: ServiceSettings
    deadline: Deadline
    resolve: Resolve
    tls: ssl.SSLContext
    hold: Hold

    def get(self, url: str) -> bytes | _Redirect:
        target = parse(url)
        if not self.settings.fetch_private_addresses and target.port not in PORTS.values():
            raise UrlNotAllowedError("Only ports 80 and 443 are allowed in URLs.")
        hosts = self.settings.fetch_hosts
        if hosts is not None and not target.is_one_of(hosts):
            raise UrlNotAllowedError("This host is not on the allow-list.")
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.response_class = _Response
        with closing(connection):
            connection.sock = self._connect(target)
            connection.putrequest(
                "GET", target.request_target, skip_host=True, skip_accept_encoding=True
            )
            connection.putheader("Host", target.host_header)
            connection.putheader("Accept", "image/*, application/dicom, */*;q=0.1")
            # Compressed transfers could expand without limit, and images are compressed anyway.
            connection.putheader("Accept-Encoding", "identity")
            connection.putheader("User-Agent", "mammoscope")
            connection.putheader("Connection", "close")
            connection.endheaders()
            with connection.getresponse() as response:
                return self._read(response)

    def _connect(self, target: Target) -> socket.socket:
        addresses = self._addresses(target)
        for position, address in enumerate(addresses, start=1):
            try:
                plain = socket.create_connection(
                    (address, target.port), timeout=self.deadline.remaining_s()
                )
                break
            except OSError:
                if position == len(addresses):
                    raise
        try:
            self.deadline.watch(plain)
            if target.scheme == "http":
                return plain
            return self.tls.wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise

    def _addresses(self, target: Target) -> Sequence[str]:
        addresses = self._resolve_in_time(target)
        if not addresses:
            raise FetchFailedError("The URL's host has no address.")
        if not self.settings.fetch_private_addresses and not all(map(is_public, addresses)):
            raise UrlNotAllowedError("The URL's host is not on the public internet.")
        return addresses

    def _resolve_in_time(self, target: Target) -> Sequence[str]:
        # The system's resolver has no timeout, so it runs in a separate thread, which ends when the
        # resolver gives up.
        lookup: Future[Sequence[str]] = Future()

        def look_up() -> None:
            try:
                lookup.set_result(self.resolve(target.host, target.port))
            except Exception as err:  # noqa: BLE001 handed to the thread that waits
                lookup.set_exception(err)

        threading.Thread(target=look_up, daemon=True, name="look-up").start()
        try:
            return lookup.result(timeout=self.deadline.remaining_s())
        except TimeoutError:
            raise FetchTimeoutError("The URL's host could not be looked up in time.") from None
        except (OSError, UnicodeError) as err:  # UnicodeError: the codec rejects the name
            raise FetchFailedError("The URL's host could not be found.") from err

    def _read(self, response: http.client.HTTPResponse) -> bytes | _Redirect:
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            return _Redirect(_as_browsers_do(location))
        if response.status != http.HTTPStatus.OK:
            raise FetchFailedError(
                f"The other server answered with status {response.status} instead of an image."
            )
        if encoding := compression(response.getheader("Content-Encoding", "")):
            raise FetchFailedError(
                f"The other server's answer has the Content-Encoding {encoding}; only uncompressed "
                "images are supported."
            )
        if response.headers.get_content_type() == "text/html":
            raise FetchFailedError("The other server answered with a web page, not an image.")
        return self._read_body(response)

    def _read_body(self, response: http.client.HTTPResponse) -> bytes:
        limit = self.settings.max_image_bytes
        too_large = FetchTooLargeError(f"The image is larger than the limit of {limit} bytes.")
        announced = response.length
        if (announced or 0) > limit:
            raise too_large
        self.hold(announced or 0)
        body = io.BytesIO()  # getvalue does not copy, unlike bytes(bytearray)
        while chunk := response.read(_CHUNK_BYTES):
            if body.tell() + len(chunk) > limit:
                raise too_large
            if announced is None:
                self.hold(len(chunk))
            body.write(chunk)
        if response.length:  # declared but not sent
            raise FetchFailedError("The other server sent only part of the image.")
        return body.getvalue()
