"""A small real HTTP(S) service that takes updates, and TLS between two ends in memory.

The service runs in threads of the notebook's own process, on this machine alone (127.0.0.1), and
ends with its ``with`` block. :class:`End` and :func:`in_memory` talk TLS without any socket: what
one end says is bytes, which go to the other by whatever way.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import json
import os
import socket
import ssl
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .background import Background

#: Seconds of silence after which the service gives a client up.
SILENCE = 20

# ---- certificates ------------------------------------------------------------------------------


def load_certificate(context: ssl.SSLContext, pem: str | bytes) -> None:
    """Give a context its own private key and certificate, from one text.

    Python reads them from a file only, so the text stands in one for a moment.

    Args:
        context: A client's or a server's.
        pem: The private key without password, the certificate, and more of its chain, in PEM.

    Raises:
        ssl.SSLError: The text is no PEM, or the key does not belong to the certificate.
        ValueError: ``pem`` is neither text nor bytes.
    """
    if not isinstance(pem, str | bytes):
        raise ValueError(f"pem must be text or bytes, not {pem!r}")
    with tempfile.TemporaryDirectory(prefix="privlab-") as folder:
        file = Path(folder, "own.pem")
        file.touch(mode=0o600)
        file.write_bytes(pem.encode() if isinstance(pem, str) else pem)
        context.load_cert_chain(file, password=lambda: "")


def common_name(certificate: dict[str, Any] | None) -> str | None:
    """Return the common name of a certificate as ``getpeercert()`` gives it; None without one."""
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), None)


def reason(error: BaseException) -> str:
    """Say in a few words why a connection failed: what TLS says, somewhere inside an exception.

    Args:
        error: Of ``ssl``, ``socket``, ``requests`` or ``urllib3``.
    """
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue and len(seen) < 50:
        one = queue.pop(0)
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        queue += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    for one in seen:
        if isinstance(one, ssl.SSLCertVerificationError):
            return str(one.verify_message)
    for one in seen:
        if isinstance(one, ssl.SSLError) and one.reason:
            return str(one.reason)
    for one in seen:
        if isinstance(one, ConnectionError):
            return "connection closed"
    return type(error).__name__


# ---- the service -------------------------------------------------------------------------------


def read_update(body: bytes) -> np.ndarray:
    """Return an update: finite 32-bit floats, little-endian.

    Raises:
        ValueError: The body is none.
    """
    if not body or len(body) % 4:
        raise ValueError(f"an update is 4 bytes a number, not {len(body)} bytes")
    update = np.frombuffer(body, "<f4")
    if not np.isfinite(update).all():
        raise ValueError("an update is made of finite numbers")
    return update


class Received(NamedTuple):
    """What the service took.

    Attributes:
        path: What the client asked for, such as ``"/updates/Hungary"``.
        client: The common name in the client's certificate; None where it showed none.
        content: What ``read`` made of the body.
    """

    path: str
    client: str | None
    content: Any


class Service(Background):
    """A coordinator: takes ``POST`` requests with an update, over HTTP or HTTPS.

    It answers 200 and ``{"bytes": …, "client": …}``; 400 where the body makes no sense, 404 to
    ``GET``, 411 without a length, 413 above the limit.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        received: What it took, in order.
        refused: Why TLS failed with a client, in order: what the server found wrong, or the client
            said. A client that just leaves is not in it.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        read: Callable[[bytes], Any] = read_update,
        limit: int = 16 * 2**20,
    ) -> None:
        """Open the port.

        Args:
            context: The server's side of TLS; None for plain HTTP.
            read: Reads a body; its ``ValueError`` is told to the client, with status 400. What
                else it raises ends the connection, and is raised again when the ``with`` block
                ends.
            limit: The most bytes of a body, at least 1.

        Raises:
            ValueError: ``limit`` is below 1.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit must be a whole number, at least 1, not {limit!r}")
        super().__init__()
        self.received: list[Received] = []
        self.refused: list[str] = []
        self._context, self._read, self._limit = context, read, limit
        self._server = _Server(self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, end open connections, and wait for the threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.end()
        self._server.server_close()


class _Server(http.server.HTTPServer):
    """A thread a connection, all of which end with the service."""

    request_queue_size = 128

    def __init__(self, service: Service) -> None:
        self.service = service
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks its name up in the DNS.
        super(http.server.HTTPServer, self).server_bind()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            # Who is done is forgotten here, not by the thread itself: `end` waits for it.
            self._open = {t: each for t, each in self._open.items() if t.is_alive()}
            self._open[thread] = request
            thread.start()

    def _serve(self, raw: socket.socket, address: Any) -> None:
        connection: socket.socket = raw
        context = self.service._context
        try:
            raw.settimeout(SILENCE)
            if context is not None:
                # Here and not where connections are accepted: a silent client holds up nobody.
                connection = context.wrap_socket(
                    raw, server_side=True, do_handshake_on_connect=False
                )
                with self._lock:  # the wrapper has taken the descriptor over
                    self._open[threading.current_thread()] = connection
                connection.do_handshake()
            _Handler(connection, address, self)
        except OSError as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                self.service.refused.append(reason(error))
        finally:
            _hang_up(connection)
            connection.close()

    def end(self) -> None:
        """Cut the connections that are open, and wait for their threads."""
        with self._lock:
            threads = dict(self._open)
            for connection in threads.values():
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own, which would take the TLS object from a thread at work.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def _hang_up(connection: socket.socket) -> None:
    """Say that this is the end, and wait a moment for the other side to hang up.

    Closed with bytes unread, a connection is reset, and the client may miss the last word.
    """
    with contextlib.suppress(OSError, ValueError):
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(0)
            with contextlib.suppress(OSError):
                connection.unwrap()
        # The plain socket's methods: what comes now is not decrypted any more.
        socket.socket.shutdown(connection, socket.SHUT_WR)
        socket.socket.settimeout(connection, 0.2)
        end = time.monotonic() + 2
        while socket.socket.recv(connection, 2**20) and time.monotonic() < end:
            pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Head and body of an answer leave together; small packets do not wait.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        service = self.server.service
        length = self.headers.get("Content-Length")
        if length is None or self.headers.get("Transfer-Encoding"):
            return self._refuse(411, "say how long the body is")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            return self._refuse(400, "Content-Length is no number")
        if int(length) > service._limit:
            return self._refuse(413, f"a body has at most {service._limit} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return self._refuse(400, "the body is cut off")
        try:
            content = service._read(body)
        except ValueError as error:
            return self._answer(400, {"error": str(error)})
        except Exception as error:  # also OSError, which is none of the network's here
            service._errors.append(error)
            self.close_connection = True
            return None
        is_tls = isinstance(self.connection, ssl.SSLSocket)
        client = common_name(self.connection.getpeercert()) if is_tls else None
        service.received.append(Received(self.path, client, content))
        return self._answer(200, {"bytes": len(body), "client": client})

    def do_GET(self) -> None:
        self._refuse(404, "only POST")

    def _refuse(self, status: int, why: str) -> None:
        # The rest of the body may still come: the connection cannot be used again.
        self.close_connection = True
        self._answer(status, {"error": why})

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def version_string(self) -> str:
        return "privlab"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


# ---- what a connection costs -------------------------------------------------------------------


class Exchange(NamedTuple):
    """What one connection to a service took.

    Attributes:
        seconds: From the start, or from the answer before, to the answer to each body.
        session: What to resume the connection with; None over plain TCP.
        resumed: Whether this connection was itself resumed.
        marks: What ``meter`` said at each answer.
    """

    seconds: list[float]
    session: ssl.SSLSession | None
    resumed: bool
    marks: list[int]


def exchange(
    port: int,
    bodies: Sequence[bytes],
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
    host: str = "localhost",
    meter: Callable[[], int] | None = None,
) -> Exchange:
    """Send bodies to a service, one after the other, over one new connection.

    With as little around it as possible, so that times and bytes are those of the connection.

    Args:
        port: Of the service, on 127.0.0.1.
        bodies: What to send, at least one.
        context: The client's side of TLS; None for plain TCP.
        session: What an earlier connection with the same context left, to resume it.
        host: The name in the server's certificate.
        meter: Read after each answer, while the connection is open; such as the bytes of a tap.

    Raises:
        OSError: There is no connection, or TLS refuses it.
        RuntimeError: The service does not take a body.
        ValueError: ``bodies`` is empty.
    """
    if not bodies:
        raise ValueError("bodies must hold at least one body")
    seconds: list[float] = []
    marks: list[int] = []
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        end: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        stack.callback(lambda: end.close())
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            end = context.wrap_socket(end, server_hostname=host, session=session)
        for body in bodies:
            head = f"POST /updates HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            end.sendall(head.encode() + body)
            answer = http.client.HTTPResponse(end)
            answer.begin()
            told = answer.read()
            answer.close()
            if answer.status != 200:
                raise RuntimeError(f"the service answers {answer.status}: {told.decode()}")
            seconds.append(time.perf_counter() - began)
            if meter is not None:
                marks.append(meter())
            began = time.perf_counter()
        if not isinstance(end, ssl.SSLSocket):
            return Exchange(seconds, None, False, marks)
        # In TLS 1.3 the server's tickets come after the handshake, before its first answer.
        return Exchange(seconds, end.session, bool(end.session_reused), marks)


def greet(port: int, context: ssl.SSLContext, host: str = "localhost") -> str:
    """Connect to a service, shake hands, and wait for its first byte; say how far that went.

    Args:
        port: Of the service, on 127.0.0.1.
        context: The client's side of TLS.
        host: The name in the server's certificate.

    Raises:
        OSError: The service is not there.
    """
    told = ""
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=host) as end:
                told = f"handshake done ({end.version()}), then "
                end.recv(1)
        except OSError as error:
            return told + reason(error)
    return told + "the end"


def cost(
    server: ssl.SSLContext | None,
    client: ssl.SSLContext | None,
    update: bytes,
    resume: bool = False,
    kept: bool = False,
) -> dict[str, float]:
    """Measure what an update costs over one kind of connection.

    Args:
        server: The server's side of TLS; None for HTTP.
        client: The client's side.
        update: What is sent, 30 times.
        resume: Whether each connection resumes the one before, with a ticket of its own.
        kept: Whether to measure a second update over the same connection.

    Returns:
        ``"ms"`` until the answer is there, the best of 30, for other programs only add to it;
        ``"bytes"`` on the wire in both directions until then, without TCP and IP and without the
        end of the connection.

    Raises:
        RuntimeError: The server does not resume.
    """
    from .attacks.wiretap import Wiretap

    times = []
    with Service(server, read=len) as service, Wiretap(service.port) as tap:

        def measure(port: int, session: ssl.SSLSession | None) -> Exchange:
            done = exchange(
                port,
                [update] * (1 + kept),
                client,
                session if resume else None,
                meter=lambda: len(tap.sent) + len(tap.received),
            )
            if resume and session is not None and not done.resumed:
                raise RuntimeError("the server does not resume")
            return done

        session = measure(service.port, None).session  # warms up, too
        for _ in range(30):
            done = measure(service.port, session)
            times.append(done.seconds[-1])
            session = done.session
        marks = measure(tap.port, session).marks
    return {
        "ms": 1000 * min(times),
        "bytes": marks[1] - marks[0] if kept else marks[0],
    }


def speed(
    server: ssl.SSLContext | None, client: ssl.SSLContext | None, large: int = 10_000_000
) -> float:
    """Measure how fast one large body goes through a connection that is open already.

    Args:
        server: The server's side of TLS; None for HTTP.
        client: The client's side.
        large: Bytes of the body.

    Returns:
        MB/s, the best of five.
    """
    body = bytes(large)
    with Service(server, read=len, limit=max(large, 1)) as service:
        best = min(exchange(service.port, [b"", body], client).seconds[1] for _ in range(5))
    return large / best / 1e6


# ---- TLS in memory -----------------------------------------------------------------------------


class End:
    """One end of a TLS connection in memory: bytes in, bytes out.

    Attributes:
        received: What the other end said, decrypted.
        error: Why the connection failed; None as long as it has not.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str | None = None,
        message: bytes = b"",
        reply: Callable[[bytes, str | None], bytes] | None = None,
    ) -> None:
        """Begin; nothing is said yet.

        Args:
            context: The client's or the server's.
            host: The name of the server, for a client; None makes a server's end.
            message: What to say when the handshake is through.
            reply: What a server answers to all that it has read so far, and to the client's common
                name; once a record, which holds up to 16 kB.

        Raises:
            ssl.SSLError: The context is for the other side.
            TypeError: ``context`` is none.
        """
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"an ssl.SSLContext is needed, not {type(context).__name__}")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        self._message, self._reply, self._shaken = message, reply, False
        self.received = b""
        self.error: ssl.SSLError | None = None

    @property
    def version(self) -> str | None:
        """The version of TLS; None before the handshake is through."""
        return self._tls.version() if self._shaken else None

    @property
    def peer(self) -> str | None:
        """The common name in the other end's certificate; None without one."""
        return common_name(self._tls.getpeercert()) if self._shaken else None

    def say(self, message: bytes) -> bytes:
        """Encrypt a message after the handshake; return the bytes for the other end."""
        self._tls.write(message)
        return self._outgoing.read()

    def flight(self, data: bytes = b"") -> bytes:
        """Take what the other end said; return what this one says, perhaps nothing."""
        self._incoming.write(data)
        try:
            if self.error is None:
                self._advance()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error  # and an alert for the other end has been written
        return self._outgoing.read()

    def _advance(self) -> None:
        if not self._shaken:
            self._tls.do_handshake()
            self._shaken = True
            if self._message:
                self._tls.write(self._message)
        while data := self._tls.read(65536):
            self.received += data
            if self._reply is not None:
                self._tls.write(self._reply(self.received, self.peer))


def describe(message: bytes, client: str | None) -> bytes:
    """Return the answer of a server to a message: how long it is, and whose it is."""
    return json.dumps({"bytes": len(message), "client": client}).encode()


@contextlib.contextmanager
def _play_system(pem: str) -> Iterator[None]:
    """Let a certificate stand for the CAs of the system, as OpenSSL looks for them.

    The environment belongs to the whole process: another thread that makes a context at this moment
    gets the same. Where the system's CAs lie in a folder, that is looked at as well.

    Folders of CAs (``capath``) are refused meanwhile: OpenSSL reads them when it needs one, so that
    nobody can list what a context trusts.
    """
    names = "SSL_CERT_FILE", "SSLKEYLOGFILE"
    load = ssl.SSLContext.load_verify_locations

    def load_files(
        context: ssl.SSLContext, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        if capath is not None:
            raise ValueError("capath: the context trusts a folder of CAs that it was not given")
        load(context, cafile, None, cadata)

    before = {name: os.environ.pop(name, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="privlab-") as folder:
        file = Path(folder, "system.pem")
        file.write_text(pem)
        os.environ["SSL_CERT_FILE"] = str(file)
        ssl.SSLContext.load_verify_locations = load_files
        try:
            yield
        finally:
            del ssl.SSLContext.load_verify_locations  # back to what the class inherits
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _certificates(*texts: Any) -> set[bytes]:
    """Return the certificates in PEM texts, in DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = [part.split(end)[0] for text in texts for part in str(text).split(begin)[1:]]
    return {ssl.PEM_cert_to_DER_cert(begin + part + end) for part in parts}


def in_memory(make_context: Callable[..., ssl.SSLContext]) -> Callable[..., Any]:
    """Let a function that makes a TLS context also speak TLS, flight by flight, in plain bytes.

    The function itself stays as it is. With one more argument, a tuple (conversation, host,
    message, data, system), it makes a context for a new conversation (a whole number) and returns
    the bytes that this end says to ``data``: nothing yet in a client's first flight. A client
    (``host`` is whom it wants to reach) says ``message`` after the handshake; a server (``host`` is
    None) answers a message of up to 16 kB as :func:`describe` does. ``system`` is a CA in PEM that
    stands for those of the system while the function runs: who trusts these, trusts it.

    What no partner could find out is refused here: a context that writes the secrets of its
    sessions to a file, and one that holds CAs which are neither ``system`` nor in a text that the
    function ever got, such as those of ``certifi`` or of a folder.

    Args:
        make_context: Returns a client's or a server's context.
    """
    ends: OrderedDict[int, End] = OrderedDict()
    given: set[bytes] = set()

    @functools.wraps(make_context)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if not arguments or not isinstance(arguments[-1], tuple):
            return make_context(*arguments, **options)
        *arguments, (number, host, message, data, system) = arguments
        if number not in ends:
            with _play_system(system):
                context = make_context(*arguments)
            if context is ... or context is NotImplemented:
                return context
            end = End(context, host, message, None if host else describe)
            if context.keylog_filename is not None:
                raise ValueError(
                    "keylog_filename: whoever reads that file reads all connections. Leave it out"
                )
            given.update(_certificates(system, *arguments))
            if more := set(context.get_ca_certs(binary_form=True)) - given:
                raise ValueError(f"the context trusts {len(more)} CAs that it was not given")
            ends[number] = end
            while len(ends) > 8:  # the oldest are over
                ends.popitem(last=False)
        return ends[number].flight(data)

    return wrapped
