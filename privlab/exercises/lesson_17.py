"""Exercises of lesson 17: a client that trusts the right server, a server, sizes that say nothing.

The answers of 17.1 and 17.2 are TLS contexts. They cannot cross to the judge, but what they say
can: the stub's decorator (:func:`privlab.transport.in_memory`) lets an answer talk TLS in plain
bytes, and the judge holds the other end. Only what the judge's end decrypts counts.
"""

from __future__ import annotations

import datetime
import ssl
import statistics
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, spearmanr

from .. import transport
from ..exercise import Answers, Exercise, Mistake, Wrong, kind_name
from ..transport import End


def _bytes(value: Any, what: str) -> bytes:
    """Accept bytes."""
    if not isinstance(value, bytes):
        raise Wrong(f"{what} should be bytes, but it is {kind_name(value)}.")
    return value


_OLD, _NEW = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

# ---- the judge's certificates ------------------------------------------------------------------


@cache
def _key(number: int) -> Any:
    """Return one of a few private keys: the exercises tell certificates apart, not keys."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


class _Authority:
    """A certificate authority of the judge.

    Attributes:
        pem: Its certificate.
    """

    def __init__(self, name: str, number: int, parent: _Authority | None = None) -> None:
        self.name, self.key, self.parent = name, _key(number), parent
        self.pem = self._certify(self.key, name, parent or self, ca=True)

    def issue(
        self,
        name: str,
        use: str = "server",
        hours: tuple[float, float] = (-24, 24),
        hosts: Sequence[str] | None = None,
        number: int = 0,
    ) -> str:
        """Return a private key and a certificate, in PEM, with its chain below the root.

        Args:
            name: The common name; also the host, where ``hosts`` does not say otherwise.
            use: ``"server"``, ``"client"`` or ``"both"``.
            hours: From when to when it is valid, from now.
            hosts: The alternative names.
            number: Which of the judge's keys.
        """
        from cryptography.hazmat.primitives import serialization as form

        key = _key(number)
        private = key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        ).decode()
        own = self._certify(key, name, self, use=use, hours=hours, hosts=hosts or [name])
        return private + own + (self.pem if self.parent else "")

    def _certify(
        self,
        key: Any,
        name: str,
        issuer: _Authority,
        ca: bool = False,
        use: str = "both",
        hours: tuple[float, float] = (-48, 48),
        hosts: Sequence[str] = (),
    ) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        off = dict.fromkeys([*names, "encipher_only", "decipher_only"], False)
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(named(issuer.name), named(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(hours=hours[0]))
            .not_valid_after(now + datetime.timedelta(hours=hours[1]))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(
                x509.KeyUsage(not ca, key_cert_sign=ca, crl_sign=ca, **off), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
            )
        )
        if not ca:
            uses = {
                "server": [x509.ExtendedKeyUsageOID.SERVER_AUTH],
                "client": [x509.ExtendedKeyUsageOID.CLIENT_AUTH],
            }
            uses["both"] = uses["server"] + uses["client"]
            alternatives = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(alternatives, critical=False).add_extension(
                x509.ExtendedKeyUsage(uses[use]), critical=False
            )
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@cache
def _system() -> _Authority:
    """Return the authority that stands for those of the learner's system."""
    return _Authority("system", 9)


def _self_signed(name: str, use: str) -> str:
    """Return a key and a certificate that it signed itself."""
    itself = _Authority(name, 3)
    return itself.issue(name, use, number=3)


def _below_a_leaf(authority: _Authority, name: str, use: str) -> str:
    """Return what the holder of a certificate signs, who is no CA, with the chain to it."""
    leaf = authority.issue("holder.example", use, number=4)
    holder = _Authority("holder.example", 4)
    return holder.issue(name, use, number=5) + leaf[leaf.index("-----BEGIN CERT") :]


def _word(rng: np.random.Generator) -> str:
    return "".join(map(chr, rng.integers(97, 123, 8)))


def _message(rng: np.random.Generator) -> bytes:
    """Return an update that nobody can guess."""
    return rng.normal(0, 0.1, int(rng.integers(11, 200))).astype("<f4").tobytes()


def _server(pem: str, version: ssl.TLSVersion = _NEW) -> ssl.SSLContext:
    """Return the judge's context as a server that asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    transport.load_certificate(context, pem)
    return context


def _client(ca: str, pem: str | None, version: ssl.TLSVersion = _NEW) -> ssl.SSLContext:
    """Return the judge's context as a client, with or without a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(cadata=ca)
    if pem:
        transport.load_certificate(context, pem)
    return context


def _converse(
    answers: Answers,
    name: str,
    arguments: tuple[str, ...],
    end: End,
    rng: np.random.Generator,
    host: str | None = None,
    message: bytes = b"",
) -> End:
    """Let the learner's end talk to the judge's until nobody has anything more to say.

    Args:
        answers: The learner's.
        name: Of the learner's function.
        arguments: What it makes the context of.
        end: The judge's.
        rng: Draws the number of the conversation.
        host: Whom the learner's client wants to reach; None for a learner's server.
        message: What the learner's client says.
    """
    number = int(rng.integers(2**62))
    system = _system().pem
    data = b"" if host else end.flight()
    for _ in range(8):  # flights; TLS needs two or three
        try:
            said = getattr(answers, name)(*arguments, (number, host, message, data, system))
        except Wrong as wrong:
            if "TypeError" in str(wrong) and "positional argument" in str(wrong):
                raise Wrong(
                    f"Keep the line `@transport.in_memory` above `{name}`: it lets the check talk "
                    "to what your function makes."
                ) from None
            if "FileNotFoundError" in str(wrong) or "File name too long" in str(wrong):
                raise Wrong(
                    f"`{name}` looks for a file, but its arguments are texts. CA certificates in a "
                    "text are given as cadata=."
                ) from None
            if "not enough data: cadata" in str(wrong):
                raise Wrong(
                    "cadata= takes the certificates as text; bytes are read as DER, another form. "
                    "Give it `ca` as it comes."
                ) from None
            if "capath" in str(wrong):
                raise Wrong(
                    f"What `{name}` makes trusts a folder of CAs, whoever is or will be in it. "
                    "Trust `ca` alone."
                ) from None
            if "CAs that it was not given" in str(wrong):
                raise Wrong(
                    f"What `{name}` makes trusts more CAs than it was given in this call, such as "
                    "those of `certifi`, or of a context that it made before. Make a new context "
                    "in each call, and trust `ca` alone."
                ) from None
            raise
        data = end.flight(said)
        if not data:
            break
    return end


def _why(end: End) -> str:
    """Say why a conversation with the right partner failed, as the judge's end saw it."""
    if end.error is None:
        return "the handshake does not come to its end"
    reason = str(getattr(end.error, "verify_message", "") or end.error.reason or end.error)
    if "UNKNOWN_CA" in reason:
        return f"it finds no CA for the certificate, or no CRL ({reason})"
    # NO_SHARED_CIPHER: what OpenSSL 3 says of a client that is older than the server.
    if "PROTOCOL" in reason or "VERSION" in reason or reason == "NO_SHARED_CIPHER":
        return f"it does not speak TLS 1.3 ({reason})"
    return reason


#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for.
_NO_TIME = "0x200000"


# ---- 17.1 --------------------------------------------------------------------------------------


def _answer_17_1(
    make: str = "ssl.create_default_context(cadata=ca)",
    version: str = "context.minimum_version = ssl.TLSVersion.TLSv1_3",
    more: str = "",
    before: str = "",
) -> str:
    return f"""
import ssl
from privlab import transport
{before}
@transport.in_memory
def client_context(ca):
    context = {make}
    {version}
    {more or "return context"}
    return context
""".replace("    return context\n    return context\n", "    return context\n")


class TrustTheRightServer(Exercise):
    """A client's context, checked by servers that it should and should not trust."""

    label = "17.1"
    title = "Trust the right server"
    points = 2
    kinds = {"client_context": _bytes}
    hints = (
        "Begin with what checks everything by default: ssl.create_default_context, or "
        "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT). Never switch anything off.",
        "`ca` is text, not a file: create_default_context(cadata=ca), or "
        "context.load_verify_locations(cadata=ca). Make a new context in each call.",
        "One line is left: context.minimum_version = ssl.TLSVersion.TLSv1_3.",
    )
    reference = _answer_17_1()
    mistakes = (
        Mistake(
            "verification off",
            _answer_17_1(
                more="context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE"
            ),
            "trusts anybody",
        ),
        Mistake(
            "any name", _answer_17_1(more="context.check_hostname = False"), "for another name"
        ),
        Mistake(
            "the system's CAs",
            _answer_17_1("ssl.create_default_context()"),
            "it finds no CA",
        ),
        Mistake(
            "text as a file's name",
            _answer_17_1("ssl.create_default_context(cafile=ca)"),
            "looks for a file",
        ),
        Mistake("TLS 1.2 as well", _answer_17_1(version=""), "speaks TLS 1.2"),
        Mistake(
            "TLS 1.2 at most",
            _answer_17_1(version="context.maximum_version = ssl.TLSVersion.TLSv1_2"),
            "does not speak TLS 1.3",
        ),
        Mistake(
            "any time",
            _answer_17_1(more=f"context.verify_flags |= {_NO_TIME}"),
            "whose time is over, or has not begun",
        ),
        Mistake(
            "a server's context",
            _answer_17_1("ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ca)"),
            "Cannot create a client socket",
        ),
        Mistake(
            "the system's CAs as well",
            _answer_17_1(
                "ssl.create_default_context()", more="context.load_verify_locations(cadata=ca)"
            ),
            "trusts the CAs of the system",
        ),
        Mistake(
            "a folder of CAs as well",
            _answer_17_1(
                "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)",
                more="context.load_verify_locations(cadata=ca)\n    "
                "folder = ssl.get_default_verify_paths().openssl_capath\n    "
                "context.load_verify_locations(capath=folder)",
            ),
            "trusts a folder of CAs",
        ),
        Mistake(
            "one context for all calls",
            _answer_17_1(
                "shared",
                more="context.load_verify_locations(cadata=ca)",
                before="\nshared = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n",
            ),
            "of an earlier call",
        ),
        Mistake(
            "bytes",
            _answer_17_1("ssl.create_default_context(cadata=ca.encode())"),
            "bytes are read as DER",
        ),
        Mistake(
            "secrets in a file",
            _answer_17_1(more="context.keylog_filename = os.devnull").replace(
                "import ssl", "import os\nimport ssl"
            ),
            "whoever reads that file",
        ),
        Mistake(
            "the decorator gone",
            _answer_17_1().replace("@transport.in_memory\n", ""),
            "Keep the line",
        ),
    )

    #: What is told where just these servers get the update; the first that fits.
    _told = (
        (
            {"unknown", "self"},
            "Your client trusts anybody: a server with a certificate of its own making got the "
            "update. This is the man in the middle. Leave verify_mode at ssl.CERT_REQUIRED.",
        ),
        (
            {"system"},
            "Your client trusts the CAs of the system as well: a server that one of those knows "
            "got the update. Trust `ca` alone.",
        ),
        (
            {"name"},
            "Your client gave the update to a server whose certificate, of the right CA, is for "
            "another name. Anybody whom the CA knows can be the man in the middle: leave "
            "check_hostname on.",
        ),
        (
            {"expired"},
            "Your client trusts a certificate whose time is over, or has not begun.",
        ),
        (
            {"earlier"},
            "Your client trusts a CA of an earlier call. Trust `ca` alone: make a new context in "
            "each call.",
        ),
        (
            {"old"},
            "Your client speaks TLS 1.2 with an old server. Set the minimum_version.",
        ),
    )

    def _got(
        self,
        answers: Answers,
        rng: np.random.Generator,
        ca: str,
        pem: str,
        host: str,
        version: ssl.TLSVersion = _NEW,
    ) -> tuple[bool, End]:
        """Whether a server got the update, decrypted; and the server's end."""
        message = _message(rng)
        end = End(_server(pem, version))
        _converse(answers, "client_context", (ca,), end, rng, host, message)
        return end.received == message, end

    def _right(
        self, answers: Answers, rng: np.random.Generator, ca: str, pem: str, host: str
    ) -> None:
        got, end = self._got(answers, rng, ca, pem, host)
        if not got:
            raise Wrong(f"Your client turns the right server away: {_why(end)}.")

    def test_right_server(self, answers: Answers, rng: np.random.Generator) -> None:
        """A server with a certificate of the CA gets the update."""
        host = f"{_word(rng)}.example"
        authority = _Authority(_word(rng), 1)
        self._right(answers, rng, authority.pem, authority.issue(host), host)

    def _strangers(
        self, rng: np.random.Generator, host: str, authority: _Authority
    ) -> dict[str, tuple[str, ssl.TLSVersion]]:
        """Return servers that nobody should trust: what they show, and which TLS they speak."""
        other = _Authority(authority.name, 2)  # calls itself the same, and is another
        return {
            "unknown": (other.issue(host), _NEW),
            "self": (_self_signed(host, "server"), _NEW),
            "name": (authority.issue(f"{_word(rng)}.example"), _NEW),
            "expired": (authority.issue(host, hours=(-24, -1)), _NEW),
            "early": (authority.issue(host, hours=(1, 24)), _NEW),
            "purpose": (authority.issue(host, "client"), _NEW),
            "old": (authority.issue(host), _OLD),
            "system": (_system().issue(host), _NEW),
        }

    def test_strangers(self, answers: Answers, rng: np.random.Generator) -> str:
        """Servers that should get nothing, among right ones, in an order of chance."""
        self._judge(answers, rng)
        return "The right servers got the update; nine kinds of wrong ones got no byte of it."

    def _judge(self, answers: Answers, rng: np.random.Generator) -> None:
        fooled, first = set(), _Authority(_word(rng), 1)
        host = f"{_word(rng)}.example"
        self._right(answers, rng, first.pem, first.issue(host), host)
        authority = _Authority(_word(rng), 6)
        trials = self._strangers(rng, host, authority)
        trials["earlier"] = first.issue(host), _NEW
        trials["right"] = trials["right too"] = authority.issue(host), _NEW
        for name in rng.permutation(list(trials)):
            pem, version = trials[name]
            if name.startswith("right"):
                self._right(answers, rng, authority.pem, pem, host)
            elif self._got(answers, rng, authority.pem, pem, host, version)[1].received:
                fooled.add(str(name))
        for kinds, told in self._told:
            if kinds <= fooled:
                raise Wrong(told)
        if fooled:
            raise Wrong(
                "Your client gave the update to a wrong server: "
                f"{', '.join(sorted(fooled))}. Trust `ca` alone, and switch nothing off."
            )

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Once more, with other names in another order."""
        self._judge(answers, rng)

    def hidden_chains(self, answers: Answers, rng: np.random.Generator) -> None:
        """Two CAs in one text, a CA below a CA, and a holder who plays CA."""
        host = f"{_word(rng)}.example"
        one, two = _Authority(_word(rng), 1), _Authority(_word(rng), 2)
        for authority in (one, two):
            self._right(answers, rng, one.pem + two.pem, authority.issue(host), host)
        below = _Authority(_word(rng), 6, parent=one)
        self._right(answers, rng, one.pem, below.issue(host), host)
        if self._got(answers, rng, one.pem, _below_a_leaf(one, host, "server"), host)[1].received:
            raise Wrong("Your client trusts what a server signs, which is no CA.")


# ---- 17.2 --------------------------------------------------------------------------------------


def _answer_17_2(
    make: str = "ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)",
    version: str = "context.minimum_version = ssl.TLSVersion.TLSv1_3",
    own: str = "transport.load_certificate(context, certificate)",
    clients: str = "context.verify_mode = ssl.CERT_REQUIRED",
    trust: str = "context.load_verify_locations(cadata=ca)",
    before: str = "",
) -> str:
    lines = (f"context = {make}", version, own, clients, trust, "return context")
    body = "".join(f"    {line}\n" for line in lines if line)
    return f"""
import ssl
from privlab import transport
{before}
@transport.in_memory
def server_context(certificate, ca):
{body}"""


class KnowTheClient(Exercise):
    """A server's context for mutual TLS, checked by clients of all kinds."""

    label = "17.2"
    title = "Know the client"
    points = 2
    kinds = {"server_context": _bytes}
    hints = (
        "Start from ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), and give it its own certificate with "
        "transport.load_certificate(context, certificate).",
        "A server asks for no certificate unless told: verify_mode. ssl.CERT_OPTIONAL asks and "
        "takes no for an answer.",
        "context.verify_mode = ssl.CERT_REQUIRED; context.load_verify_locations(cadata=ca); "
        "context.minimum_version = ssl.TLSVersion.TLSv1_3.",
    )
    reference = _answer_17_2()
    mistakes = (
        Mistake("nobody is asked", _answer_17_2(clients=""), "never asks"),
        Mistake(
            "asked, not required",
            _answer_17_2(clients="context.verify_mode = ssl.CERT_OPTIONAL"),
            "without any certificate",
        ),
        Mistake("no CA", _answer_17_2(trust=""), "turns the right hospital away: it finds no CA"),
        Mistake(
            "the system's CAs as well",
            _answer_17_2(
                trust="context.load_verify_locations(cadata=ca)\n"
                "    context.load_default_certs(ssl.Purpose.CLIENT_AUTH)"
            ),
            "trusts the CAs of the system",
        ),
        Mistake("no certificate", _answer_17_2(own=""), "has no certificate to show"),
        Mistake("TLS 1.2 as well", _answer_17_2(version=""), "speaks TLS 1.2"),
        Mistake(
            "TLS 1.2 at most",
            _answer_17_2(version="context.maximum_version = ssl.TLSVersion.TLSv1_2"),
            "does not speak TLS 1.3",
        ),
        Mistake(
            "any time",
            _answer_17_2(version=f"context.verify_flags |= {_NO_TIME}"),
            "whose time is over, or has not begun",
        ),
        Mistake(
            "a client's context",
            _answer_17_2("ssl.create_default_context()"),
            "Cannot create a server socket",
        ),
        Mistake(
            "one context for all calls",
            _answer_17_2("shared", before="\nshared = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"),
            "of an earlier call",
        ),
    )

    _told = (
        (
            {"none"},
            "A client without any certificate is let in. ssl.CERT_OPTIONAL asks; "
            "ssl.CERT_REQUIRED insists.",
        ),
        (
            {"unknown", "self"},
            "Your server lets in clients with certificates of their own making.",
        ),
        (
            {"system"},
            "Your server trusts the CAs of the system as well: a client that one of those knows "
            "was let in. Trust `ca` alone.",
        ),
        ({"expired"}, "Your server takes a certificate whose time is over, or has not begun."),
        (
            {"earlier"},
            "Your server trusts a CA of an earlier call. Trust `ca` alone: make a new context in "
            "each call.",
        ),
        ({"old"}, "Your server speaks TLS 1.2 with an old client. Set the minimum_version."),
    )

    def _answer(
        self,
        answers: Answers,
        rng: np.random.Generator,
        arguments: tuple[str, str],
        trusted: str,
        pem: str | None,
        version: ssl.TLSVersion = _NEW,
    ) -> tuple[bytes, End]:
        """What the server should say to this client's update, and the client's end."""
        message = _message(rng)
        end = End(_client(trusted, pem, version), "hub.example", message)
        _converse(answers, "server_context", arguments, end, rng)
        return message, end

    def _right(
        self,
        answers: Answers,
        rng: np.random.Generator,
        arguments: tuple[str, str],
        trusted: str,
        authority: _Authority,
    ) -> None:
        name = _word(rng).capitalize()
        pem = authority.issue(name, "client", hosts=["hospital.example"], number=4)
        message, end = self._answer(answers, rng, arguments, trusted, pem)
        if end.received == transport.describe(message, None):
            raise Wrong(
                "Your server never asks for the client's certificate, so that it does not know who "
                "sent the update. Set the verify_mode."
            )
        if end.received != transport.describe(message, name):
            if "TLS 1.3" in _why(end):
                # Without a certificate, OpenSSL does not offer TLS 1.3: it sounds the same.
                old = self._answer(answers, rng, arguments, trusted, pem, _OLD)[1]
                if not old.received:
                    raise Wrong(
                        "Your server speaks no version of TLS: it has no certificate to show. "
                        "Load `certificate` with transport.load_certificate."
                    )
            raise Wrong(f"Your server turns the right hospital away: {_why(end)}.")

    def _setting(
        self, rng: np.random.Generator, number: int = 1
    ) -> tuple[tuple[str, str], str, _Authority, _Authority]:
        """Return the arguments, the CA that signed the server, it and the CA of the hospitals."""
        # The hub's own certificates come with a chain, which it must not trust either.
        root, hospitals = _Authority(_word(rng), 5), _Authority(_word(rng), number)
        servers = _Authority(_word(rng), 7, parent=root)
        pem = servers.issue("hub.example", number=8)
        return (pem, hospitals.pem), root.pem, servers, hospitals

    def test_right_client(self, answers: Answers, rng: np.random.Generator) -> None:
        """A hospital with a certificate of the CA is let in, and named."""
        arguments, trusted, _, hospitals = self._setting(rng)
        self._right(answers, rng, arguments, trusted, hospitals)

    def test_strangers(self, answers: Answers, rng: np.random.Generator) -> str:
        """Clients to turn away, among right ones, in an order of chance."""
        self._judge(answers, rng)
        return "The right hospitals were named; ten kinds of wrong clients were turned away."

    def _judge(self, answers: Answers, rng: np.random.Generator) -> None:
        arguments, trusted, _, earlier = self._setting(rng)
        self._right(answers, rng, arguments, trusted, earlier)
        arguments, trusted, servers, hospitals = self._setting(rng, 6)
        other = _Authority(hospitals.name, 2)
        name = _word(rng).capitalize()

        def show(authority: _Authority, use: str = "client", **options: Any) -> str:
            return authority.issue(name, use, hosts=["hospital.example"], **options)

        trials: dict[str, tuple[str | None, ssl.TLSVersion]] = {
            "none": (None, _NEW),
            "unknown": (show(other), _NEW),
            "self": (_self_signed(name, "client"), _NEW),
            "expired": (show(hospitals, hours=(-24, -1)), _NEW),
            "early": (show(hospitals, hours=(1, 24)), _NEW),
            "purpose": (show(hospitals, "server"), _NEW),
            "server's CA": (show(servers), _NEW),
            "earlier": (show(earlier), _NEW),
            "old": (show(hospitals), _OLD),
            "system": (show(_system()), _NEW),
        }
        let_in = set()
        for trial in rng.permutation([*trials, "right", "right"]):
            if trial == "right":
                self._right(answers, rng, arguments, trusted, hospitals)
                continue
            _, end = self._answer(answers, rng, arguments, trusted, *trials[trial])
            if end.received:
                let_in.add(str(trial))
        for kinds, told in self._told:
            if kinds <= let_in:
                raise Wrong(told)
        if let_in:
            raise Wrong(
                f"Your server lets in a wrong client: {', '.join(sorted(let_in))}. Trust `ca` "
                "alone, and switch nothing off."
            )

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Once more, with other names in another order."""
        self._judge(answers, rng)

    def hidden_chains(self, answers: Answers, rng: np.random.Generator) -> None:
        """A server below a CA below a CA; two CAs of hospitals; a hospital that plays CA."""
        root, one, two = (_Authority(_word(rng), number) for number in (7, 1, 2))
        pem = _Authority(_word(rng), 6, parent=root).issue("hub.example", number=8)
        arguments = pem, one.pem + two.pem
        for authority in (one, two):
            self._right(answers, rng, arguments, root.pem, authority)
        forged = _below_a_leaf(one, _word(rng), "client")
        if self._answer(answers, rng, arguments, root.pem, forged)[1].received:
            raise Wrong("Your server trusts what a hospital signs, which is no CA.")


# ---- 17.3 --------------------------------------------------------------------------------------

_LONGEST = 4000  # bytes of an update
_BUDGET = 2.0  # times the bytes of the updates
_GUESSES = 240
_CHANCE = 0.36  # of four, with 240 guesses: 3.9 standard deviations above guessing


def _answer_17_3(pad: str, unpad: str, before: str = "") -> str:
    return f"{before}def pad(update):\n{pad}\n\ndef unpad(padded):\n{unpad}\n"


_UNPAD = "    return padded[2 : 2 + int.from_bytes(padded[:2], 'big')]"
_LENGTH = "len(update).to_bytes(2, 'big')"


class SizesThatSayNothing(Exercise):
    """Padding, attacked by a tap that counts bytes."""

    label = "17.3"
    title = "Sizes that say nothing"
    points = 2
    kinds = {"pad": _bytes, "unpad": _bytes}
    hints = (
        "If all messages have the same size, sizes tell nothing. How large must it be? And how "
        "does `unpad` know where the update ends?",
        "Say first how long the update is, in a fixed number of bytes: "
        "len(update).to_bytes(2, 'big').",
        "pad: (len(update).to_bytes(2, 'big') + update).ljust(4002, b'\\0'). unpad: read the "
        "length from padded[:2].",
    )
    reference = _answer_17_3(f"    return ({_LENGTH} + update).ljust(4002, b'\\0')", _UNPAD)
    mistakes = (
        Mistake(
            "nothing",
            _answer_17_3("    return update", "    return padded"),
            "of the same size as before",
        ),
        Mistake(
            "steps of 256 bytes",
            _answer_17_3(
                f"    update = {_LENGTH} + update\n    return update + bytes(-len(update) % 256)",
                _UNPAD,
            ),
            "different sizes are left",
        ),
        Mistake(
            "zeros stripped",
            _answer_17_3(
                "    return update.ljust(4002, b'\\0')", "    return padded.rstrip(b'\\0')"
            ),
            "ends in zero bytes",
        ),
        Mistake(
            "a random length",
            _answer_17_3(
                f"    return {_LENGTH} + update + bytes(secrets.randbelow(3000))",
                _UNPAD,
                "import secrets\n\n",
            ),
            "averages it out",
        ),
        Mistake(
            "far too much",
            _answer_17_3(f"    return ({_LENGTH} + update).ljust(16000, b'\\0')", _UNPAD),
            "times the bytes of the updates",
        ),
        Mistake(
            "the length in one byte",
            _answer_17_3(
                "    return (bytes([len(update)]) + update).ljust(4001, b'\\0')",
                "    return padded[1 : 1 + padded[0]]",
            ),
            "stops with ValueError",
        ),
        Mistake(
            "cut off",
            _answer_17_3(f"    return ({_LENGTH} + update[:2500]).ljust(2502, b'\\0')", _UNPAD),
            "cannot be in so few",
        ),
        Mistake(
            "no room for the length",
            _answer_17_3(f"    return ({_LENGTH} + update).ljust(4000, b'\\0')", _UNPAD),
            "everybody sees which of the two",
        ),
    )

    @staticmethod
    def _padded(answers: Answers, update: bytes) -> bytes:
        try:
            padded = answers.pad(update)
        except Wrong as wrong:
            if "bytearray" in str(wrong) or "memoryview" in str(wrong):
                raise Wrong("`pad` should return bytes: bytes(...) around what it has.") from None
            raise
        # Zeros may be compressed; the others come from a generator, and cannot.
        if len(padded) < len(update) and len(set(update)) > 200:
            raise Wrong(
                f"An update of {len(update)} bytes becomes {len(padded)}: random bytes cannot be "
                "in so few."
            )
        if len(padded) > 100 * _LONGEST:
            raise Wrong(f"{len(padded):,} bytes for one update, times the bytes of the updates.")
        return padded

    def _back(self, answers: Answers, update: bytes) -> int:
        """Check one way and back; return the size between."""
        padded = self._padded(answers, update)
        back = answers.unpad(padded)
        if back == update:
            return len(padded)
        if back == update.rstrip(b"\0"):
            raise Wrong("An update that ends in zero bytes loses them: it needs its length.")
        raise Wrong(
            f"An update of {len(update)} bytes comes back with {len(back)}"
            + (", and other ones." if len(back) == len(update) else ".")
        )

    def test_round_trip(self, answers: Answers, rng: np.random.Generator) -> None:
        """Updates of all sizes come back, also those that are all zeros or ones."""
        for size in (1500, 3800, int(rng.integers(2, 1000)), 1, 0, _LONGEST):
            self._back(answers, rng.bytes(size))
        for update in (rng.bytes(800) + bytes(40), bytes(300), b"\xff" * 300, b"\x80" + bytes(99)):
            self._back(answers, update)

    def test_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """A tap learns what each hospital's records look like, and then names the senders."""
        means = np.array([2000, 2350, 2800, 3400]) + rng.uniform(-100, 100, 4)
        return self._attack(answers, rng, rng.permutation(means))

    def test_odd_updates(self, answers: Answers, rng: np.random.Generator) -> None:
        """Updates of chosen sizes and contents, each sent again and again, look all alike."""
        # Some at random: a probe that is known can be got round.
        low, high = rng.integers(2, 1400, 4), rng.integers(1500, _LONGEST, 2)
        sizes = (0, 1, *low, 1400, 1499, *high, 2300, 2301, 3789, 3951, _LONGEST)
        kinds = [f"of {size:,} random bytes" for size in sizes]
        kinds += ["of 2,300 zeros", "of 2,300 bytes, few of which are not zero"]

        def draw(kind: int) -> bytes:
            if kind < len(sizes):
                return rng.bytes(sizes[kind])
            sparse = np.zeros(2300, np.uint8)
            if kind > len(sizes):
                sparse[rng.integers(2300, size=40)] = rng.integers(256, size=40)
            return sparse.tobytes()

        times = 40
        seen: list[list[int]] = [[] for _ in kinds]
        for kind in rng.permutation(np.repeat(np.arange(len(kinds)), times)):
            seen[kind].append(len(self._padded(answers, draw(int(kind)))))
        rows = np.array(seen)
        if (rows == rows[:, :1]).all():
            for kind, row in zip(kinds, rows, strict=True):
                if row[0] != rows[0, 0]:
                    raise Wrong(
                        f"An update of 0 bytes becomes {rows[0, 0]:,} bytes, and one {kind} "
                        f"{row[0]:,}: everybody sees which of the two is sent."
                    )
            return
        for place, kind in enumerate(kinds):
            # By chance, one row in ten millions; seventeen rows.
            if ks_2samp(rows[place], np.delete(rows, place, 0).ravel()).pvalue < 1e-7:
                raise Wrong(
                    f"Who sends an update {kind} {times} times is found out: the sizes are not "
                    "those of other updates."
                )

    def hidden_attack(self, answers: Answers, rng: np.random.Generator) -> str:
        """Two hospitals with small updates, two with large ones."""
        return self._attack(answers, rng, np.array([1900, 2000, 2900, 3700]))

    def _attack(self, answers: Answers, rng: np.random.Generator, means: np.ndarray) -> str:
        wire = _Wire()
        rounds, learnt, guessed = 8, 40, _GUESSES // 4
        lengths = rng.normal(means[:, None, None], 60, (4, learnt + guessed, rounds))
        lengths = np.clip(lengths.round(), 1, _LONGEST).astype(int)
        plain, bare, sizes = 0, np.zeros(lengths.shape), np.zeros(lengths.shape)
        # In an order of chance: an answer must not count calls.
        for place in rng.permutation(lengths.size):
            at = np.unravel_index(place, lengths.shape)
            padded = self._padded(answers, rng.bytes(int(lengths[at])))
            plain += int(lengths[at])
            bare[at], sizes[at] = len(padded), wire.size(padded)
        cost = bare.sum() / plain
        named = _named(sizes, learnt)
        if named > _CHANCE:
            raise Wrong(self._explain(lengths, sizes, named))
        usual = sizes == statistics.mode(sizes.ravel().tolist())
        for some in (np.ones_like(usual), ~usual):
            if _depends(lengths[some], sizes[some]):
                raise Wrong(
                    "Most sizes say nothing, but among "
                    f"{some.sum():,} messages{'' if some.all() else ' of an unusual size'} the "
                    "longer update is the larger message, more often than by chance."
                )
        if cost > _BUDGET:
            raise Wrong(
                f"The tap learns nothing, but you send {cost:.3f} times the bytes of the updates; "
                f"at most {_BUDGET:g} are allowed."
            )
        return (
            f"A tap that sees {rounds} messages of a hospital names it in {named:.0%} of "
            f"{_GUESSES} cases (25 % is guessing); you send {cost:.2f} times the bytes. "
            "A single size needs 4,001 bytes: there are too few messages of 4,000 for all updates."
        )

    @staticmethod
    def _explain(lengths: np.ndarray, sizes: np.ndarray, named: float) -> str:
        told = f"From the sizes of 8 messages the tap names the hospital in {named:.0%} of cases: "
        kinds = len(np.unique(sizes))
        if np.ptp(sizes - lengths) <= 32:
            return told + "your messages are of the same size as before, or larger by a constant."
        # One size for one length, or several?
        fixed = len(np.unique(np.stack([lengths.ravel(), sizes.ravel()]), axis=1).T) == len(
            np.unique(lengths)
        )
        if fixed:
            return told + f"{kinds} different sizes are left, and which one occurs says who sends."
        return told + "chance hides the size of one message; who sees several averages it out."


class _Wire:
    """A TLS connection of the judge's own: how many bytes does a message make on the wire?"""

    def __init__(self) -> None:
        authority = _Authority("wire", 1)
        self._client = End(_client(authority.pem, None), "wire.example")
        server = End(_server(authority.issue("wire.example")))
        data = b""
        for _ in range(3):
            data = server.flight(self._client.flight(data))

    def size(self, message: bytes) -> int:
        """Return the bytes of the records that carry a message."""
        return len(self._client.say(message))


def _depends(lengths: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether sizes go with lengths: a right answer is suspected once in 100,000 times."""
    if len(sizes) < 12 or np.ptp(sizes) == 0:
        return False
    return bool(spearmanr(lengths, sizes).pvalue < 1e-6)


def _named(sizes: np.ndarray, learnt: int) -> float:
    """Return how often the nearest mean names the hospital.

    Args:
        sizes: Bytes on the wire, of shape (hospitals, sequences, messages of a sequence).
        learnt: With how many sequences of each hospital the tap learns.
    """
    looks = np.stack(
        [sizes.mean(axis=2), sizes.std(axis=2), sizes.min(axis=2), sizes.max(axis=2)], axis=2
    )
    known, seen = looks[:, :learnt], looks[:, learnt:]
    spread = known.std(axis=1).mean(axis=0) + 1e-9
    distances = ((seen[:, :, None] - known.mean(axis=1)) / spread) ** 2
    guesses = distances.sum(axis=3).argmin(axis=2)
    return float((guesses == np.arange(len(sizes))[:, None]).mean())


q1 = TrustTheRightServer()
q2 = KnowTheClient()
q3 = SizesThatSayNothing()
EXERCISES = (q1, q2, q3)
