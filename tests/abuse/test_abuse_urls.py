"""URLs into private networks, and servers that misbehave.

tests/service/test_fetching.py covers names and addresses of the public internet, with a resolver
and servers of its own.
"""

import gzip
import ssl
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import trustme

from tests.abuse.images import IMAGE
from tests.abuse.service import CAP, PLANTED, Abused, assert_refused
from tests.servers import Answer, send, server, trickle_body, trickle_headers

pytestmark = pytest.mark.abuse("URL")

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "localhost", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "255.255.255.255", "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[2001:db8::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "2130706433",
    "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0",
]  # fmt: skip

URLS = [
    "file:///etc/passwd", "file://localhost/etc/passwd", "ftp://192.0.2.1/a.png",
    "data:image/png;base64,AAAA", "gopher://127.0.0.1:70/", "dict://127.0.0.1:11211/stat",
    "jar:http://127.0.0.1!/", "unix:///var/run/docker.sock", f"http://{PLANTED}@93.184.216.34/",
    f"http://a:{PLANTED}@93.184.216.34/", "http://93.184.216.34:22/", "http://93.184.216.34:8080/",
    "https://93.184.216.34:6379/", "http://93.184.216.34:99999/", "http://", "http:///a", "//a/b",
    "a.png", "", " ", "http://93.184.216.34\\@127.0.0.1/", "http://a b/", "http://[::1/",
    "http://a/\r\nHost: b", "http://a/" + "a" * 3000,
]  # fmt: skip


def ask(abused: Abused, url: str) -> Any:
    return abused.ask(json={"url": url})


@pytest.mark.parametrize("host", PRIVATE)
def test_private_hosts_are_refused(abused: Abused, host: str) -> None:
    assert_refused(ask(abused, f"http://{host}/{PLANTED}"), 400, "url_not_allowed")


@pytest.mark.parametrize("url", URLS, ids=lambda url: url[:40] or "empty")
def test_invalid_urls_are_refused(abused: Abused, url: str) -> None:
    assert_refused(ask(abused, url), 400, "url_not_allowed")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_own_ports_are_not_reached(abused: Abused, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{abused.port}/healthz"
    assert_refused(ask(abused, url), 400, "url_not_allowed")


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(65_536))


def silence(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(4)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 ready\r\n" * 10)


def short(handler: BaseHTTPRequestHandler) -> None:
    send(IMAGE[:100], Content_Length=str(len(IMAGE)))(handler)


ANSWERS: dict[str, tuple[Answer, int, str]] = {
    "404": (send(b"", 404), 502, "fetch_unsuccessful"),
    "500": (send(b"", 500), 502, "fetch_unsuccessful"),
    "login page": (
        send(b"<html>Log in</html>", Content_Type="text/html"), 502, "fetch_unsuccessful",
    ),
    "login page named an image": (
        send(b"<html>Log in</html>", Content_Type="image/png"), 415, "unsupported_image",
    ),
    "nothing": (send(b""), 422, "empty_image"),
    "endless body": (endless, 413, "fetch_too_large"),
    "announced too large": (send(b"", Content_Length=str(10**12)), 413, "fetch_too_large"),
    "a byte over the cap": (send(bytes(CAP + 1)), 413, "fetch_too_large"),
    "gzip bomb": (
        send(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), 502, "fetch_unsuccessful",
    ),
    "drops of a head": (trickle_headers, 504, "fetch_timeout"),
    "drops of a body": (trickle_body, 504, "fetch_timeout"),
    "silence": (silence, 504, "fetch_timeout"),
    "no HTTP": (no_http, 502, "fetch_unsuccessful"),
    "shorter than announced": (short, 502, "fetch_unsuccessful"),
    "redirect to a file": (send(b"", 302, Location="file:///etc/passwd"), 400, "url_not_allowed"),
    "redirect with a name": (
        send(b"", 302, Location=f"http://{PLANTED}@127.0.0.1/"), 400, "url_not_allowed",
    ),
    "redirect to itself": (send(b"", 302, Location="/"), 502, "fetch_unsuccessful"),
    "redirect to nowhere": (send(b"", 302), 502, "fetch_unsuccessful"),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_servers_without_an_image_are_reported(abused_locally: Abused, case: str) -> None:
    answer, status, code = ANSWERS[case]
    with server(answer) as address:
        assert_refused(ask(abused_locally, f"{address}/{PLANTED}.png"), status, code)


def test_image_of_a_server_is_predicted(abused_locally: Abused) -> None:
    with server(send(IMAGE)) as address:
        answer = ask(abused_locally, f"{address}/{PLANTED}.png")
        assert answer.status_code == 200
        assert answer.json() == abused_locally.well


def test_unknown_certificate_authority_is_refused(abused_locally: Abused) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(served)
    with server(send(IMAGE), served) as address:
        assert_refused(ask(abused_locally, address), 502, "fetch_unsuccessful")


def test_closed_port_is_reported(abused_locally: Abused) -> None:
    assert_refused(ask(abused_locally, "http://127.0.0.1:1/"), 502, "fetch_unsuccessful")
