"""privlab/transport.py: a service that keeps its manners, TLS in memory; exercises 17.1 to 17.3."""

import contextlib
import datetime
import http.client
import json
import os
import socket
import ssl
import threading
import time

import numpy as np
import pytest
import requests
import trustme

from privlab import transport
from privlab.attacks.wiretap import Wiretap
from privlab.exercise import LocalPeer
from privlab.exercises.lesson_17 import EXERCISES
from privlab.transport import End, Service

pytestmark = pytest.mark.usefixtures("nothing_is_left")

CA = trustme.CA()
HUB, HOSPITAL = CA.issue_cert("localhost"), CA.issue_cert("a.example", common_name="Hungary")
PEM = CA.cert_pem.bytes().decode()
SYSTEM, OTHER = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
UPDATE = np.arange(11, dtype="<f4").tobytes()


def server_context(certificate=HUB, mutual=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        CA.configure_trust(context)
    return context


def client_context(certificate=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    if certificate:
        certificate.configure_cert(context)
    return context


def raw(port, data):
    """Send bytes, and return status and answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as end:
        end.sendall(data)
        answer = http.client.HTTPResponse(end)
        answer.begin()
        told = answer.read()
        answer.close()
        return answer.status, json.loads(told)


# ---- the service -------------------------------------------------------------------------------


def test_it_takes_updates_over_one_connection():
    with Service() as service, requests.Session() as session:
        for name in ("a", "b"):
            answer = session.post(f"http://127.0.0.1:{service.port}/updates/{name}", data=UPDATE)
            assert answer.json() == {"bytes": 44, "client": None}
    assert [each.path for each in service.received] == ["/updates/a", "/updates/b"]
    assert np.array_equal(service.received[0].content, np.arange(11))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0000\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: four\r\n\r\n0000", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n00000", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\x00\x00\xc0\x7f", 400),  # NaN
        (b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + bytes(2000), 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    ],
)
def test_bad_requests_are_told_why(request_, status):
    with Service(limit=1000) as service:
        told = raw(service.port, request_)
        assert told[0] == status
        assert told[1]["error"]
        assert raw(service.port, b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n0000")[0] == 200
    assert len(service.received) == 1


def test_a_large_body_above_the_limit_is_answered_not_reset():
    with Service(limit=1000) as service:
        answer = requests.post(f"http://127.0.0.1:{service.port}/", data=bytes(5_000_000))
    assert answer.status_code == 413


def test_a_body_that_is_cut_off():
    with Service() as service, socket.create_connection(("127.0.0.1", service.port)) as end:
        end.sendall(b"POST / HTTP/1.1\r\nContent-Length: 44\r\n\r\n0000")
        end.shutdown(socket.SHUT_WR)
        assert b"400" in end.recv(4096)
    assert service.received == []


def test_nonsense_instead_of_a_request_and_a_client_that_vanishes():
    with Service() as service:
        for data in (b"\x16\x03\x01nonsense\r\n\r\n", b"", b"\0" * 100_000):
            end = socket.create_connection(("127.0.0.1", service.port))
            with end, contextlib.suppress(OSError):
                end.sendall(data)
        assert raw(service.port, b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n0000")[0] == 200


@pytest.mark.parametrize("context", [None, server_context()], ids=["HTTP", "HTTPS"])
def test_it_ends_with_silent_clients_connected(context):
    with Service(context) as service:
        ends = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(5)]
        time.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    for end in ends:
        end.close()


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError, ssl.SSLError])
@pytest.mark.parametrize("block", [None, KeyError])
def test_what_read_raises_by_mistake_is_raised_at_the_end(kind, block):
    def read(body):
        raise kind("no")

    def call():
        with Service(read=read) as service:
            with contextlib.suppress(requests.ConnectionError):
                requests.post(f"http://127.0.0.1:{service.port}/", data=UPDATE, timeout=5)
            assert service.refused == []
            if block:
                raise block

    with pytest.raises(block or kind) as caught:
        call()
    assert bool(block) == ("Service failed" in "".join(getattr(caught.value, "__notes__", "")))


def test_who_just_leaves_is_not_refused():
    with Service(server_context()) as service:
        socket.create_connection(("127.0.0.1", service.port)).close()
        transport.exchange(service.port, [UPDATE], client_context())
    assert service.refused == []


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, True])
def test_a_wrong_limit(limit):
    with pytest.raises(ValueError, match="limit"):
        Service(limit=limit)


def test_many_clients_over_mutual_tls():
    told = []
    context = client_context(HOSPITAL)

    def one():
        told.append(transport.exchange(service.port, [UPDATE] * 3, context))

    with Service(server_context(mutual=True)) as service:
        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(told) == 20
    assert [each.client for each in service.received] == ["Hungary"] * 60


def test_clients_that_tls_turns_away():
    old = client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    modern = server_context(mutual=True)
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with Service(modern) as service:
        told = transport.greet(service.port, client_context())
        assert told == "handshake done (TLSv1.3), then TLSV13_ALERT_CERTIFICATE_REQUIRED"
        assert transport.greet(service.port, old) == "TLSV1_ALERT_PROTOCOL_VERSION"
        strangers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        assert "certificate" in transport.greet(service.port, strangers)
    assert service.received == []
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in service.refused
    assert len(service.refused) == 3


def test_reasons():
    loop = ValueError("no TLS")
    loop.__cause__ = loop
    assert transport.reason(loop) == "ValueError"
    assert transport.reason(ConnectionResetError(104, "reset")) == "connection closed"
    with (
        Service(server_context(trustme.CA().issue_cert("localhost"))) as service,
        pytest.raises(requests.exceptions.SSLError) as caught,
    ):
        requests.post(f"https://localhost:{service.port}/", data=UPDATE, timeout=5)
    assert "self" in transport.reason(caught.value) or "issuer" in transport.reason(caught.value)


def test_exchange_resumes_and_refuses():
    context = client_context()
    with Service(server_context()) as service:
        first = transport.exchange(service.port, [UPDATE], context)
        second = transport.exchange(service.port, [UPDATE], context, first.session)
        assert (first.resumed, second.resumed) == (False, True)
        with pytest.raises(RuntimeError, match="400"):
            transport.exchange(service.port, [b"12345"], context)
        with pytest.raises(ValueError, match="bodies"):
            transport.exchange(service.port, [], context)
    with pytest.raises(ConnectionRefusedError):
        transport.exchange(service.port, [UPDATE])


def test_costs_of_the_ways():
    hub, client = server_context(), client_context()
    plain = transport.cost(None, None, UPDATE)
    full = transport.cost(hub, client, UPDATE)
    kept = transport.cost(hub, client, UPDATE, kept=True)
    resumed = transport.cost(hub, client, UPDATE, resume=True)
    # TLS 1.3 adds 22 bytes to a record: its head, the kind inside and the tag.
    assert kept["bytes"] == plain["bytes"] + 2 * 22
    assert kept["bytes"] < resumed["bytes"] < full["bytes"]
    assert full["ms"] > 0
    hub.num_tickets = 0
    with pytest.raises(RuntimeError, match="resume"):
        transport.cost(hub, client, UPDATE, resume=True)


def test_speeds():
    assert transport.speed(None, None, 10_000) > 0
    assert transport.speed(server_context(), client_context(), 10_000) > 0


def test_a_resumed_session_is_not_checked_again():
    """What the lesson says of certificates that do not live long."""
    ca = trustme.CA()
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1.2)
    hub = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    HUB.configure_cert(hub)
    hub.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(hub)
    hospital = client_context(ca.issue_cert("a.example", common_name="A", not_after=soon))
    with Service(hub) as service:
        first = transport.exchange(service.port, [UPDATE], hospital)
        time.sleep(2.5)
        assert transport.exchange(service.port, [UPDATE], hospital, first.session).resumed
        with pytest.raises(OSError, match=r"(?i)expired|reset|pipe"):
            transport.exchange(service.port, [UPDATE], hospital)
    assert [each.client for each in service.received] == ["A", "A"]


# ---- TLS in memory -----------------------------------------------------------------------------


def talk(client, server):
    data = b""
    for _ in range(5):
        data = server.flight(client.flight(data))
    return client, server


def test_two_ends_in_memory():
    client = End(client_context(HOSPITAL), "localhost", b"hello")
    server = End(server_context(mutual=True), reply=transport.describe)
    talk(client, server)
    assert server.received == b"hello"
    assert client.received == transport.describe(b"hello", "Hungary")
    assert client.version == server.version == "TLSv1.3"
    assert server.peer == "Hungary"
    server.flight(client.say(b" again"))
    assert server.received == b"hello again"


def test_a_failed_conversation_stays_failed():
    client = End(client_context(), "other.example", b"hello")
    client, server = talk(client, End(server_context()))
    assert "Hostname mismatch" in client.error.verify_message
    assert server.error is not None
    assert server.received == b""
    assert client.version is client.peer is None
    assert client.flight(b"more") == b""


def test_certificates_from_text_and_not():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = HUB.private_key_pem.bytes() + b"".join(each.bytes() for each in HUB.cert_chain_pems)
    for given in (pem, pem.decode()):
        transport.load_certificate(context, given)
    with pytest.raises(ssl.SSLError):
        transport.load_certificate(context, "no PEM")
    with pytest.raises(ValueError, match="pem must be"):
        transport.load_certificate(context, None)
    with pytest.raises(TypeError, match="SSLContext"):
        End(None)


def test_in_memory_leaves_the_function_as_it_is():
    @transport.in_memory
    def client(ca):
        """Make a context."""
        return client_context()

    assert client.__doc__ == "Make a context."
    assert isinstance(client("ca"), ssl.SSLContext)
    server = End(server_context())
    data = b""
    for _ in range(3):
        data = server.flight(client(PEM, (7, "localhost", b"hi", data, SYSTEM)))
    assert server.received == b"hi"
    for number in range(100):  # old conversations are forgotten
        client(PEM, (number, "localhost", b"hi", b"", SYSTEM))


def test_in_memory_refuses_what_no_partner_finds_out(tmp_path):
    def conversation(make):
        return transport.in_memory(make)(PEM, (1, "localhost", b"hi", b"", SYSTEM))

    def certifi(ca):
        context = client_context()
        context.load_verify_locations(cadata=OTHER)
        return context

    def keylog(ca):
        context = client_context()
        context.keylog_filename = str(tmp_path / "secrets")
        return context

    with pytest.raises(ValueError, match="1 CAs that it was not given"):
        conversation(certifi)
    with pytest.raises(ValueError, match="keylog_filename"):
        conversation(keylog)


@pytest.mark.parametrize("before", [None, "/of/the/learner.pem"])
def test_the_environment_is_as_before(monkeypatch, before):
    monkeypatch.setenv("SSLKEYLOGFILE", os.devnull)
    if before is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", before)
    seen = []

    @transport.in_memory
    def client(ca):
        seen.append(os.environ["SSL_CERT_FILE"])
        if len(seen) == 2:
            raise KeyError("no context")
        context = ssl.create_default_context()
        assert ssl.PEM_cert_to_DER_cert(SYSTEM) in context.get_ca_certs(binary_form=True)
        return context

    for number in range(2):
        with contextlib.suppress(KeyError, ValueError):
            client(PEM, (number, "localhost", b"hi", b"", SYSTEM))
        assert os.environ.get("SSL_CERT_FILE") == before
        assert os.environ["SSLKEYLOGFILE"] == os.devnull
    assert not os.path.exists(seen[0])


# ---- the exercises -----------------------------------------------------------------------------

HEAD = "import ssl\nfrom privlab import transport\n@transport.in_memory\n"
CLIENT = HEAD + "def client_context(ca):\n"
SERVER = HEAD + (
    "def server_context(certificate, ca):\n"
    "    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "    c.minimum_version = ssl.TLSVersion.TLSv1_3\n"
    "    transport.load_certificate(c, certificate)\n"
)
FROM_SCRATCH = CLIENT + (
    "    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
    "    c.load_verify_locations(cadata=ca)\n"
    "    c.minimum_version = ssl.TLSVersion.TLSv1_3\n"
)
FRAME = (
    "import random\n"
    "def pad(u):\n    n = len(u) + 4\n"
    "    return (len(u).to_bytes(4, 'big') + u).ljust({}, b'\\0')\n"
    "def unpad(p):\n    return p[4:4 + int.from_bytes(p[:4], 'big')]\n"
)
RIGHT = {
    "client from scratch": (0, FROM_SCRATCH + "    return c\n"),
    "older versions off": (
        0,
        CLIENT + "    c = ssl.create_default_context(cadata=ca)\n"
        "    c.options |= ssl.OP_NO_TLSv1_2\n    return c\n",
    ),
    "strict": (
        0,
        FROM_SCRATCH + "    c.verify_flags |= ssl.VERIFY_X509_STRICT\n"
        "    c.hostname_checks_common_name = False\n    return c\n",
    ),
    "default server": (
        1,
        HEAD + "def server_context(certificate, ca):\n"
        "    c = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ca)\n"
        "    transport.load_certificate(c, certificate)\n"
        "    c.verify_mode = ssl.CERT_REQUIRED\n"
        "    c.minimum_version = ssl.TLSVersion.TLSv1_3\n    return c\n",
    ),
    "4096": (2, FRAME.format("4096")),
    "random, whatever the size": (2, FRAME.format("random.randint(4004, 4800)")),
    "rarely larger": (2, FRAME.format("4004 if random.random() < 0.98 else 5000")),
    "bytearray made bytes": (
        2,
        "def pad(u):\n    return bytes(bytearray(len(u).to_bytes(2, 'big') + u).ljust(4002))\n"
        "def unpad(p):\n    return p[2:2 + int.from_bytes(p[:2], 'big')]\n",
    ),
    "no tickets": (
        1,
        SERVER + "    c.load_verify_locations(cadata=ca)\n    c.verify_mode = 2\n"
        "    c.num_tickets = 0\n    return c\n",
    ),
    "a mark at the end": (
        2,
        "def pad(u):\n    return u + b'\\x80' + bytes(4000 - len(u))\n"
        "def unpad(p):\n    return p[:p.rindex(b'\\x80')]\n",
    ),
}
WRONG = {
    "unverified": (0, CLIENT + "    return ssl._create_unverified_context(cadata=ca)\n"),
    "any name": (0, FROM_SCRATCH + "    c.check_hostname = False\n    return c\n"),
    "verified, unnamed": (
        0,
        FROM_SCRATCH.replace("_TLS_CLIENT", "_TLS") + "    c.verify_mode = 2\n    return c\n",
    ),
    "the first call only": (
        0,
        FROM_SCRATCH + "    calls.append(1)\n    if len(calls) > 1:\n"
        "        c.check_hostname = False\n        c.verify_mode = 0\n    return c\ncalls = []\n",
    ),
    "CAs pile up": (
        0,
        FROM_SCRATCH + "    cas.append(ca)\n"
        "    c.load_verify_locations(cadata=''.join(cas))\n    return c\ncas = []\n",
    ),
    "certifi as well": (
        0,
        "import certifi\n" + FROM_SCRATCH + "    c.load_verify_locations(certifi.where())\n"
        "    return c\n",
    ),
    "the system as well": (
        0,
        CLIENT + "    c = ssl.create_default_context()\n    c.load_verify_locations(cadata=ca)\n"
        "    c.minimum_version = ssl.TLSVersion.TLSv1_3\n    return c\n",
    ),
    "made before": (
        0,
        "import ssl\nc = ssl.create_default_context()\n"
        + FROM_SCRATCH.replace("c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)", "pass")
        + "    return c\n",
    ),
    "secrets in a file": (
        0,
        FROM_SCRATCH + "    c.keylog_filename = '/dev/null'\n    return c\n",
    ),
    "the message in clear": (0, "def client_context(ca, flight):\n    return flight[2]\n"),
    "an echo": (0, "def client_context(ca, flight):\n    return flight[3] or b'x'\n"),
    "optional": (
        1,
        SERVER + "    c.load_verify_locations(cadata=ca)\n    c.verify_mode = 1\n    return c\n",
    ),
    "any time": (
        1,
        SERVER + "    c.load_verify_locations(cadata=ca)\n    c.verify_mode = 2\n"
        "    c.verify_flags |= 0x200000\n    return c\n",
    ),
    "no TLS": (1, "def server_context(certificate, ca, flight):\n    return b'{}'\n"),
    "the system's CAs for clients": (
        1,
        SERVER + "    c.load_verify_locations(cadata=ca)\n    c.verify_mode = 2\n"
        "    c.load_default_certs(ssl.Purpose.CLIENT_AUTH)\n    return c\n",
    ),
    "a server's secrets in a file": (
        1,
        SERVER + "    c.load_verify_locations(cadata=ca)\n    c.verify_mode = 2\n"
        "    c.keylog_filename = '/dev/null'\n    return c\n",
    ),
    "small ones bare": (2, FRAME.format("n if len(u) <= 1400 else 4004")),
    "two classes": (2, FRAME.format("1404 if len(u) <= 1400 else 4004")),
    "zeros bare": (2, FRAME.format("4004 if any(u) else n")),
    "compressed": (
        2,
        "import zlib\ndef pad(u):\n    z = zlib.compress(u)\n"
        "    z = len(z).to_bytes(2, 'big') + z\n    return z.ljust(4102) if len(z) > 1500 else z\n"
        "def unpad(p):\n    return zlib.decompress(p[2:2 + int.from_bytes(p[:2], 'big')])\n",
    ),
    "odd or even": (2, FRAME.format("4004 + 16 * (len(u) % 2)")),
    "modulo 64": (2, FRAME.format("4004 + len(u) % 64")),
    "large ones, with chance": (
        2,
        FRAME.format("(3954 if len(u) <= 3950 else 4004) + random.randint(0, 1)"),
    ),
    "two classes far up": (2, FRAME.format("3794 if len(u) <= 3790 else 4004")),
    "powers of two": (2, FRAME.format("1 << n.bit_length()")),
    "steps of 1000": (2, FRAME.format("-(-n // 1000) * 1000")),
    "two sizes": (2, FRAME.format("3000 if n <= 3000 else 4004")),
    "random on top": (2, FRAME.format("n + random.randint(0, 2000)")),
    "random above": (2, FRAME.format("random.randint(n, 5000)")),
    "bare at times": (2, FRAME.format("4004 if random.random() < 0.97 else n")),
    "at least by chance": (2, FRAME.format("max(n, random.randint(3000, 5000))")),
    "too much": (2, FRAME.format("9000")),
    "mirrored": (2, FRAME.format("8004 - n")),
    "kept at home": (
        2,
        "kept = {}\ndef pad(u):\n    kept[len(kept)] = u\n    return bytes([len(kept) % 256])\n"
        "def unpad(p):\n    return kept[p[0] - 1]\n",
    ),
}


def problems(number, code, seed, hidden=True):
    namespace = {}
    exec(compile(code, "<answer>", "exec"), namespace)
    results = EXERCISES[number].run(LocalPeer(namespace), seed, hidden)
    return [each.problem for each in results if each.problem]


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_written_differently(name):
    assert problems(*RIGHT[name], seed=1) == []


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_get_nothing(name):
    for seed in (1, 2):
        told = problems(*WRONG[name], seed=seed)
        assert told
        assert "could not make sense" not in told[0]


def test_a_tap_reads_no_update_of_the_exercises_decorator():
    """What crosses the judge's wire is TLS: the message is not in it."""
    namespace = {}
    exec(EXERCISES[0].reference, namespace)
    secret = b"a message that nobody can guess"
    server = End(server_context())
    crossed, data = b"", b""
    for _ in range(3):
        said = namespace["client_context"](PEM, (1, "localhost", secret, data, SYSTEM))
        data = server.flight(said)
        crossed += said + data
    assert server.received == secret
    assert secret not in crossed


def test_the_service_behind_a_tap():
    with Service() as service, Wiretap(service.port) as tap:
        transport.exchange(tap.port, [UPDATE])
    assert UPDATE in tap.sent
