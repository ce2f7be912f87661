"""Cables: what passes between a hospital and the hub, over real connections."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from .design import Unusable
from .report import Finding


@cache
def _authority(name: str) -> Any:
    """Return one of the harness's certificate authorities."""
    import trustme

    return trustme.CA(organization_name=name)


def _hub(plan: Mapping[str, Any], authority: str = "consortium") -> ssl.SSLContext | None:
    """Return the server's side of TLS as a plan wants it."""
    if not plan["tls"]:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = getattr(ssl.TLSVersion, plan["minimum_version"].replace(".", "_"))
    _authority(authority).issue_cert("localhost").configure_cert(context)
    if plan["client_certificate"]:
        context.verify_mode = ssl.CERT_REQUIRED
        _authority("consortium").configure_trust(context)
    return context


def _hospital(plan: Mapping[str, Any], identified: bool = True) -> ssl.SSLContext | None:
    """Return a client's side of TLS as a plan wants it."""
    if not plan["tls"]:
        return None
    context = ssl.create_default_context()
    context.minimum_version = getattr(ssl.TLSVersion, plan["minimum_version"].replace(".", "_"))
    if plan["verify"]:
        _authority("consortium").configure_trust(context)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identified and plan["client_certificate"]:
        hospital = _authority("consortium").issue_cert("hungary.example", common_name="Hungary")
        hospital.configure_cert(context)
    return context


def wiretap_attack(plan: Mapping[str, Any], rng: np.random.Generator) -> Finding:
    """Send an update over real connections, with a tap, a false hub, a liar and an old client.

    TLS 1.2 is not broken (NIST SP 800-52 allows it); that the hub speaks TLS 1.3 alone is what this
    consortium agreed on.

    Args:
        plan: Settings, see :func:`check_plan`.
        rng: Draws the update.

    Raises:
        Unusable: The hub does not get the update of a right hospital.
    """
    from ..attacks.wiretap import Wiretap
    from ..transport import Service, exchange

    update = rng.normal(size=11).astype("<f4").tobytes()

    def arrives(server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> tuple[bool, bytes]:
        """Return whether a server took the update, and what a tap saw."""
        with Service(server) as service, Wiretap(service.port) as tap:
            try:
                exchange(tap.port, [update], client)
            except (OSError, EOFError, ValueError, RuntimeError):
                pass  # a handshake that fails is an answer as well
            except Exception as error:
                if type(error).__module__ != "http.client":  # the line was cut
                    raise
        return bool(service.received), tap.sent

    arrived, seen = arrives(_hub(plan), _hospital(plan))
    if not arrived:
        raise Unusable("The hub does not get the update of a right hospital over this transport.")
    stranger = _hospital(plan, identified=False)
    old = _hospital(plan)
    if old is not None:
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    tried = {
        "the tap reads the update": update in seen,
        "a false hub is given the update": arrives(
            _hub({**plan, "client_certificate": False}, "somebody else"), _hospital(plan)
        )[0],
        "a stranger sends an update as a hospital": arrives(_hub(plan), stranger)[0],
        "against the policy, the hub speaks a protocol older than TLS 1.3": (
            arrives(_hub(plan), old)[0]
        ),
    }
    done = [what for what, succeeded in tried.items() if succeeded]
    told = "; ".join(done) if done else "tap, false hub, stranger and old client get nothing"
    told = f"{told[0].upper()}{told[1:]}."
    return Finding("wiretap", len(done) / len(tried), 0.0, "share of 4 tests that fail", told)
