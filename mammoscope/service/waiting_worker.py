"""gunicorn's threaded worker with one event loop that does all waiting for clients."""

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
"""Threads for requests without a body: pages, probes, facts about the model. However many there
are, they use no thread of requests with images."""

_PAGE_METHODS: Final = (b"GET ", b"HEAD ", b"OPTIONS ")

HEAD_TIMEOUT_S: Final = 10.0
"""Maximum seconds from the connection, or the last answer, to the end of a request's head."""

_MAX_HEAD_BYTES: Final = 64 * 1024

_ANSWER_S: Final = 5.0
"""Seconds to send an answer after the request's deadline, such as the refusal."""

_LINGER_S: Final = 5.0
"""Seconds during which data that a client still sends are discarded after its last answer. Closing
a connection with unread bytes resets it, which would lose the answer in transit."""

_MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024
"""Maximum total size of answers that clients have not yet received."""

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LEFT_AGAIN: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})

_BLOCK_BYTES: Final = 64 * 1024


class _Waiting(NamedTuple):
    """A connection in the event loop: since when, until when, and what follows."""

    since: float
    deadline: float
    proceed: Callable[[TConn], None]


class WaitingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker whose threads never wait for a client.

    gunicorn's own worker reads heads, sends answers and closes connections in its threads, so a few
    slow clients block all others. Here, the event loop does this. A thread handles a connection
    from the end of the head to the end of the work, which includes reading the body. If there are
    too many connections, the one that has been waiting longest is closed.

    TLS must end before this worker.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = ServiceSettings.from_environment()
        self._waiting: dict[TConn, _Waiting] = {}
        self._working: dict[TConn, float] = {}  # deadline of each connection
        self._clients: weakref.WeakSet[ClientSocket] = weakref.WeakSet()
        self._has_no_room = False
        self._page_pool = ThreadPoolExecutor(_PAGE_THREADS)

    @abstractmethod
    def refuse(self, client: socket.socket, status: HTTPStatus, request_id: str) -> None:
        """Answer a request that never reaches the application."""

    def end_silent(self) -> None:
        """Limit clients that have not started a request to the time of kept-alive connections."""
        soon = time.monotonic() + STOP_KEEPALIVE_LINGER
        for conn, waiting in self._waiting.items():
            if waiting.proceed == self._read_head and not conn.sock.head:
                self._waiting[conn] = waiting._replace(deadline=min(waiting.deadline, soon))

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and close another one if there are too many."""
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
        """Whether a client that is not one of our proxies has the maximum number of connections."""
        most = self.settings.max_connections_per_client
        if most == 0 or not isinstance(address, tuple):
            return False
        host = ipaddress.ip_address(address[0])
        host = getattr(host, "ipv4_mapped", None) or host
        if any(host in proxies for proxies in self.settings.trusted_proxies or ()):
            return False
        return [_peer_of(each) for each in self._clients].count(address[0]) >= most

    def enqueue_req(self, conn: TConn) -> None:
        """Read the head of a request on a new or kept-alive connection."""
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
        """Let a thread answer a request whose head is complete."""
        pool = self._page_pool if conn.sock.head.startswith(_PAGE_METHODS) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def handle(self, conn: TConn) -> Any:
        """Handle one request of a connection whose head is complete."""
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
        """Send the rest of the answer, then wait for another request, or close."""
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
        """Close the connections with the oldest unsent answers if these take too much memory."""
        held = [conn for conn in self._waiting if conn.sock.unsent]
        total = sum(len(conn.sock.unsent) for conn in held)
        for conn in held[:-1]:  # a single one may exceed the limit
            if total <= _MAX_UNSENT_BYTES:
                return
            total -= len(conn.sock.unsent)
            self._end(conn)

    def _linger(self, conn: TConn) -> None:
        """Close a connection after the client has, while discarding what it still sends."""
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
        """Let the event loop call `proceed` at each event of a connection, until `_forget`."""
        conn.sock.setblocking(False)
        self._waiting[conn] = _Waiting(time.monotonic(), deadline, proceed)
        self.poller.register(conn.sock, event, partial(self._proceed, conn))

    def _proceed(self, conn: TConn, _sock: object) -> None:
        waiting = self._waiting.get(conn)
        if waiting is None:  # closed by an earlier event
            return
        try:
            waiting.proceed(conn)
        except BlockingIOError:  # no data after all
            pass
        except OSError:
            self._end(conn)

    def _forget(self, conn: TConn) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _end(self, conn: TConn) -> None:
        """Close a connection in the event loop."""
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _end_longest(self) -> None:
        """Close the connection that has been waiting longest in the event loop."""
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
        """Close connections past their deadline; called after all events, at least every second."""
        now = time.monotonic()
        if self._has_no_room or self.nr_conns >= self.worker_connections:
            self._has_no_room = False
            self._end_longest()
        for conn, waiting in list(self._waiting.items()):
            if now >= waiting.deadline:
                self._end(conn)
        for conn, deadline in list(self._working.items()):
            if now >= deadline:
                with suppress(OSError):  # ends the thread's reading; its answer is lost
                    conn.sock.shutdown(socket.SHUT_RDWR)
            elif conn.sock.is_slow(now):
                conn.sock.stop_reading()


def _is_head(received: bytearray, new: int = 0) -> bool:
    """Whether a head is complete, or too long; only the last `new` bytes have not been checked.

    Empty lines before it are dropped (RFC 9112, section 2.2).
    """
    if received.startswith((b"\r", b"\n")):
        del received[: len(received) - len(received.lstrip(b"\r\n"))]
        new = 0
    start = max(0, len(received) - new - 3) if new else 0
    return received.find(b"\r\n\r\n", start) >= 0 or len(received) > _MAX_HEAD_BYTES


def _peer_of(sock: ClientSocket) -> str | None:
    """Return the address of the client; None if it has disconnected."""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return None
