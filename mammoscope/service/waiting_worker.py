"""gunicorn's threaded worker, with all waiting for clients done by its one event loop."""

import errno
import ipaddress
import selectors
import socket
import time
import uuid
import weakref
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from mammoscope.service.client_socket import ClientSocket
from mammoscope.settings.service import ServiceSettings

_PAGE_THREADS: Final = 4
"""Threads for what has no body: pages, probes, facts of the model. However many are asked for, they
take no thread of those who send images."""

_PAGE_METHODS: Final = (b"GET ", b"HEAD ", b"OPTIONS ")

HEAD_TIMEOUT_S: Final = 10.0
"""Seconds from the connection, or the end of the last answer, to the end of a request's head."""

_MAX_HEAD_BYTES: Final = 64 * 1024

_ANSWER_S: Final = 5.0
"""Seconds for an answer to a request whose time has passed, like the refusal that says so."""

_LINGER_S: Final = 5.0
"""Seconds in which what a client is still sending is dropped after the last answer to it. A
connection that is closed with bytes unread is reset, and the answer is lost on the way."""

_MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024
"""Of all answers that clients have not taken."""

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LEFT_AGAIN: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})

_BLOCK_BYTES: Final = 64 * 1024


class _Waiting(NamedTuple):
    """A connection that the event loop looks after: since and until when, and what comes then."""

    since: float
    deadline: float
    proceed: Callable[[TConn], None]


class WaitingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker whose threads wait for no client.

    gunicorn's own reads heads, sends answers and closes connections in its threads, so a few slow
    clients keep all others out. Here the event loop does all of that; a thread has a connection
    from the end of the head to the end of the work, which includes reading the body. Where there
    are as many connections as there may be, the one that has kept the loop waiting longest ends.

    TLS ends before it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = ServiceSettings.from_environment()
        self._waiting: dict[TConn, _Waiting] = {}
        self._working: dict[TConn, float] = {}  # until when
        self._clients: weakref.WeakSet[ClientSocket] = weakref.WeakSet()
        self._has_no_room = False
        self._page_pool = ThreadPoolExecutor(_PAGE_THREADS)

    @abstractmethod
    def refuse(self, client: socket.socket, status: HTTPStatus, request_id: str) -> None:
        """Answer a request that the application never sees."""

    def end_silent(self) -> None:
        """Give those who have not begun to ask no more time than kept connections have."""
        soon = time.monotonic() + STOP_KEEPALIVE_LINGER
        for conn, waiting in self._waiting.items():
            if waiting.proceed == self._read_head and not conn.sock.head:
                self._waiting[conn] = waiting._replace(deadline=min(waiting.deadline, soon))

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, at the cost of another one where there are too many."""
        try:
            client, address = listener.accept()
        except OSError as err:
            if err.errno in _NO_DESCRIPTORS:
                self._has_no_room = True
            elif err.errno not in _LEFT_AGAIN:
                raise
            return
        self.nr_conns += 1
        sock = ClientSocket(client.family, client.type, client.detach())
        conn = TConn(self.cfg, sock, address, listener.getsockname())
        if self._has_too_many(address):
            self.refuse(sock, HTTPStatus.TOO_MANY_REQUESTS, uuid.uuid4().hex)
            self._linger(conn)
        else:
            self._clients.add(sock)
            self.enqueue_req(conn)

    def _has_too_many(self, address: Any) -> bool:
        """Whether a client that is no proxy of ours has as many connections as it may have."""
        most = self.settings.max_connections_per_client
        if most == 0 or not isinstance(address, tuple):
            return False
        host = ipaddress.ip_address(address[0])
        host = getattr(host, "ipv4_mapped", None) or host
        if any(host in proxies for proxies in self.settings.trusted_proxies or ()):
            return False
        return [_peer_of(each) for each in self._clients].count(address[0]) >= most

    def enqueue_req(self, conn: TConn) -> None:
        """Read the head of a request, whose connection is new or was kept."""
        sock = conn.sock
        sock.began = time.monotonic()
        sock.head = bytearray(conn.parser.unreader.take_buffered() if conn.parser else b"")
        if _is_head(sock.head):
            self._hand_over(conn)
        else:
            self._wait(conn, selectors.EVENT_READ, sock.began + HEAD_TIMEOUT_S, self._read_head)

    def _read_head(self, conn: TConn) -> None:
        head = conn.sock.head
        if not head:
            conn.sock.began = time.monotonic()
        data = conn.sock.recv(_BLOCK_BYTES)
        if not data:
            self._end(conn)
            return
        head += data
        if _is_head(head, new=len(data)):
            self._forget(conn)
            self._hand_over(conn)

    def _hand_over(self, conn: TConn) -> None:
        """Have a thread answer a request whose head has arrived."""
        pool = self._page_pool if conn.sock.head.startswith(_PAGE_METHODS) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def handle(self, conn: TConn) -> Any:
        """Handle one request of a connection, whose head has arrived."""
        sock = conn.sock
        sock.setblocking(True)
        self._working[conn] = sock.began + self.settings.request_timeout_s + _ANSWER_S
        try:
            if b"\r\n\r\n" not in sock.head:
                in_line = b"\r\n" not in sock.head
                kind = http_errors.LimitRequestLine if in_line else http_errors.LimitRequestHeaders
                self.handle_error(None, sock, conn.client, kind(len(sock.head), _MAX_HEAD_BYTES))
                return False
            conn.data_ready = True
            conn.init()
            conn.parser.unreader.mxchunk = _BLOCK_BYTES  # gunicorn's 8 kB cost many system calls
            conn.parser.unreader.unread(bytes(sock.head))
            sock.head = bytearray()
            return super().handle(conn)
        finally:
            self._working.pop(conn, None)

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Send what the client has not taken of the answer, then wait for more, or close."""
        if fs.cancelled() or fs.exception() is not None:
            self.nr_conns -= 1
            conn.close()
        elif conn.sock.unsent:
            deadline = conn.sock.began + self.settings.request_timeout_s + _ANSWER_S
            self._wait(conn, selectors.EVENT_WRITE, deadline, partial(self._send_rest, fs))
            self._bound_unsent()
        elif fs.result():
            super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def _send_rest(self, fs: "Future[Any]", conn: TConn) -> None:
        del conn.sock.unsent[: conn.sock.send(conn.sock.unsent)]
        if not conn.sock.unsent:
            self._forget(conn)
            self.finish_request(conn, fs)

    def _bound_unsent(self) -> None:
        """End the connections that have left answers longest where these take much memory."""
        held = [conn for conn in self._waiting if conn.sock.unsent]
        total = sum(len(conn.sock.unsent) for conn in held)
        for conn in held[:-1]:  # one alone may be larger
            if total <= _MAX_UNSENT_BYTES:
                return
            total -= len(conn.sock.unsent)
            self._end(conn)

    def _linger(self, conn: TConn) -> None:
        """Close a connection once the client has, or has been dropped what it sent."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # closed by the client
            self.nr_conns -= 1
            conn.close()
        else:
            self._wait(conn, selectors.EVENT_READ, time.monotonic() + _LINGER_S, self._discard)

    def _discard(self, conn: TConn) -> None:
        if not conn.sock.recv(_BLOCK_BYTES):
            self._end(conn)

    def _wait(
        self, conn: TConn, event: int, deadline: float, proceed: Callable[[TConn], None]
    ) -> None:
        """Have the event loop call `proceed` at each event of a connection, until `_forget`."""
        conn.sock.setblocking(False)
        self._waiting[conn] = _Waiting(time.monotonic(), deadline, proceed)
        self.poller.register(conn.sock, event, partial(self._proceed, conn))

    def _proceed(self, conn: TConn, _sock: object) -> None:
        waiting = self._waiting.get(conn)
        if waiting is None:  # ended by an event before
            return
        try:
            waiting.proceed(conn)
        except BlockingIOError:  # a false alarm
            pass
        except OSError:
            self._end(conn)

    def _forget(self, conn: TConn) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _end(self, conn: TConn) -> None:
        """Close a connection that the event loop looks after."""
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _end_longest(self) -> None:
        """End the connection that has kept the event loop waiting longest."""
        conn = next(iter(self._waiting), None)
        idle = self.keepalived_conns[0] if self.keepalived_conns else None
        if idle is not None and (
            conn is None or idle.timeout - self.cfg.keepalive < self._waiting[conn].since
        ):
            idle.timeout = 0.0
            self.murder_keepalived()
        elif conn is not None:
            self._end(conn)

    def murder_pending(self) -> None:
        """End whatever has taken too long; called after all events, once a second at least."""
        now = time.monotonic()
        if self._has_no_room or self.nr_conns >= self.worker_connections:
            self._has_no_room = False
            self._end_longest()
        for conn, waiting in list(self._waiting.items()):
            if now >= waiting.deadline:
                self._end(conn)
        for conn, deadline in list(self._working.items()):
            if now >= deadline:
                with suppress(OSError):  # ends a thread's reading, and what it sends is lost
                    conn.sock.shutdown(socket.SHUT_RDWR)
            elif conn.sock.is_slow(now):
                conn.sock.stop_reading()


def _is_head(received: bytearray, new: int = 0) -> bool:
    """Whether a head is whole, or too long; only the last `new` bytes have not been looked at.

    Empty lines before it are dropped (RFC 9112, section 2.2).
    """
    if received.startswith((b"\r", b"\n")):
        del received[: len(received) - len(received.lstrip(b"\r\n"))]
        new = 0
    start = max(0, len(received) - new - 3) if new else 0
    return received.find(b"\r\n\r\n", start) >= 0 or len(received) > _MAX_HEAD_BYTES


def _peer_of(sock: ClientSocket) -> str | None:
    """Address of the client; None where it is gone."""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return None
