"""Fetching: allowed and denied URLs. No packet leaves the machine."""

import gzip
import socket
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.errors import (
    FetchError,
    FetchFailedError,
    FetchTimeoutError,
    FetchTooLargeError,
    UrlNotAllowedError,
)
from mammoscope.service.fetching import MAX_URL_LENGTH, fetch, is_public, resolve_addresses
from mammoscope.settings.service import ServiceSettings
from tests.servers import Answer, send, server, trickle, trickle_body, trickle_headers

IMAGE = b"\xff\xd8\xff image"
PUBLIC = "93.184.216.34"

LOCAL = ServiceSettings(fetch_private_addresses=True, max_image_bytes=100_000, fetch_timeout_s=5)
GUARDED = ServiceSettings(fetch_timeout_s=5)


def resolver(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(addresses)


def unreachable(host: str, port: int) -> list[str]:
    raise AssertionError("A refused URL must not even be looked up.")


def test_image_is_fetched() -> None:
    with server(send(IMAGE)) as address:
        assert fetch(f"{address}/a/b.jpg?c=d", LOCAL) == IMAGE


def test_request_refuses_compression_and_sends_the_urls_host() -> None:
    seen: dict[str, str] = {}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.update(handler.headers.items(), path=handler.path)
        send(IMAGE)(handler)

    with server(answer) as address:
        url = address.replace("127.0.0.1", "images.example") + "/ä b".replace(" ", "%20")
        fetch(url, LOCAL, resolve=resolver("127.0.0.1"))
    assert seen["Accept-Encoding"] == "identity"
    assert seen["Host"] == url.split("/")[2]
    assert seen["path"] == "/%C3%A4%20b"
    assert "Cookie" not in seen
    assert "Authorization" not in seen


@pytest.mark.abuse("URL")
def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server(send(IMAGE)) as address:
        assert fetch(address, LOCAL) == IMAGE


def test_chunked_body_is_fetched() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    with server(answer) as address:
        assert fetch(address, LOCAL) == b"abcde"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://images.example/a.jpg",
        "gopher://images.example/",
        "data:image/png;base64,AAAA",
        "images.example/a.jpg",
        "//images.example/a.jpg",
        "",
        "http://",
        "http:///a.jpg",
        "http://user@images.example/",
        "http://user:password@images.example/",
        "http://@images.example/",
        "http://images.example:22/",
        "http://images.example:8080/",
        "http://images.example:0/",
        "https://images.example:99999/",
        "http://images.example:http/",
        "http://images.example\\@127.0.0.1/",
        "http://images.example/\r\nX: y",
        "http://images.example/a b",
        "http://images .example/",
        "http://images%2eexample/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:2800:220:1::1%25eth0]/",
        "http://[v1.x]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://0/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        f"http://images.example/{'a' * MAX_URL_LENGTH}",
    ],
)
def test_invalid_urls_are_refused_before_name_resolution(url: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        fetch(url, GUARDED, resolve=unreachable)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/brüst Å.jpg".encode(), "/br%C3%BCst%20%C3%85.jpg"),
        ("/乳房/à".encode(), "/%E4%B9%B3%E6%88%BF/%C3%A0"),
        (b"/a b.jpg", "/a%20b.jpg"),
        (b"  /a%20b.jpg?c d  ", "/a%20b.jpg?c%20d"),
        ("left cc ü.jpg".encode(), "/left%20cc%20%C3%BC.jpg"),
        (b"/br\xfcst.jpg", "/br%FCst.jpg"),
        (b"/\xff\x80 %C3%BC", "/%FF%80%20%C3%BC"),
        (b"\\a\\b.jpg", "/a/b.jpg"),
        (b"/a.jpg?key=b\\c#d\\e", "/a.jpg?key=b%5Cc"),
        (b"/a\t.jpg\t", "/a.jpg"),
    ],
)
def test_redirects_are_resolved_like_in_browsers(location: bytes, path: str) -> None:
    seen = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        if len(seen) > 1:
            send(IMAGE)(handler)
            return
        handler.send_response(302)
        handler.flush_headers()
        handler.wfile.write(b"Location: " + location + b"\r\n\r\n")

    with server(answer) as address:
        assert fetch(f"{address}/start", LOCAL) == IMAGE
    assert seen == ["/start", path]


NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]


@pytest.mark.abuse("URL")
@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_outside_the_public_internet_are_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(UrlNotAllowedError):
        fetch("http://images.example/", GUARDED, resolve=resolver(address))
    with pytest.raises(UrlNotAllowedError):  # an additional public address does not help
        fetch("http://images.example/", GUARDED, resolve=resolver(PUBLIC, address))


@pytest.mark.abuse("URL")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
def test_local_hosts_are_refused_with_the_real_resolver(host: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        fetch(f"http://{host}/", GUARDED)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "100.128.0.1", "2606:2800:220:1::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_addresses_private_by_the_standard_library_are_denied(address: object) -> None:
    if getattr(address, "is_private") or getattr(address, "is_multicast"):  # noqa: B009
        assert not is_public(str(address))


@pytest.mark.abuse("URL")
def test_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])  # a name that changes between check and connect
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(FetchFailedError):
        fetch("http://flip.example/", GUARDED, resolve=lambda host, port: next(answers))
    assert connected == [(PUBLIC, 80)]


def test_next_address_is_tried_if_the_first_refuses() -> None:
    with server(send(IMAGE)) as address:
        url = address.replace("127.0.0.1", "images.example")
        # No server listens on the other loopback address.
        assert fetch(url, LOCAL, resolve=resolver("127.0.0.2", "127.0.0.1")) == IMAGE


def test_fetching_can_be_disabled() -> None:
    with pytest.raises(UrlNotAllowedError):
        fetch("http://images.example/", ServiceSettings(url_fetching=False), resolve=unreachable)


HOSTS = ("images.example", "*.hospital.example")


@pytest.mark.parametrize(
    "host",
    ["images.example", "IMAGES.example.", "pacs.hospital.example", "a.b.hospital.example"],
)
def test_listed_hosts_are_allowed(host: str) -> None:
    listing = LOCAL.model_copy(update={"fetch_hosts": HOSTS})
    with server(send(IMAGE)) as address:
        url = address.replace("127.0.0.1", host)
        assert fetch(url, listing, resolve=resolver("127.0.0.1")) == IMAGE


@pytest.mark.parametrize(
    "host",
    [
        "other.example",
        "a.images.example",
        "hospital.example",
        "xhospital.example",
        "images.example.other.example",
        "93.184.216.34",
    ],
)
def test_other_hosts_are_denied_without_name_resolution(host: str) -> None:
    listing = GUARDED.model_copy(update={"fetch_hosts": HOSTS})
    with pytest.raises(UrlNotAllowedError, match="not on the allow-list"):
        fetch(f"http://{host}/", listing, resolve=unreachable)


def test_a_listed_host_in_a_private_network_is_denied() -> None:
    listing = GUARDED.model_copy(update={"fetch_hosts": HOSTS})
    with pytest.raises(UrlNotAllowedError, match="public"):
        fetch("http://images.example/", listing, resolve=resolver("10.0.0.1"))


def test_redirect_to_a_host_that_is_not_listed_is_refused() -> None:
    listing = LOCAL.model_copy(update={"fetch_hosts": HOSTS})
    with server(send(b"", 302, Location="http://other.example/")) as address:
        url = address.replace("127.0.0.1", "images.example")
        with pytest.raises(UrlNotAllowedError, match="not on the allow-list"):
            fetch(url, listing, resolve=resolver("127.0.0.1"))


def test_redirects_are_followed_up_to_the_limit() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.path.strip("/"))
        if left:
            send(b"", 302, Location=f"/{left - 1}")(handler)
        else:
            send(IMAGE)(handler)

    with server(answer) as address:
        assert fetch(f"{address}/{LOCAL.fetch_max_redirects}", LOCAL) == IMAGE
        with pytest.raises(FetchFailedError, match="redirects"):
            fetch(f"{address}/{LOCAL.fetch_max_redirects + 1}", LOCAL)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://images.example/", "http://user@images.example/", "http://0/"],
)
def test_redirect_is_checked_like_the_first_url(location: str) -> None:
    with server(send(b"", 302, Location=location)) as address, pytest.raises(UrlNotAllowedError):
        fetch(address, LOCAL)


@pytest.mark.abuse("URL")
def test_redirect_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"images.example": [PUBLIC], "inside.example": ["10.0.0.1"]}
    connect = socket.create_connection
    with server(send(b"", 302, Location="http://inside.example/")) as address:
        port = int(address.rsplit(":", 1)[1])
        monkeypatch.setattr(  # represents the public internet
            socket, "create_connection", lambda to, timeout: connect(("127.0.0.1", port), timeout)
        )
        with pytest.raises(UrlNotAllowedError, match="public"):
            fetch("http://images.example/", GUARDED, resolve=lambda host, port: names[host])


@pytest.mark.parametrize("status", [201, 204, 302, 304, 400, 401, 404, 500])
def test_other_statuses_are_refused(status: int) -> None:
    with server(send(b"", status)) as address, pytest.raises(FetchFailedError):
        fetch(address, LOCAL)


def test_login_page_is_refused() -> None:
    page = send(b"<html>", Content_Type="text/html; charset=utf-8")
    with server(page) as address, pytest.raises(FetchFailedError, match="web page"):
        fetch(address, LOCAL)


def test_compressed_answer_is_not_expanded() -> None:
    bomb = send(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")
    with server(bomb) as address, pytest.raises(FetchFailedError, match="gzip"):
        fetch(address, LOCAL)


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", "aws-chunked", "aws-chunked,"])
def test_uncompressed_answers_may_name_an_encoding(encoding: str) -> None:
    """Object stores repeat the encoding of the upload."""
    with server(send(IMAGE, Content_Encoding=encoding)) as address:
        assert fetch(address, LOCAL) == IMAGE


def test_byte_limit_is_exact() -> None:
    limit = LOCAL.max_image_bytes
    with server(send(bytes(limit))) as address:
        held: list[int] = []
        assert len(fetch(address, LOCAL, hold=held.append)) == limit
        assert sum(held) == limit
    with server(send(bytes(limit + 1))) as address, pytest.raises(FetchTooLargeError):
        fetch(address, LOCAL)


def test_endless_body_is_cut_off() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(10_000))

    with server(answer) as address, pytest.raises(FetchTooLargeError):
        fetch(address, LOCAL)


def test_body_shorter_than_its_length_is_refused() -> None:
    short = send(b"abc", Content_Length="10")
    with server(short) as address, pytest.raises(FetchFailedError, match="only part of the image"):
        fetch(address, LOCAL)


def trickle_announced_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    trickle(handler)


@pytest.mark.abuse("URL")
@pytest.mark.parametrize("answer", [trickle_headers, trickle_body, trickle_announced_body])
def test_slow_server_is_abandoned_at_the_deadline(answer: Answer) -> None:
    hasty = LOCAL.model_copy(update={"fetch_timeout_s": 0.4})
    started = time.monotonic()
    with server(answer) as address, pytest.raises(FetchTimeoutError):
        fetch(address, hasty)
    assert time.monotonic() - started < 3


@pytest.mark.abuse("URL")
def test_silent_tls_handshake_is_abandoned_at_the_deadline() -> None:
    hasty = LOCAL.model_copy(update={"fetch_timeout_s": 0.4})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(FetchTimeoutError):
            fetch(url, hasty)


@pytest.mark.abuse("URL")
def test_slow_resolver_is_abandoned_at_the_deadline() -> None:
    hasty = GUARDED.model_copy(update={"fetch_timeout_s": 0.2})

    def slow(host: str, port: int) -> list[str]:
        time.sleep(1)
        return [PUBLIC]

    with pytest.raises(FetchTimeoutError):
        fetch("http://images.example/", hasty, resolve=slow)


def unknown(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "secret.example is unknown")


def test_unknown_name_and_name_without_address() -> None:
    with pytest.raises(FetchFailedError) as caught:
        fetch("http://secret.example/", GUARDED, resolve=unknown)
    assert "secret" not in str(caught.value)
    with pytest.raises(FetchFailedError):
        fetch("http://secret.example/", GUARDED, resolve=resolver())


def test_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(FetchFailedError) as caught:
        fetch(f"http://127.0.0.1:{port}/", LOCAL)
    assert "127" not in str(caught.value)


def test_answer_that_is_not_http() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    with server(answer) as address, pytest.raises(FetchFailedError):
        fetch(address, LOCAL)


@pytest.mark.abuse("URL")
def test_certificates_are_checked_against_the_name_in_the_url() -> None:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("images.example").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    local = resolver("127.0.0.1")
    with server(send(IMAGE), served) as address:
        right = address.replace("127.0.0.1", "images.example")
        wrong = address.replace("127.0.0.1", "other.example")
        assert fetch(right, LOCAL, resolve=local, tls=trusting) == IMAGE
        for url, tls in ((wrong, trusting), (right, None)):
            with pytest.raises(FetchFailedError, match="certificate"):
                fetch(url, LOCAL, resolve=local, tls=tls)


@given(st.text(max_size=60))
def test_any_text_gives_a_typed_error(text: str) -> None:
    with pytest.raises(FetchError):
        fetch(text, GUARDED, resolve=unknown)
    with pytest.raises(FetchError):
        fetch(f"http://{text}", GUARDED, resolve=unknown)


def test_resolver_of_the_system() -> None:
    assert "127.0.0.1" in resolve_addresses("127.0.0.1", 80)
