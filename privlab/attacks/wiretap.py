"""A wiretap: a TCP proxy between a client and a server that reads, and may change, what passes.

Real wiretaps sit in a router, a Wi-Fi access point or a proxy. This one gives the client a port of
its own on this machine; what it sees and can do there is the same. It records the bytes, not the
packets: no headers of TCP or IP.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..background import Background

#: Bytes that the tap holds back at most in one direction before it stops reading.
_BUFFER = 2**20
#: Seconds that a server or a TLS handshake may take.
_PATIENCE = 10


@dataclass
class Connection:
    """What passed in one connection, as each side sent it.

    Attributes:
        sent: By the client.
        received: By the server.
    """

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class Wiretap(Background):
    """A tap on the way to a port; listens on 127.0.0.1 as long as its ``with`` block runs.

    With ``certificate`` it is a man in the middle: it speaks TLS to the client with a certificate
    of its own, and ``upstream`` TLS to the server; then it records what it decrypts.

    Attributes:
        port: Where the client is to connect.
        connections: What passed, one entry a connection, in the order in which they were ready: the
            server reached, and with ``certificate`` or ``upstream`` the handshakes done.
        failures: Connections that failed for a reason of the network or of TLS, in words.
    """

    def __init__(
        self,
        port: int,
        tamper: Callable[[bytes], bytes] | None = None,
        direction: str = "sent",
        certificate: ssl.SSLContext | None = None,
        upstream: ssl.SSLContext | None = None,
        host: str = "localhost",
    ) -> None:
        """Start listening.

        Args:
            port: Where the server listens, on 127.0.0.1.
            tamper: Changes what passes in one direction, piece by piece as it arrives; what it
                raises ends the connection, and is raised again when the ``with`` block ends.
            direction: Which one: ``"sent"`` by the client, or ``"received"`` by it.
            certificate: The server's side of TLS to show to the client.
            upstream: The client's side of TLS to the server.
            host: The server's name, for ``upstream``.

        Raises:
            ValueError: ``port`` is not 1 to 65535; ``direction`` is none of the two.
        """
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"port must be a whole number from 1 to 65535, not {port!r}")
        if direction not in ("sent", "received"):
            raise ValueError(f"direction must be 'sent' or 'received', not {direction!r}")
        self._target, self._tamper, self._direction = port, tamper, direction
        self._certificate, self._upstream, self._host = certificate, upstream, host
        self.connections: list[Connection] = []
        self.failures: list[str] = []
        super().__init__()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, list[socket.socket]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        # When the tap ends, `_end` is closed and `_ended` becomes readable for every thread.
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def sent(self) -> bytes:
        """What clients sent in all connections."""
        return b"".join(bytes(each.sent) for each in self.connections)

    @property
    def received(self) -> bytes:
        """What clients were sent in all connections, before any tampering."""
        return b"".join(bytes(each.received) for each in self.connections)

    def close(self) -> None:
        """Stop listening, cut open connections, and wait for the threads."""
        self._end.close()
        self._thread.join()
        self._listener.close()
        with self._lock:
            threads = dict(self._open)
            for ends in threads.values():
                for end in ends:
                    with contextlib.suppress(OSError):
                        # Wakes a handshake; not SSLSocket's own method, which drops its TLS object.
                        socket.socket.shutdown(end, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_PATIENCE + 5)
        self._ended.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._ended in ready:
                    return
                try:
                    client, _ = self._listener.accept()
                except OSError:  # the client is gone already
                    continue
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                with self._lock:
                    # Who is done is forgotten here, not by the thread itself: `close` waits for it.
                    self._open = {t: ends for t, ends in self._open.items() if t.is_alive()}
                    self._open[thread] = [client]
                    thread.start()

    def _keep(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open[threading.current_thread()] = list(ends)

    def _serve(self, client: socket.socket) -> None:
        ends = [client]
        try:
            client.settimeout(_PATIENCE)
            server = socket.socket()
            ends.append(server)
            self._keep(*ends)  # before it connects: `close` waits for no server
            server.settimeout(_PATIENCE)
            server.connect(("127.0.0.1", self._target))
            if self._certificate is not None:
                ends[0] = self._certificate.wrap_socket(
                    client, server_side=True, do_handshake_on_connect=False
                )
                self._keep(*ends)
                ends[0].do_handshake()
            if self._upstream is not None:
                ends[1] = self._upstream.wrap_socket(
                    server, server_hostname=self._host, do_handshake_on_connect=False
                )
                self._keep(*ends)
                ends[1].do_handshake()
            connection = Connection()
            with self._lock:
                self.connections.append(connection)
            self._relay(*ends, connection)
        except _TamperFailed as failed:
            self._errors.append(failed.error)
        except OSError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        except Exception as error:  # such as a ``host`` that cannot be one
            self._errors.append(error)
        finally:
            for end in ends:
                _hang_up(end)

    def _relay(self, client: socket.socket, server: socket.socket, record: Connection) -> None:
        """Copy in both directions until both are at their end."""
        ways = [
            _Way(client, server, record.sent, self._tamper if self._direction == "sent" else None),
            _Way(
                server,
                client,
                record.received,
                self._tamper if self._direction == "received" else None,
            ),
        ]
        is_tls = isinstance(client, ssl.SSLSocket) or isinstance(server, ssl.SSLSocket)
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            while not all(way.over for way in ways):
                moved = False
                for way in ways:
                    moved |= way.move()
                # TLS has no half-closed connections that its users could rely on.
                if is_tls and any(way.over for way in ways) and not any(w.waiting for w in ways):
                    return
                if moved:
                    if self._ended in {key.fileobj for key, _ in selector.select(0)}:
                        return
                    continue
                for end in (client, server):
                    _watch(selector, end, ways)
                if self._ended in {key.fileobj for key, _ in selector.select()}:
                    return


class _TamperFailed(Exception):
    """Carries what ``tamper`` raised past the handling of the network's own errors."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.error = error


class _Way:
    """One direction of a connection."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        record: bytearray,
        tamper: Callable[[bytes], bytes] | None,
    ) -> None:
        self.source, self.target, self._record, self._tamper = source, target, record, tamper
        self.waiting = bytearray()
        self._ended = self.over = False
        # What TLS waits for instead of the obvious: a read that needs to write, and reverse.
        self.wants = {source: selectors.EVENT_READ, target: selectors.EVENT_WRITE}

    @property
    def reads(self) -> bool:
        """Whether there is room for more."""
        return not self._ended and len(self.waiting) < _BUFFER

    def move(self) -> bool:
        """Read and write what is possible now; return whether anything was."""
        moved = False
        if self.reads:
            data = self._try(self.source, lambda: self.source.recv(65536), selectors.EVENT_READ)
            if data is not None:
                moved = True
                self._ended = not data
                if data:
                    self._record += data
                    self.waiting += self._changed(data)
        if self.waiting:
            count = self._try(
                self.target, lambda: self.target.send(self.waiting), selectors.EVENT_WRITE
            )
            if count:
                moved = True
                del self.waiting[:count]
        if self._ended and not self.waiting and not self.over:
            self.over = moved = True
            if not isinstance(self.target, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    self.target.shutdown(socket.SHUT_WR)
        return moved

    def _changed(self, data: bytes) -> bytes:
        if self._tamper is None:
            return data
        try:
            return bytes(memoryview(self._tamper(data)))  # anything that holds bytes
        except Exception as error:
            raise _TamperFailed(error) from error

    def _try(self, end: socket.socket, run: Callable[[], Any], event: int) -> Any:
        try:
            result = run()
        except ssl.SSLWantWriteError:
            self.wants[end] = selectors.EVENT_WRITE
        except ssl.SSLWantReadError:
            self.wants[end] = selectors.EVENT_READ
        except BlockingIOError:
            self.wants[end] = event
        else:
            return result
        return None


def _watch(selector: selectors.BaseSelector, end: socket.socket, ways: list[_Way]) -> None:
    """Let the selector wait for what the two directions need of a socket."""
    events = 0
    for way in ways:
        if (way.source is end and way.reads) or (way.target is end and way.waiting):
            events |= way.wants[end]
    if end in selector.get_map():
        selector.unregister(end)
    if events:
        selector.register(end, events)


def _hang_up(end: socket.socket) -> None:
    """Close a socket; over TLS, say so before, and wait for no answer."""
    if isinstance(end, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            end.setblocking(False)
            end.unwrap()
    end.close()


# ---- what TLS shows ----------------------------------------------------------------------------

_CONTENT = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}


class Record(NamedTuple):
    """The clear beginning of a TLS record.

    Attributes:
        content: What it says it holds. In TLS 1.3, what is encrypted says "application data",
            whatever it is.
        length: Bytes that follow.
    """

    content: str
    length: int


def records(data: bytes) -> list[Record]:
    """Split what one side sent in one connection into TLS records (RFC 9846, section 5.1).

    Args:
        data: From the first byte on; an unfinished record at the end is left out.

    Raises:
        ValueError: The bytes are no TLS.
    """
    found, place = [], 0
    while place + 5 <= len(data):
        kind, major = data[place], data[place + 1]
        length = int.from_bytes(data[place + 3 : place + 5])
        if kind not in _CONTENT or major != 3:
            raise ValueError(f"data holds no TLS record at byte {place}")
        if place + 5 + length <= len(data):
            found.append(Record(_CONTENT[kind], length))
        place += 5 + length
    return found


def server_name(data: bytes) -> str | None:
    """Read the server's name off a ClientHello (RFC 6066, section 3).

    Args:
        data: What a client sent, from the first byte on; the ClientHello in one record.

    Returns:
        The name; None if the client gives none, as for an IP address, or has no extensions at all.

    Raises:
        ValueError: The bytes do not begin with a whole ClientHello.
    """

    whole = data[: 5 + int.from_bytes(data[3:5])]
    if whole[:1] != b"\x16" or whole[5:6] != b"\x01" or int.from_bytes(data[3:5]) + 5 > len(data):
        raise ValueError("data does not begin with a whole ClientHello")
    place = 5

    def take(size: int) -> bytes:
        nonlocal place
        if place + size > len(whole):
            raise ValueError("data does not begin with a whole ClientHello")
        place += size
        return whole[place - size : place]

    def number(size: int) -> int:
        return int.from_bytes(take(size))

    take(1 + 3 + 2 + 32)  # type, length, version, random
    take(number(1))  # session id
    take(number(2))  # cipher suites
    take(number(1))  # compression
    if place == len(whole):
        return None
    end = number(2)
    end += place
    while place < end:
        kind, size = number(2), number(2)
        body = take(size)
        if kind == 0:  # list length, type, name length, name
            return body[5 : 5 + int.from_bytes(body[3:5])].decode("ascii", "replace")
    return None
