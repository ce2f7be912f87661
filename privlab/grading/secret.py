"""What only the instructor knows: a key, from which each student's seeds and stamps are made.

A stamp in a notebook's metadata says which task was handed out to whom, in a form that nobody else
can make (HMAC-SHA256; Bellare, Canetti and Krawczyk 1996).
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path


def read_key(path: Path) -> bytes:
    """Read the key in a file; make one if there is no such file.

    Raises:
        ValueError: The file is no key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever has the key can foresee the tests' data.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"secret: {path.name} is no key: it should hold 64 hexadecimal digits")
    return key


def seed(key: bytes, purpose: str, task: str, student: str) -> int:
    """Return the seed of a student's data.

    Args:
        key: The instructor's key.
        purpose: ``"notebook"`` for the checks in the notebook, ``"grading"`` for the grade: whoever
            fits an answer to the data of the first has not seen those of the second.
        task: A lesson's number or the name of a private task.
        student: Their id.
    """
    return int.from_bytes(_mac(key, purpose, task, student)[:6], "big")


def stamp(key: bytes, task: str, student: str) -> str:
    """Return what goes into a notebook's metadata: task, student, the notebook's seed, a proof."""
    number = seed(key, "notebook", task, student)
    return f"{task}:{student}:{number}:{_mac(key, 'stamp', task, student).hex()[:32]}"


def read_stamp(key: bytes, text: str) -> tuple[str, str] | None:
    """Return task and student of a stamp, None if it was not made with this key."""
    parts = text.split(":")
    if len(parts) != 4:
        return None
    task, student = parts[:2]
    made = stamp(key, task, student)
    return (task, student) if hmac.compare_digest(_bytes(text), _bytes(made)) else None


def _mac(key: bytes, *parts: str) -> bytes:
    # The lengths keep ("a", "bc") and ("ab", "c") apart.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in map(_bytes, parts))
    return hmac.new(key, message, hashlib.sha256).digest()


def _bytes(text: str) -> bytes:
    # JSON can hold halves of surrogate pairs, and a submission's stamp is what somebody sent.
    return text.encode("utf-8", "surrogatepass")
