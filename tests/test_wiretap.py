"""privlab/attacks/wiretap.py: everything passes, everything is recorded, nothing is left behind."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest
import trustme

from privlab.attacks import wiretap
from privlab.attacks.wiretap import Wiretap

pytestmark = pytest.mark.usefixtures("nothing_is_left")

CA = trustme.CA()
HUB, ROGUE = CA.issue_cert("localhost"), trustme.CA().issue_cert("localhost")


def server_context(certificate=HUB):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    return context


class Peer:
    """A server that gives each connection to a function, in a thread."""

    def __init__(self, handle, context=None):
        self.handle, self.context, self.threads = handle, context, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        self.accepting = threading.Thread(target=self._accept)
        self.accepting.start()
        return self

    def _accept(self):
        while True:
            end, _ = self.listener.accept()
            if self.closing:
                return end.close()
            self.threads.append(threading.Thread(target=self._run, args=(end,)))
            self.threads[-1].start()

    closing = False

    def _run(self, end):
        with contextlib.suppress(OSError):
            end.settimeout(20)
            if self.context:
                end = self.context.wrap_socket(end, server_side=True)
            self.handle(end)
        end.close()

    def __exit__(self, *problem):
        self.closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in [self.accepting, *self.threads]:
            thread.join(20)
        self.listener.close()


def echo(end):
    """Send everything back after the client has said all."""
    data = read(end)
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)


def reply(end):
    """Answer each piece at once."""
    while data := end.recv(65536):
        end.sendall(data.upper())


def read(end):
    parts = []
    while data := end.recv(65536):
        parts.append(data)
    return b"".join(parts)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def ask(port, data):
    with connect(port) as end:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        return read(end)


def test_both_directions_are_recorded_with_half_closed_connections():
    with Peer(echo) as peer, Wiretap(peer.port) as tap:
        assert ask(tap.port, b"secret") == b"secret"
    assert tap.sent == tap.received == b"secret"
    assert tap.failures == []


def test_large_bodies_in_both_directions_at_once():
    body = os.urandom(10_000_000)

    def chatty(end):
        writer = threading.Thread(target=lambda: end.sendall(body))
        writer.start()
        read(end)
        writer.join()
        end.shutdown(socket.SHUT_WR)

    def send(end):
        end.sendall(body)
        end.shutdown(socket.SHUT_WR)

    with Peer(chatty) as peer, Wiretap(peer.port) as tap, connect(tap.port) as end:
        writer = threading.Thread(target=send, args=(end,))
        writer.start()
        got = read(end)
        writer.join()
    assert got == body
    assert tap.sent == body
    assert tap.received == body


def test_a_slow_reader_holds_the_sender_back():
    body = bytes(30_000_000)

    def slow(end):
        time.sleep(0.3)
        echo_length = len(read(end))
        end.sendall(str(echo_length).encode())

    with Peer(slow) as peer, Wiretap(peer.port) as tap:
        assert ask(tap.port, body) == b"30000000"


def test_many_connections_at_once():
    answers = {}

    def one(number):
        answers[number] = ask(tap.port, b"%d " % number * 5000)

    with Peer(echo) as peer, Wiretap(peer.port) as tap:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {n: b"%d " % n * 5000 for n in range(60)}
    assert len(tap.connections) == 60
    assert sorted(bytes(c.sent) for c in tap.connections) == sorted(answers.values())


@pytest.mark.parametrize(
    ("direction", "sent", "received", "got"),
    [("sent", b"good", b"evil", b"evil"), ("received", b"good", b"good", b"evil")],
)
def test_tampering_in_one_direction(direction, sent, received, got):
    def change(data):
        return data.replace(b"good", b"evil")

    with Peer(echo) as peer, Wiretap(peer.port, change, direction) as tap:
        assert ask(tap.port, b"good") == got
    assert (tap.sent, tap.received) == (sent, received)  # what each side sent


def test_tampering_may_shorten_and_drop():
    with Peer(echo) as peer, Wiretap(peer.port, lambda data: b"") as tap:
        assert ask(tap.port, b"good") == b""
    assert tap.sent == b"good"


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError, BlockingIOError, ssl.SSLError])
def test_what_tamper_raises_is_raised_at_the_end(kind):
    def fail(data):
        raise kind("no")

    def call():
        with Peer(echo) as peer, Wiretap(peer.port, fail) as tap:
            with contextlib.suppress(OSError):
                assert ask(tap.port, b"good") == b""  # the connection ends
            assert tap.failures == []

    with pytest.raises(kind, match="no"):
        call()


def test_an_error_of_the_block_comes_first():
    def block():
        with Peer(echo) as peer, Wiretap(peer.port, lambda data: 1 // 0) as tap:
            ask(tap.port, b"good")
            raise KeyError("zip")

    with pytest.raises(KeyError) as caught:
        block()
    assert "Wiretap failed" in caught.value.__notes__[0]


def test_tamper_that_returns_no_bytes_is_told():
    with pytest.raises(TypeError), Peer(echo) as peer, Wiretap(peer.port, lambda d: None) as tap:
        ask(tap.port, b"good")


def test_a_client_that_resets():
    with Peer(reply) as peer, Wiretap(peer.port) as tap:
        end = connect(tap.port)
        end.sendall(b"hello")
        assert end.recv(5) == b"HELLO"
        # Linger for no time: close sends a reset.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()
        assert ask(tap.port, b"again") == b"AGAIN"
    assert b"hello" in tap.sent


def test_close_with_open_connections():
    with Peer(reply) as peer:
        with Wiretap(peer.port) as tap:
            ends = [connect(tap.port) for _ in range(3)]
            ends[0].sendall(b"hello")
            assert ends[0].recv(5) == b"HELLO"
            began = time.monotonic()
        assert time.monotonic() - began < 3
        for end in ends:
            with contextlib.suppress(ConnectionError):
                assert end.recv(1) == b""
            end.close()


def test_close_while_the_server_does_not_read():
    release = threading.Event()
    with Peer(lambda end: release.wait(20)) as peer:
        with Wiretap(peer.port) as tap:
            end = connect(tap.port)
            end.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    end.send(bytes(2**20))
        end.close()
        release.set()


def test_the_target_is_down():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Wiretap(port) as tap, connect(tap.port) as end, contextlib.suppress(ConnectionError):
        assert end.recv(1) == b""
    assert tap.connections == []
    assert "refused" in tap.failures[0]


def test_close_while_it_connects():
    """A server that accepts nobody: its queue is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(5):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with Wiretap(port) as tap:
            stack.enter_context(connect(tap.port))
            time.sleep(0.2)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert tap.connections == []


def test_a_host_that_cannot_be_one_is_told():
    with (
        pytest.raises(ValueError, match="server_hostname"),
        Peer(reply) as peer,
        Wiretap(peer.port, upstream=client_context(), host="") as tap,
        contextlib.suppress(OSError),
    ):
        ask(tap.port, b"good")


def test_close_twice_and_without_a_connection():
    with Peer(echo) as peer:
        tap = Wiretap(peer.port)
        assert tap.sent == tap.received == b""
        tap.close()
        with pytest.raises(ConnectionRefusedError):
            connect(tap.port)


@pytest.mark.parametrize("port", [0, -1, 65536, "80", None, True])
def test_a_wrong_port(port):
    with pytest.raises(ValueError, match="port must be"):
        Wiretap(port)


def test_a_wrong_direction():
    with pytest.raises(ValueError, match="direction must be"):
        Wiretap(80, direction="both")


# ---- TLS ----------------------------------------------------------------------------------------


def encrypted(port, data, context):
    with connect(port) as raw, context.wrap_socket(raw, server_hostname="localhost") as end:
        end.sendall(data)
        got = b""
        while len(got) < len(data):
            got += end.recv(65536)
        return got


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_over_tls_the_tap_reads_the_host_and_nothing_else(version):
    context = client_context()
    context.maximum_version = version
    with Peer(reply, server_context()) as peer, Wiretap(peer.port) as tap:
        assert encrypted(tap.port, b"a secret" * 100, context) == b"A SECRET" * 100
    assert b"secret" not in tap.sent + tap.received
    assert wiretap.server_name(tap.sent) == "localhost"
    kinds = [record.content for record in wiretap.records(tap.sent)]
    assert kinds[0] == "handshake"
    assert kinds[-1] == "application data"
    assert wiretap.records(tap.sent)[-1].length >= 800 + 17


def man_in_the_middle(port, tamper=None):
    return Wiretap(port, tamper, certificate=server_context(ROGUE), upstream=client_context())


def test_a_man_in_the_middle_reads_and_changes_where_nobody_checks():
    careless = ssl._create_unverified_context()
    body = os.urandom(3_000_000)
    with Peer(reply, server_context()) as peer, man_in_the_middle(peer.port) as tap:
        assert encrypted(tap.port, body, careless) == body.upper()
    assert tap.sent == body
    with (
        Peer(reply, server_context()) as peer,
        man_in_the_middle(peer.port, lambda data: data.replace(b"a", b"b")) as tap,
    ):
        assert encrypted(tap.port, b"aaa", careless) == b"BBB"


def test_a_man_in_the_middle_fails_where_somebody_checks():
    with (
        Peer(reply, server_context()) as peer,
        man_in_the_middle(peer.port) as tap,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        encrypted(tap.port, b"secret", client_context())
    assert tap.sent == b""
    assert "UNKNOWN_CA" in tap.failures[0]


def test_close_during_a_handshake():
    with Peer(reply, server_context()) as peer:
        with man_in_the_middle(peer.port) as tap:
            silent = connect(tap.port)
            time.sleep(0.1)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        silent.close()


def test_records_and_names_of_other_bytes():
    with pytest.raises(ValueError, match="byte 0"):
        wiretap.records(b"POST / HTTP/1.1")
    assert wiretap.records(b"") == []
    assert wiretap.records(b"\x17\x03\x03\x00\x02ab\x15\x03\x03\x00\x09half") == [
        ("application data", 2)
    ]
    for data in (b"", b"POST / HTTP/1.1", b"\x16\x03\x01\x00\x10\x01\x00"):
        with pytest.raises(ValueError, match="ClientHello"):
            wiretap.server_name(data)


@pytest.mark.parametrize("host", ["localhost", "a.b.example", "127.0.0.1"])
def test_every_cut_of_a_client_hello(host):
    out = ssl.MemoryBIO()
    end = client_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        end.do_handshake()
    hello = out.read()
    # No name is sent for an address (RFC 6066).
    assert wiretap.server_name(hello) == (None if host == "127.0.0.1" else host)
    # Without compression methods' end there is nothing more: TLS before extensions (RFC 2246).
    bare = b"\1\0\0\x29\3\3" + bytes(32) + b"\0\0\2\0\x2f\1\0"
    assert wiretap.server_name(b"\x16\3\1\0" + bytes([len(bare)]) + bare) is None
    for cut in range(0, 200, 7):
        with pytest.raises(ValueError, match="ClientHello"):
            wiretap.server_name(hello[:cut])
