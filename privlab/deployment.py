"""A Flower deployment on this machine: certificates, keys, an app's folder, its processes.

SuperLink and SuperNodes are started by the notebook with Flower's own commands; here is what would
distract there. Nothing outlives the notebook: see :mod:`privlab.processes`.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import linecache
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import flower as _flower  # its settings go to every process  # noqa: F401
from .processes import Processes
from .transport import load_certificate

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# ---- certificates and keys ---------------------------------------------------------------------

#: Labels of letters, digits and hyphens, the last of them no number (RFC 1123).
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)(?!(.*\.)?\d+\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    r"(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE,
)


class Certificates(NamedTuple):
    """PEM texts.

    Attributes:
        ca: The certificate of the authority (CA): what clients need.
        certificate: The server's certificate, signed by the CA.
        key: The server's private key: stays with the server.
    """

    ca: str
    certificate: str
    key: str


def certificates(
    hosts: Sequence[str], days: float = 1, start: datetime.datetime | None = None
) -> Certificates:
    """Make a certificate authority (CA) and let it certify one server.

    The CA's private key is forgotten at once: nobody can certify a second server with it.

    Args:
        hosts: Names and IP addresses under which the server is reached, at least one.
        days: How long both certificates are valid, above 0.
        start: From when on, with a time zone; None for now.

    Raises:
        ValueError: ``hosts`` is empty or holds what is neither a name nor an address (a wildcard, a
            port, a URL); ``days`` is not above 0; ``start`` has no time zone.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if not hosts or isinstance(hosts, str):
        raise ValueError(f"hosts must be a list of at least one name, not {hosts!r}")
    if not days > 0:
        raise ValueError(f"days must be above 0, not {days!r}")
    if start is not None and start.tzinfo is None:
        raise ValueError(f"start must have a time zone, not {start!r}")
    names = [_general_name(host) for host in hosts]
    start = start or datetime.datetime.now(datetime.UTC)
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "course CA")])
    server_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SuperLink")])

    def certify(
        subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_ca: bool, names: list
    ) -> x509.Certificate:
        usage = dict.fromkeys(
            [
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ],
            False,
        )
        builder = (
            x509.CertificateBuilder(issuer_name=ca_name, subject_name=subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_ca, 0 if is_ca else None), critical=True)
            .add_extension(
                x509.KeyUsage(not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    return Certificates(
        _pem(certify(ca_name, ca_key, True, [])),
        _pem(certify(server_name, server_key, False, names)),
        _private_pem(server_key),
    )


def _general_name(host: str) -> x509.GeneralName:
    """Return an entry of the subject alternative names: an address is not a name."""
    from cryptography import x509

    if not isinstance(host, str):
        raise ValueError(f"hosts must hold texts, not {host!r}")
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise ValueError(
                f"hosts must hold names as 'a.example' or IP addresses, not {host!r}"
            ) from None
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def node_key() -> tuple[str, str]:
    """Make the key pair by which a SuperLink knows a SuperNode: ECDSA on the curve P-384.

    Returns:
        Private and public key, as OpenSSH texts.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def handshake(certificate: str, key: str, ca: str, host: str) -> str | None:
    """Let a client and a server shake hands over TLS, in memory: no socket, no port.

    Args:
        certificate: The server's certificate, PEM; more of the chain may follow.
        key: The server's private key, PEM, without password.
        ca: The certificates that the client trusts, PEM.
        host: The name or the IP address that the client wants to reach.

    Returns:
        None if the client trusts the server, otherwise why it does not.

    Raises:
        ssl.SSLError: The server's side cannot start: its key does not fit, or a text is no PEM.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(server, f"{certificate}\n{key}")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Stricter than Flower 1.41's client, which falls back to the common name if there is no
    # alternative name; RFC 9525 and browsers do not.
    client.hostname_checks_common_name = False
    client.load_verify_locations(cadata=ca)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(5):  # flights; TLS 1.3 needs three
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    # The server has the client's last word: both are through.
    return None if ends[0].version() and ends[1].version() else "the handshake does not end"


# ---- the app -----------------------------------------------------------------------------------

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hospitals"
version = "1.0.0"
description = "Federated averaging over hospitals"
license = "MIT"
dependencies = ["flwr"]

[tool.flwr.app]
publisher = "course"

[tool.flwr.app.components]
serverapp = "hospitals:server_app"
clientapp = "hospitals:client_app"

[tool.flwr.app.config]
{config}
"""


def source(function: Callable) -> str:
    """Return the text of the notebook cell, or of the file, that a function was defined in.

    Raises:
        ValueError: The text is not known.
    """
    lines = linecache.getlines(function.__code__.co_filename)
    if not lines:
        raise ValueError(f"function must come from a cell or a file, not {function!r}")
    return "".join(lines)


def write_app(folder: Path, client: Callable, server: Callable, **config: object) -> None:
    """Write a Flower app, as ``flwr run`` wants it: a folder with ``pyproject.toml``.

    Args:
        folder: Where; it is made.
        client: A function of the cell that defines ``client_app``; the whole cell is taken.
        server: A function of the cell that defines ``server_app``; it may use the imports of the
            client's cell.
        config: The run's settings and their default values.

    Raises:
        ValueError: The text of a cell is not known.
    """
    module = "\n\n".join(dict.fromkeys([source(client), source(server)]))
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in config.items())
    folder.mkdir()
    (folder / "hospitals.py").write_text(module, encoding="utf-8")
    (folder / "pyproject.toml").write_text(_PROJECT.format(config=settings), encoding="utf-8")


# ---- the processes -----------------------------------------------------------------------------


class Deployment(Processes):
    """A folder for a SuperLink and SuperNodes, and the processes themselves.

    ``flwr`` finds the SuperLink under the name ``lab``, by a ``config.toml`` in the folder.

    Attributes:
        port: The port that is free for the SuperLink.
        address: Where it will be reached.
    """

    def __init__(self) -> None:
        super().__init__(environment={"FLWR_HOME": "{folder}/home", "NO_COLOR": "1"})
        self.port = self.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.write(
            "home/config.toml",
            '[superlink]\ndefault = "lab"\n\n[superlink.lab]\n'
            f'address = "{self.address}"\nroot-certificates = "{self.folder}/ca.crt"\n',
        )

    def write(self, name: str, text: str) -> Path:
        """Write a text into the folder, readable by its owner alone; return the path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path
