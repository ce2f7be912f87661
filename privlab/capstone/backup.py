"""Backups, and the thief who has them without the key."""

from __future__ import annotations

import base64
import binascii
import itertools
import secrets
import zlib

import numpy as np

from ..exercise import NotTried
from .design import Design, Unusable, guarded
from .report import Finding


def _views(box: bytes) -> list[bytes]:
    """Return a box, and what anybody can make of it without a key."""
    views = [box, box[::-1]]
    for read in (base64.b64decode, base64.urlsafe_b64decode, binascii.unhexlify, zlib.decompress):
        try:
            views.append(read(box))
        except (ValueError, zlib.error):
            continue
    return views


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def _windows(box: bytes, width: int = 16) -> set[bytes]:
    return {box[k : k + width] for k in range(len(box) - width + 1)}


def _one_keystream(first: bytes, second: bytes, shared: bytes) -> bool:
    """Return whether two boxes, at any shift, differ as what stands in them does."""
    shifts = [(first[k:], second) for k in range(len(first))]
    shifts += [(first, second[k:]) for k in range(1, len(second))]
    return any(shared[:60] in _xor(a, b) for a, b in shifts)


def theft_attack(design: Design, rng: np.random.Generator) -> Finding:
    """Steal a backup without its key, read it, change it, and move its boxes to other places.

    What no box shows, the thief here does not find: a key that is not used for secrecy at all
    where the keystream looks random, a tag of two bytes, a nonce counter that starts again with
    the process. Lesson 16 attacks further: see ``privlab.exercises.lesson_16``.

    Raises:
        Unusable: What was sealed does not open.
    """
    key, other_key = secrets.token_bytes(32), secrets.token_bytes(32)
    patient = "".join(map(chr, rng.integers(97, 123, 12)))
    first = f"{patient}: ill; {patient}: healthy; ".encode() * 3
    second = rng.integers(65, 91, len(first)).astype(np.uint8).tobytes()
    places = ("Cleveland/row 1", "Cleveland/row 2", "Hungary/row 1")

    def seal(data: bytes, place: str) -> bytes:
        box = guarded("seal", lambda: design.seal(key, data, place))
        if not isinstance(box, bytes):
            raise Unusable(f"`seal` must return bytes, not a {type(box).__name__}.")
        return box

    def opens(key: bytes, box: bytes, place: str) -> bytes | None:
        try:
            return design.unseal(key, box, place)
        except NotTried:
            raise
        except Exception:  # a refusal, whatever its name
            return None

    box, again = (seal(first, places[0]) for _ in range(2))
    others = [seal(second, place) for place in places]
    for sealed, data, place in [(box, first, places[0]), (again, first, places[0]),
                                *zip(others, [second] * 3, places, strict=True)]:  # fmt: skip
        if opens(key, sealed, place) != data:
            raise Unusable("`unseal` does not give back what was sealed, with the right key.")
    written = (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key))
    near = [key[:k] + bytes([key[k] ^ 1]) + key[k + 1 :] for k in range(len(key))]
    used = sum(opens(each, box, places[0]) != first for each in near)
    # 300 boxes of one text: 256 nonces make two of them equal, 12 random bytes never.
    many = {seal(b"healthy", places[0]) for _ in range(300)}
    changed = [box + b"x", box[:-1], box[1:]]
    flips = zip(rng.integers(len(box), size=1_000), 1 << rng.integers(8, size=1_000), strict=True)
    # A tag of one byte lets one change in 256 pass: about 2,600 different ones find it in all but 1
    # of 20,000 runs. No seed decides which of these are tried, as none decides the keys.
    free = np.random.default_rng(secrets.randbits(128))
    more = zip(free.integers(len(box), size=2_000), free.integers(1, 256, 2_000), strict=True)
    for place, change in itertools.chain(flips, more):
        changed.append(box[:place] + bytes([box[place] ^ int(change)]) + box[place + 1 :])
    blocks = [box[k : k + 16] for k in range(0, len(box), 16)]
    shared = _xor(first, second)
    tried = {
        "reads a record without the key": any(first[5:40] in view for view in _views(box))
        or opens(other_key, box, places[0]) == first,
        "finds the key in the box": any(each in view for each in written for view in _views(box)),
        f"tries all keys, of which {used} bytes matter": used < 16,
        "sees which records are equal": len(many) < 300
        or len(set(blocks)) < len(blocks)
        or bool((_windows(box) & _windows(again)) - _windows(others[0])),
        "reads two records under one keystream": any(
            _one_keystream(box, other, shared) for other in others
        ),
        # A box that is written otherwise and opens to the same is no change.
        "changes a record unnoticed": any(
            opens(key, each, places[0]) not in (None, first) for each in changed
        ),
        "moves a record to another row": opens(key, box, places[1]) is not None,
        "moves a record to another hospital": opens(key, box, places[2]) is not None,
    }
    done = [what for what, succeeded in tried.items() if succeeded]
    told = f"The thief {'; '.join(done) if done else 'reads, changes and moves nothing'}."
    if done[:1] == ["reads a record without the key"]:
        told = "The thief reads a record without the key; nothing else is left to protect."
        done = list(tried)
    return Finding("theft", len(done) / len(tried), 0.0, "share of 8 tricks that work", told)
