"""Exercises of lesson 16: sealed records, a vault, a column that can be counted."""

import binascii
import contextlib
import functools
import hashlib
import hmac
import itertools
import os
import random
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ..data import load_adult
from ..exercise import Answers, Exercise, Mistake, Wrong, kind_name, mapping, number

# ---- where randomness comes from ---------------------------------------------------------------


def _states(answers: Answers) -> dict[str, str]:
    """Return the states of predictable generators and counters that the answer can reach.

    They can be seen only where the answer runs in this process (:class:`LocalPeer`), so in the
    notebook, not in a sandbox. One that stands neither in the notebook's names nor in `random` or
    `numpy.random` is not seen, either.
    """
    namespace = getattr(answers._peer, "namespace", None)
    if namespace is None:
        return {}
    states = {"random": repr(random.getstate()), "np.random": repr(np.random.get_state())}  # noqa: NPY002
    for name, value in list(namespace.items()):
        if isinstance(value, np.random.Generator):
            states[name] = repr(value.bit_generator.state)
        elif isinstance(value, np.random.RandomState):
            states[name] = repr(value.get_state())
        elif isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
            states[name] = repr(value.getstate())
        elif isinstance(value, itertools.count):
            states[name] = repr(value)
    return states


@contextlib.contextmanager
def _counted(answers: Answers) -> Iterator[list[int]]:
    """Note how many bytes the answer draws from the system, in a list; what it sees stays itself.

    `secrets`, `SystemRandom` and PyNaCl draw them by `os.urandom`. As :func:`_states`, this sees
    only what runs in this process.
    """
    drawn: list[int] = []
    draw = os.urandom

    def counting(size: int) -> bytes:
        drawn.append(size)
        return draw(size)

    namespace = getattr(answers._peer, "namespace", {})
    own = {name: counting for name, value in namespace.items() if value is draw}
    with (
        mock.patch.object(os, "urandom", counting),
        mock.patch.object(random, "_urandom", counting),
        mock.patch.dict(namespace, own),
    ):
        yield drawn


def _from_system(answers: Answers, call: Callable[[], Any], least: int, what: str) -> None:
    """Refuse an answer that draws fewer bytes from the system than it needs, where that is seen."""
    if not hasattr(answers._peer, "namespace"):
        return
    with _counted(answers) as drawn:
        call()
    if sum(drawn) < least:
        raise Wrong(
            f"{what} should be drawn with `secrets`, all of it, but your code drew only "
            f"{sum(drawn):,} random bytes where {least:,} are needed. A hash adds none, and a "
            "clock or a counter can be guessed."
        )


def _unpredictable(answers: Answers, call: Callable[[], Any], what: str) -> Any:
    """Call the answer; refuse what draws from a generator that an attacker can run again."""
    before = _states(answers)
    result = call()
    after = _states(answers)
    for name, state in before.items():
        if after.get(name) != state:
            raise Wrong(
                f"`{name}` moves on when {what} are drawn: whoever has its seed, or sees enough of "
                "it, computes them all, and after a restart it may begin again. Draw from "
                "`secrets` or `os.urandom`."
            )
    return result


# ---- 16.1 --------------------------------------------------------------------------------------

Row = tuple[str, str]
_SEPARATORS = ("\n", " ", ",", ", ", "|", "/", ";", ":", "-", "_", "\t", "\0")


def _boxes(value: Any, what: str) -> list[bytes]:
    """Accept a list of bytes."""
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of boxes, but it is {kind_name(value)}.")
    for box in value:
        if not isinstance(box, bytes):
            raise Wrong(f"A box should be bytes, but it is {kind_name(box)}.")
    return list(value)


def _texts_or_none(value: Any, what: str) -> list[str] | None:
    """Accept a list of texts, or None for a refusal."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise Wrong(f"{what} should be a list of texts, but it is {kind_name(value)}.")
    for text in value:
        if not isinstance(text, str):
            raise Wrong(f"{what} should hold texts, but it holds {kind_name(text)}.")
    return list(value)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _letters(size: int, rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz "), size))


def _constant(boxes: list[bytes]) -> np.ndarray:
    """Tell for each place whether all boxes have the same byte there."""
    shortest = min(map(len, boxes))
    table = np.frombuffer(b"".join(box[:shortest] for box in boxes), np.uint8)
    table = table.reshape(len(boxes), shortest)
    return (table == table[0]).all(axis=0)


def _answer_16_1(
    sealing: str = "AESGCM(key).encrypt(nonce, text.encode(), context)",
    opening: str = "AESGCM(key).decrypt(box[:12], box[12:], context)",
    context: str = "json.dumps([patient, i, n]).encode()",
    nonce: str = "os.urandom(12)",
    box: str = "nonce + sealed",
    before: str = "",
) -> str:
    return f"""
import hashlib
import json
import os
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
{before}
def context_of(patient, i, n):
    return {context}

def seal_all(key, records):
    boxes, n = [], len(records)
    for i, (patient, text) in enumerate(records):
        context = context_of(patient, i, n)
        nonce = {nonce}
        sealed = {sealing}
        boxes.append({box})
    return boxes

def open_all(key, patients, boxes):
    texts, n = [], len(boxes)
    if len(patients) != n:
        return None
    for i, (patient, box) in enumerate(zip(patients, boxes)):
        context = context_of(patient, i, n)
        texts.append({opening}.decode())
    return texts
"""


_CTR = """
def stream(key, nonce, data):
    cipher = Cipher(algorithms.AES(key), modes.CTR(nonce + bytes(4))).encryptor()
    return cipher.update(data) + cipher.finalize()
"""
_HASHED = (
    _CTR
    + """
def checked(data):
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError
    return data[32:]
"""
)
_ECB = """
def ecb(key, data, way):
    cipher = getattr(Cipher(algorithms.AES(key), modes.ECB()), way)()
    return cipher.update(data) + cipher.finalize()
"""


class SealedRecords(Exercise):
    """Seal records one by one so that no change of the table goes unnoticed.

    Not seen: associated data that a restart changes (Python's `hash` of a text), nonces of a
    predictable generator that :func:`_states` does not find.
    """

    label = "16.1"
    title = "Records that notice everything"
    points = 3
    kinds = {"seal_all": _boxes, "open_all": _texts_or_none}
    hints = (
        "`seal` and `unseal` of the lesson do most of it. What must a box's associated data say, "
        "so that it opens in its own row alone?",
        "A box is at home at one patient, in one row, in a table of so many rows. All three are "
        "known on opening: patients[i], i and len(boxes).",
        "json.dumps([patient, i, n]).encode() is such a context; it cannot be read in two ways. "
        "zip() stops at the shorter list: compare the lengths first.",
    )
    reference = _answer_16_1()
    mistakes = (
        Mistake("no associated data", _answer_16_1(context="None"), "Two boxes were exchanged"),
        Mistake(
            "the patient alone",
            _answer_16_1(context="patient.encode()"),
            "the same patient's visits were exchanged",
        ),
        Mistake(
            "the row alone",
            _answer_16_1(context='f"{i} of {n}".encode()'),
            "row was given to another patient",
        ),
        Mistake(
            "no number of rows",
            _answer_16_1(context='f"{patient}|{i}".encode()'),
            "The last row was removed",
        ),
        Mistake(
            "a context that reads in two ways",
            _answer_16_1(context='f"{patient}{i}{n}".encode()'),
            "read the same",
        ),
        Mistake(
            "lengths not compared",
            _answer_16_1().replace("    if len(patients) != n:\n        return None\n", ""),
            "A box without a patient",
        ),
        Mistake(
            "a fixed nonce", _answer_16_1(nonce="bytes(12)"), "the same keystream, in one call"
        ),
        Mistake(
            "the row as the nonce",
            _answer_16_1(nonce='i.to_bytes(12, "big")'),
            "in another call",
        ),
        Mistake(
            "nonces of a seeded generator",
            _answer_16_1(
                before="import numpy as np\nrng = np.random.default_rng(16)", nonce="rng.bytes(12)"
            ),
            "when nonces are drawn",
        ),
        Mistake(
            "chained boxes",
            _answer_16_1(
                "AESGCM(key).encrypt(nonce, text.encode(), context + (boxes[-1] if i else b''))",
                "AESGCM(key).decrypt(box[:12], box[12:], context + (boxes[i - 1] if i else b''))",
            ),
            "is it chained to the box before",
        ),
        Mistake(
            "half of a table",
            _answer_16_1(
                opening="opened(key, box, context)",
                before="""
class Nothing:
    def decode(self): return None

def opened(key, box, context):
    try:
        return AESGCM(key).decrypt(box[:12], box[12:], context)
    except Exception:
        return Nothing()
""",
            ),
            "return None for the whole",
        ),
        Mistake(
            "a short nonce",
            _answer_16_1(nonce="os.urandom(4) + bytes(8)"),
            "differ in only",
        ),
        Mistake(
            "no tag",
            _answer_16_1(
                "stream(key, nonce, text.encode()) + os.urandom(16)",
                "stream(key, box[:12], box[12:-16])",
                before=_CTR,
            ),
            "One bit was flipped",
        ),
        Mistake(
            "a hash instead of a tag",
            _answer_16_1(
                "stream(key, nonce, hashlib.sha256(text.encode()).digest() + text.encode())",
                "checked(stream(key, box[:12], box[12:]))",
                before=_HASHED,
            ),
            "A hash has no key",
        ),
        Mistake(
            "block by block",
            _answer_16_1(
                'ecb(key, text.encode() + b" " * (-len(text.encode()) % 16), "encryptor")',
                'ecb(key, box[12:], "decryptor").rstrip()',
                before=_ECB,
            ),
            "has blocks that repeat",
        ),
        Mistake(
            "a checksum of the text beside the box",
            _answer_16_1(
                box="nonce + hashlib.sha256(text.encode()).digest() + sealed",
                opening="AESGCM(key).decrypt(box[:12], box[44:], context)",
            ),
            "depend on the text and on nothing fresh",
        ),
        Mistake(
            "a tool of one's own",
            _answer_16_1(
                "stream(key, nonce, text.encode())"
                " + hashlib.sha256(context + nonce + text.encode()).digest()[:16]",
                "own(key, box, context)",
                before=_CTR
                + """
def own(key, box, context):
    text = stream(key, box[:12], box[12:-16])
    if hashlib.sha256(context + box[:12] + text).digest()[:16] != box[-16:]:
        raise ValueError
    return text
""",
            ),
            "cannot read the boxes with the key",
        ),
        Mistake(
            "the key for the reader's convenience",
            _answer_16_1(
                box="key + nonce + sealed",
                opening="AESGCM(box[:32]).decrypt(box[32:44], box[44:], context)",
            ),
            "The key stands in the box",
        ),
        Mistake(
            "one box for all",
            "import json, os\n"
            "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
            "def seal_all(key, records):\n"
            "    nonce = os.urandom(12)\n"
            "    text = json.dumps(records).encode()\n"
            "    return [nonce + AESGCM(key).encrypt(nonce, text, None)]\n"
            "def open_all(key, patients, boxes):\n"
            "    box = boxes[0]\n"
            "    text = AESGCM(key).decrypt(box[:12], box[12:], None)\n"
            "    return [text for _, text in json.loads(text)]\n",
            "one box a record",
        ),
    )

    @staticmethod
    def _sealed(answers: Answers, key: bytes, rows: list[Row]) -> list[bytes]:
        boxes = answers.seal_all(key, rows)
        if len(boxes) != len(rows):
            raise Wrong(f"{len(rows)} records became {len(boxes)} boxes: return one box a record.")
        return boxes

    @staticmethod
    def _opened(
        answers: Answers, key: bytes, patients: list[str], boxes: list[bytes]
    ) -> list[str] | None:
        """Open what was changed; an error of the learner's code is a refusal."""
        try:
            return answers.open_all(key, patients, boxes)
        except Wrong as wrong:
            if "`open_all` stops with" in str(wrong):
                return None
            raise Wrong(
                f"{wrong} (Something was changed: raise an error, or return None for the whole.)"
            ) from None

    @staticmethod
    def _tables(rng: np.random.Generator) -> Iterator[list[Row]]:
        """Tables whose patients, row numbers and separators can be run together in two ways."""
        special = (
            {1: "P11", 11: "P1", 0: "P22", 20: "P2", 4: "P4", 7: "P4", 5: "P4"},
            {1: "13", 11: "3", 0: "14", 10: "4", 5: "99", 6: "99", 23: "99"},
            {place: f"Ada{sep}Li" for place, sep in enumerate(_SEPARATORS, 4)},
        )
        for places in special:
            patients = [f"{n}" for n in rng.choice(np.arange(300, 999), 24, replace=False)]
            for place, name in places.items():
                patients[place] = name
            yield [(patient, _letters(12, rng)) for patient in patients]

    def test_opens(self, answers: Answers, rng: np.random.Generator) -> None:
        """What is sealed opens again."""
        key = rng.bytes(32)
        texts = ["benign", "", "Größe 1,80 m · 東京", _letters(3_000, rng), "benign"]
        for size in (5, 1):
            rows = [(f"P{n}", text) for n, text in enumerate(texts[:size])]
            boxes = self._sealed(answers, key, rows)
            found = answers.open_all(key, [patient for patient, _ in rows], boxes)
            if found is None:
                raise Wrong("`open_all` refuses what `seal_all` made, with the same key.")
            if found != texts[:size]:
                raise Wrong("What `open_all` returns is not the texts that were sealed, in order.")

    def test_secret(self, answers: Answers, rng: np.random.Generator) -> str:
        """What the boxes tell: repeats, nonces, what depends on the text alone."""
        key, text = rng.bytes(32), _letters(40, rng)
        calls = _unpredictable(answers, lambda: self._calls(answers, key, lambda: text), "nonces")
        boxes = [box for call in calls for box in call]
        if any(part in box for box in boxes for part in (key, key.hex().encode())):
            raise Wrong("The key stands in the box: whoever has the disk has the key.")
        for form in (text.encode(), text.encode().hex().encode(), text[::-1].encode()):
            if any(form in box for box in boxes):
                raise Wrong("The text stands in the box: nothing is encrypted.")
        long = self._sealed(answers, key, [("P1", "A" * 512)])[0]
        for start in range(16):
            blocks = [long[i : i + 16] for i in range(start, len(long) - 15, 16)]
            if len(set(blocks)) < len(blocks):
                raise Wrong(
                    "The box of a text that repeats itself has blocks that repeat: this is ECB, "
                    "the boot is seen."
                )
        # A header is the same whatever the text; what is the same for one text alone betrays it.
        different = self._calls(answers, key, lambda: _letters(40, rng))
        self._fresh(calls, different, len(text))
        changing = int((~_constant(boxes)).sum())
        if changing < len(text) + 28:
            raise Wrong(
                f"Boxes of one text of {len(text)} bytes differ in only {changing} bytes. A random "
                "nonce of 12 and a tag of 16 come on top of the text: with fewer, nonces repeat or "
                "tags are guessed."
            )
        return f"{len(boxes)} boxes of one text have nothing in common."

    def _calls(self, answers: Answers, key: bytes, text: Callable[[], str]) -> list[list[bytes]]:
        """Seal 20 rows 20 times."""
        tables = [[("P1", text()) for _ in range(20)] for _ in range(20)]
        return [self._sealed(answers, key, rows) for rows in tables]

    @staticmethod
    def _fresh(calls: list[list[bytes]], different: list[list[bytes]], length: int) -> None:
        """Look for bytes that boxes of one text have in common."""
        boxes = [box for call in calls for box in call]
        told = (
            "Two boxes of one text have the same bytes, and so the same keystream, {}: the nonce "
            "is not fresh. The sum of two boxes is the sum of their texts."
        )
        groups = (
            (calls[0], different[0], "in one call"),
            ([call[0] for call in calls], [call[0] for call in different], "in another call"),
        )
        for group, others, where in groups:
            constant, header = _constant(group), _constant(others)
            size = min(len(constant), len(header))
            same = int((constant[:size] & ~header[:size]).sum())
            if same >= length - 4:
                raise Wrong(told.format(where))
            if same >= 4:  # fewer may be a clock
                raise Wrong(
                    "Some bytes of the box depend on the text and on nothing fresh: with a list "
                    "of likely texts, the attacker finds out which it is."
                )
        changing = ~_constant(boxes)
        for start in range(len(changing) - 15):
            window = slice(start, start + 16)
            if changing[window].sum() < 12:
                continue
            if len({box[window] for box in calls[0]}) < len(calls[0]):
                raise Wrong(told.format("in one call"))
            if len({box[window] for box in boxes}) < len(boxes):
                raise Wrong(told.format("in another call"))

    def test_changed(self, answers: Answers, rng: np.random.Generator) -> str:
        """Bits flipped, boxes cut and replaced."""
        key, rows = rng.bytes(32), [(f"P{n}", _letters(16, rng)) for n in range(3)]
        patients, texts = ([row[column] for row in rows] for column in (0, 1))
        boxes = self._sealed(answers, key, rows)
        raw = boxes[1]

        def opened(changed: bytes) -> list[str] | None:
            return self._opened(answers, key, patients, [boxes[0], changed, boxes[2]])

        for place in range(len(raw)):
            changed = bytearray(raw)
            changed[place] ^= 1 << int(rng.integers(7))
            found = opened(bytes(changed))
            if found is not None:
                became = "" if found == texts else f": {texts[1]!r} became {found[1:2]}"
                raise Wrong(f"One bit was flipped in byte {place} of a box, and it opens{became}.")
        for changed, what in (
            (raw[:-1], "without its last byte"),
            (raw[1:], "without its first byte"),
            (raw[: len(raw) // 2], "cut in half"),
            (raw + b"\0", "with one byte more"),
            (b"", "that is empty"),
            (bytes(len(raw)), "of zeros"),
        ):
            if opened(changed) is not None:
                raise Wrong(f"A box {what} opens.")
        for changed, wanted in self._rehashed(raw, texts[1]):
            found = opened(changed)
            if found is not None and found[1] == wanted:
                raise Wrong(
                    f"The attacker knew the text, wrote {wanted!r} instead and corrected the hash "
                    "under the keystream. A hash has no key; a tag has."
                )
        return f"Each of {len(raw)} bytes was changed: refused."

    @staticmethod
    def _rehashed(raw: bytes, text: str) -> Iterator[tuple[bytes, str]]:
        """Change a known text and its hash under a keystream, wherever they may stand."""
        plain = text.encode()
        wanted = plain[::-1]
        delta = _xor(plain, wanted)
        for name in ("sha256", "md5", "sha1", "sha512", "crc32"):
            hashes = [
                binascii.crc32(each).to_bytes(4, "big")
                if name == "crc32"
                else hashlib.new(name, each).digest()
                for each in (plain, wanted)
            ]
            for change in (_xor(*hashes) + delta, delta + _xor(*hashes)):
                for start in range(len(raw) - len(change) + 1):
                    full = bytes(start) + change + bytes(len(raw) - start - len(change))
                    yield _xor(raw, full), wanted.decode()
        for name in ("sha256", "md5", "sha1", "sha512"):  # a hash of the box itself, at its end
            size = hashlib.new(name).digest_size
            body = raw[:-size]
            for start in range(max(0, len(body) - len(delta) + 1)):
                full = bytes(start) + delta + bytes(len(body) - start - len(delta))
                changed = _xor(body, full)
                yield changed + hashlib.new(name, changed).digest(), wanted.decode()

    def test_rows(self, answers: Answers, rng: np.random.Generator) -> str:
        """Rows exchanged, moved, renamed, copied, removed."""
        tried = 0
        for rows in self._tables(rng):
            key = rng.bytes(32)
            patients = [patient for patient, _ in rows]
            boxes = self._sealed(answers, key, rows)
            for names, changed, told in self._edits(patients, boxes):
                tried += 1
                if self._opened(answers, key, names, changed) is not None:
                    raise Wrong(f"{told}, and all opens.")
        tried += self._renamed(answers, rng)
        return f"{tried:,} edits of rows: refused."

    def _renamed(self, answers: Answers, rng: np.random.Generator) -> int:
        """Give each row to another patient whose name is nearly the same."""
        key, long = rng.bytes(32), _letters(300, rng).replace(" ", "x")
        known = {
            "Ada Marsh": ("ada marsh", "Ada Marsh ", " Ada Marsh", "Ada Marhs", "Bda Marsh", "",
                          "Ada  Marsh", "AdaMarsh", "Ada Marsh\0", "Ada March", "Marsh Ada"),
            "Jörg Weiß": ("Jörg Weiss", "Jurg Weiß", "Järg Weiß", "Jrg Wei", "J?rg Wei?",
                          unicodedata.normalize("NFD", "Jörg Weiß")),
            "東京": ("東亰", "??", ""),
            "P 1207": ("P 1270", "Q 1207", "P 01207", "1207", "P 1208", "P 1,207"),
            "plumless xacay": ("buckeroo xacay", "plumless xbaby"),  # the same CRC-32, Adler-32
            long: tuple(
                long[:place] + ("a" if long[place] != "a" else "b") + long[place + 1 :]
                for place in (0, 4, 8, 12, 16, 20, 32, 64, 128, 255, 299)
            ),
        }  # fmt: skip
        patients = list(known)
        boxes = self._sealed(answers, key, [(patient, "benign") for patient in patients])
        for row, others in enumerate(known.values()):
            for other in others:
                names = list(patients)
                names[row] = other
                if self._opened(answers, key, names, boxes) is not None:
                    names = patients[row], other
                    looks_same = len({unicodedata.normalize("NFC", each) for each in names}) == 1
                    was, now = (
                        (ascii(each) if looks_same else repr(each))
                        if len(each) < 20
                        else "a long name"
                        for each in names
                    )
                    raise Wrong(
                        f"A row was given to another patient ({was} became {now}), and all opens."
                    )
        return sum(map(len, known.values()))

    @staticmethod
    def _regrouped(patients: list[str]) -> Iterator[tuple[list[str], int]]:
        """Other names, and how many, that are the same when all are joined."""
        for sep in ("", *_SEPARATORS):
            yield [sep.join(patients[:2]), *patients[2:]], len(patients) - 1
            pieces = sep.join(patients).split(sep) if sep else list("".join(patients))
            more = len(pieces) - len(patients)
            if more > 0:
                yield [sep.join(pieces[: more + 1]), *pieces[more + 1 :]], len(patients)

    @staticmethod
    def _edits(
        patients: list[str], boxes: list[bytes]
    ) -> Iterator[tuple[list[str], list[bytes], str]]:
        """Edit a stored table: patients, boxes, and what was done."""
        n = len(boxes)
        pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
        # The simplest first: rows 2 and 3 have nothing special.
        for a, b in sorted(pairs, key=lambda pair: pair != (2, 3)):
            changed = list(boxes)
            changed[a], changed[b] = boxes[b], boxes[a]
            told = f"Two boxes were exchanged (rows {a} and {b})"
            if patients[a] == patients[b]:
                told = f"Boxes of the same patient's visits were exchanged (rows {a} and {b})"
            elif {a, b} in ({1, 11}, {0, 20}, {0, 10}):
                told = (
                    f"Rows {a} and {b} have the patients {patients[a]!r} and {patients[b]!r}: "
                    "run together with the row numbers, both read the same. Their boxes were "
                    "exchanged"
                )
            yield patients, changed, told
        for a in range(n):
            names = list(patients)
            names[a] += "7"
            yield names, boxes, f"A row was given to another patient ({names[a]!r}, row {a})"
        yield [*patients[1:], patients[0]], boxes, "All patients moved up by one row"
        orders = {
            "The last row was removed": list(range(n - 1)),
            "The first row was removed": list(range(1, n)),
            "A row in the middle was removed": [k for k in range(n) if k != n // 2],
            "Two rows changed places, each with its patient": [1, 0, *range(2, n)],
            "The rows were turned round, each with its patient": list(range(n))[::-1],
            "The last row was copied to the end": [*range(n), n - 1],
            "The first row was copied to the end": [*range(n), 0],
            "A row was copied over another": [0, 0, *range(2, n)],
            "The whole table was put in twice": [*range(n), *range(n)],
        }
        orders |= {f"All rows but row {k} were removed": [k] for k in range(n)}
        orders |= {f"Only the first {k} rows were left": list(range(k)) for k in range(2, n - 1)}
        for told, order in orders.items():
            yield [patients[k] for k in order], [boxes[k] for k in order], told
        for k in range(1, n):  # with fewer rows, the digits of the number go over to the names
            whole, left = str(n), str(k)
            moved = []
            if whole.startswith(left):
                moved.append([whole[len(left) :] + patient for patient in patients[:k]])
            if whole.endswith(left):
                moved.append([patient + whole[: -len(left)] for patient in patients[:k]])
            for names in moved:
                told = (
                    f"Rows were removed, so that {n} became {k}, and the missing digit was put to "
                    "the names: run together, both read the same"
                )
                yield names, boxes[:k], told
        for names, left in SealedRecords._regrouped(patients):
            yield (
                names,
                boxes[:left],
                (
                    "Letters went over from patient to patient: joined, all names read the "
                    "same as before"
                ),
            )
        yield patients, boxes[:-1], "A patient without a box was left (the last box is gone)"
        yield patients[:-1], boxes, "A box without a patient was left (the last patient is gone)"
        yield [*patients, "P9"], boxes, "A patient without a box was added"

    def test_keys(self, answers: Answers, rng: np.random.Generator) -> str:
        """Only the key opens, and all of it counts."""
        key, rows = rng.bytes(32), [("P1", _letters(16, rng))]
        boxes = self._sealed(answers, key, rows)
        for place in range(32):
            other = bytearray(key)
            other[place] ^= 1 << int(rng.integers(8))
            if self._opened(answers, bytes(other), ["P1"], boxes) is not None:
                raise Wrong(f"A key that differs in byte {place} opens the box as well.")
        if self._opened(answers, bytes(32), ["P1"], boxes) is not None:
            raise Wrong("A key of zeros opens the box.")
        return "None of 33 other keys opens."

    def test_form(self, answers: Answers, rng: np.random.Generator) -> str:
        """Another program with the key reads the boxes.

        The associated data are not known here. But tags add up: a tag, plus that of the same text
        without associated data, depends on key, context and lengths alone.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = rng.bytes(32)

        def context_of(rows: list[Row], place: int) -> bytes:
            text = rows[place][1]
            box = self._sealed(answers, key, rows)[place]
            own = AESGCM(key).encrypt(box[:12], text.encode(), None)
            if len(box) != len(text) + 28 or box[12:-16] != own[:-16]:
                return box
            return _xor(box[-16:], own[-16:])

        texts = [_letters(40, rng) for _ in range(5)]
        rows = [("P1", "x"), ("P2", texts[0]), ("P3", "y")]
        seen, first = context_of(rows, 1), context_of(rows, 0)
        if seen != context_of([rows[0], ("P2", texts[1]), rows[2]], 1):
            if first == context_of(rows, 0):
                raise Wrong(
                    "The first box has the same associated data in each call, the second has not: "
                    "is it chained to the box before? That is safe, but here the associated data "
                    "are to be made of patients, row and number of rows alone, so that one box can "
                    "be sealed anew without the others."
                )
            raise Wrong(
                "The hospital's other program cannot read the boxes with the key. A box is the "
                "nonce (12 bytes) and what AESGCM(key).encrypt returns for the text, as in `seal`."
            )
        for changed, place, what in (
            ([rows[0], ("P4", texts[2]), rows[2]], 1, "patient"),
            ([("P2", texts[3]), rows[0], rows[2]], 0, "row"),
            ([rows[0], ("P2", texts[4])], 1, "number of rows"),
        ):
            if what == "number of rows" and context_of(changed, 0) != first:
                continue  # one box that depends on it is enough, where all are opened
            if context_of(changed, place) == seen:
                raise Wrong(
                    f"The tag does not depend on the {what}: `open_all` knows more than the boxes "
                    "say, and after a restart it would not."
                )
        return "Another program with the key reads the boxes."

    def test_nonces_drawn(self, answers: Answers, rng: np.random.Generator) -> None:
        """Random bytes for every nonce."""
        key, rows = rng.bytes(32), [(f"P{i}", "benign") for i in range(20)]
        need = 12 * len(rows)
        _from_system(answers, lambda: self._sealed(answers, key, rows), need, "Every nonce")

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Many boxes, other patients.

        20,000 nonces of 24 bits, hashed or not, always meet; of 32 bits, in one run of 20.
        """
        key, text = rng.bytes(32), _letters(20, rng)
        rows = [("Ada / 7 | «ß»", text)] * 300
        patients = [patient for patient, _ in rows]
        boxes = self._sealed(answers, key, rows)
        if answers.open_all(key, patients, boxes) != [text] * len(rows):
            raise Wrong("300 records do not open.")
        if len({box[:12] for box in boxes}) < len(boxes):
            raise Wrong("Among 300 boxes of one call, two have the same nonce.")
        for far in (10, 16, 32, 64, 100, 128, 200, 255, 256):
            order = list(range(300))
            order[0], order[far] = far, 0
            for changed in ([boxes[k] for k in order], boxes[: 300 - far]):
                names = patients[: len(changed)]
                if self._opened(answers, key, names, changed) is not None:
                    raise Wrong(
                        f"In a table of 300 visits of one patient, rows {far} apart were "
                        f"exchanged, or the last {far} removed, and all opens."
                    )
        self._many(answers, key, text)

    def _many(self, answers: Answers, key: bytes, text: str) -> None:
        """Look for nonces, and for associated data, that two of 20,000 boxes have in common."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        boxes = []
        for start in range(0, 20_000, 250):  # not in one call: a hash of all patients takes long
            rows = [(f"P{n}", text) for n in range(start, start + 250)]
            boxes += self._sealed(answers, key, rows)
        if len({box[:12] for box in boxes}) < len(boxes):
            raise Wrong("Among 20,000 boxes of one text, two have the same nonce.")
        own, plain = AESGCM(key), text.encode()
        # See test_form: what is left of the tags depends on the associated data alone.
        left = {_xor(box[-16:], own.encrypt(box[:12], plain, None)[-16:]) for box in boxes}
        if len(left) < len(boxes):
            raise Wrong(
                "Among 20,000 rows, two have the same associated data: one's box opens in the "
                "other's row. Put all of patient, row and number of rows in, not a short number "
                "made of them."
            )


# ---- 16.2 --------------------------------------------------------------------------------------

_BYTES = {"salt": 16, "nonce": 12, "box": None}
_WHOLE = {"memory_kib": (8, 2**20), "passes": (1, 100), "lanes": (1, 16)}
#: OWASP's equivalent settings for Argon2id: passes and MiB.
_LEAST = {1: 46, 2: 19, 3: 12, 4: 9, 5: 7}


def _vault(value: Any, what: str) -> dict:
    """Accept a dict with the six entries of a vault."""
    value = mapping(value, what)
    wanted = {*_BYTES, *_WHOLE}
    if more := [key for key in value if key not in wanted]:
        raise Wrong(f"{what} has the entry {more[0]!r}, which everybody with the file can read.")
    if missing := sorted(wanted - set(value)):
        raise Wrong(f"{what} has no entry {missing[0]!r}.")
    found = {}
    for name, size in _BYTES.items():
        if not isinstance(value[name], bytes):
            raise Wrong(f"{name} should be bytes, but it is {kind_name(value[name])}.")
        if size is not None and len(value[name]) != size:
            raise Wrong(f"{name} has {len(value[name])} bytes; it should have {size}.")
        found[name] = value[name]
    for name, (low, high) in _WHOLE.items():
        given = number(value[name], name)
        if given != int(given) or not low <= given <= high:
            raise Wrong(f"{name} should be a whole number from {low} to {high:,}, not {given:g}.")
        found[name] = int(given)
    if found["memory_kib"] < 8 * found["lanes"]:
        raise Wrong("Argon2id needs at least 8 KiB of memory a lane.")
    return found


def _data_or_none(value: Any, what: str) -> bytes | None:
    """Accept bytes, or None for a refusal."""
    if value is not None and not isinstance(value, bytes):
        raise Wrong(f"{what} should be bytes, but it is {kind_name(value)}.")
    return value


def _vault_key(password: str | bytes, vault: Mapping) -> bytes:
    """Derive the key of a vault by its parameters."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    return Argon2id(
        salt=vault["salt"],
        length=32,
        memory_cost=vault["memory_kib"],
        iterations=vault["passes"],
        lanes=vault["lanes"],
    ).derive(password.encode() if isinstance(password, str) else password)


def _weak(vault: Mapping) -> str | None:
    """Say what a vault's cost lacks."""
    memory, passes = vault["memory_kib"], vault["passes"]
    least = _LEAST[min(passes, max(_LEAST))]
    if memory >= least * 1024:
        return None
    many = f"{passes} passes ask" if passes > 1 else "1 pass asks"
    return (
        f"{memory / 1024:.3g} MiB of memory is less than OWASP's minimum: {many} for {least} MiB. "
        "The less memory, the more guesses fit side by side on a graphics card."
    )


_HASHES = ("sha256", "sha512", "sha1", "md5", "sha3_256", "blake2b")


def _fast_hashes(word: bytes, salt: bytes) -> Iterator[tuple[str, bytes]]:
    """Hash a password, or data, in the quick ways: name of the hash, digest."""
    for name in _HASHES:
        shown = name.upper().replace("SHA", "SHA-")
        for text in (word, salt + word, word + salt):
            yield shown, hashlib.new(name, text).digest()
        for key, text in ((salt, word), (word, salt)):
            yield f"HMAC-{shown}", hmac.digest(key, text, name)
    for text in (word, salt + word, word + salt):
        for order in ("big", "little"):
            yield "CRC-32", binascii.crc32(text).to_bytes(4, order)


@functools.cache
def _few() -> frozenset[bytes]:
    """Return the beginnings of all quick hashes of one and of two bytes."""
    short = [bytes([n]) for n in range(256)] + [n.to_bytes(2, "big") for n in range(2**16)]
    return frozenset(hashlib.new(name, each).digest()[:8] for name in _HASHES for each in short)


def _open_vault(password: str | bytes, vault: Mapping) -> bytes | None:
    """Open a vault as the exercise defines it; None if that fails."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(_vault_key(password, vault)).decrypt(vault["nonce"], vault["box"], None)
    except InvalidTag:
        return None


def _make_vault(password: str, data: bytes, rng: np.random.Generator, **parameters: int) -> dict:
    """Lock data as the exercise defines it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    vault = {"salt": rng.bytes(16), "nonce": rng.bytes(12), **parameters}
    vault["box"] = AESGCM(_vault_key(password, vault)).encrypt(vault["nonce"], data, None)
    return vault


_REFUSED = """    if vault["memory_kib"] > 1024 * 1024 or vault["passes"] > 100:
        return None
"""


def _answer_16_2(
    memory: str = "19 * 1024",
    passes: str = "2",
    salt: str = "os.urandom(16)",
    nonce: str = "os.urandom(12)",
    key: str = "derive(password, vault)",
    unlock_key: str = "derive(password, vault)",
    more: str = "",
    end: str = "vault",
    text: str = "password.encode()",
) -> str:
    return f"""
import hashlib
import os
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

def derive(password, vault):
    return Argon2id(salt=vault["salt"], length=32, memory_cost=vault["memory_kib"],
                    iterations=vault["passes"], lanes=vault["lanes"]).derive({text})

def lock(password, data):
    vault = {{"memory_kib": {memory}, "passes": {passes}, "lanes": 1, "salt": {salt}}}
    vault["nonce"] = {nonce}
    key = {key}
    vault["box"] = AESGCM(key).encrypt(vault["nonce"], data, None)
    {more}
    return {end}

def unlock(password, vault):
{_REFUSED}    key = {unlock_key}
    return AESGCM(key).decrypt(vault["nonce"], vault["box"], None)
"""


class Vault(Exercise):
    """A file that only the password opens, at a price for each guess.

    Not seen: whether too much memory is refused (trying it would take that memory), and salts or
    nonces that depend on the password in a way that :func:`_fast_hashes` does not know.
    """

    label = "16.2"
    title = "A vault"
    points = 2
    kinds = {"lock": _vault, "unlock": _data_or_none}
    time_limit = 60
    when_slow = "Are memory or passes far above OWASP's minimum? The check derives some ten keys."
    hints = (
        "Write one function that makes the key from a password and a vault's parameters, and use "
        "it in both functions.",
        "Argon2id(salt=…, length=32, memory_cost=…, iterations=…, lanes=…).derive("
        "password.encode()): all but the password stands in the vault.",
        "salt = secrets.token_bytes(16), nonce = secrets.token_bytes(12), 19 * 1024 KiB, 2 passes, "
        "1 lane, then AESGCM(key).encrypt(nonce, data, None).",
    )
    reference = _answer_16_2()
    mistakes = (
        Mistake("one MiB, one pass", _answer_16_2("1024", "1"), "1 pass asks for 46 MiB"),
        Mistake("passes instead of memory", _answer_16_2("1024", "40"), "40 passes ask for 7 MiB"),
        Mistake("a fixed salt", _answer_16_2(salt="bytes(16)"), "All vaults have the same salt"),
        Mistake(
            "the salt from the password",
            _answer_16_2(salt="hashlib.md5(b'v' + password.encode()).digest()"),
            "whenever it locks with one password",
        ),
        Mistake("a fixed nonce", _answer_16_2(nonce="bytes(12)"), "All vaults have the same nonce"),
        Mistake(
            "a fast hash",
            _answer_16_2(
                key="hashlib.sha256(vault['salt'] + password.encode()).digest()",
                unlock_key="hashlib.sha256(vault['salt'] + password.encode()).digest()",
            ),
            "one SHA-256 instead of Argon2id",
        ),
        Mistake(
            "a key of 16 bytes",
            _answer_16_2(
                key="derive(password, vault)[:16]", unlock_key="derive(password, vault)[:16]"
            ),
            "with the 32 bytes of Argon2id",
        ),
        Mistake(
            "the key beside the box",
            _answer_16_2(more='vault["key"] = key'),
            "which everybody with the file can read",
        ),
        Mistake(
            "parameters that never change",
            _answer_16_2(
                unlock_key='derive(password, vault | {"memory_kib": 19 * 1024, "passes": 2})'
            ),
            "Read the parameters",
        ),
        Mistake(
            "weaker for long passwords",
            _answer_16_2("19 * 1024 if len(password) < 10 else 64"),
            "password of 35 letters",
        ),
        Mistake(
            "a fast check in the nonce",
            _answer_16_2(nonce="hashlib.sha256(vault['salt'] + password.encode()).digest()[:12]"),
            "of the password: the attacker tries",
        ),
        Mistake(
            "salts of a seeded generator",
            _answer_16_2(salt="random.randbytes(16)").replace("import os", "import os, random"),
            "when salt and nonce are drawn",
        ),
        Mistake(
            "whatever the file asks for",
            _answer_16_2().replace(_REFUSED, ""),
            "as long as they like",
        ),
        Mistake(
            "only the beginning counts",
            _answer_16_2(text="password.encode()[:16]"),
            "of the first 16 bytes",
        ),
        Mistake(
            "capitals do not count",
            _answer_16_2(text="password.lower().encode()"),
            "as it was typed",
        ),
    )

    def test_opens(self, answers: Answers, rng: np.random.Generator) -> None:
        """What is locked opens again, here and by the check's own code."""
        password, data = "Ophelia42 — Großmutter " + "x" * 60 + "1", rng.bytes(60)
        vault = answers.lock(password, data)
        if answers.unlock(password, vault) != data:
            raise Wrong("`unlock` does not return what `lock` put in.")
        if data in vault["box"]:
            raise Wrong("The box holds the data in the clear.")
        if _open_vault(password, vault) == data:
            return
        self._explain(password, data, vault)

    @staticmethod
    def _explain(password: str, data: bytes, vault: dict) -> None:
        """Say why a vault does not open as it should."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        word = password.encode()
        for name, digest in _fast_hashes(word, vault["salt"]):
            for key in (digest[:32], digest[:16]):
                try:
                    AESGCM(key).decrypt(vault["nonce"], vault["box"], None)
                except (InvalidTag, ValueError):
                    continue
                raise Wrong(
                    f"The key is one {name} instead of Argon2id: an attacker makes hundreds of "
                    "thousands of guesses a second on each core."
                )
        for changed, why in (
            *((word[:n], f"of the first {n} bytes alone") for n in (8, 16, 20, 32, 64, 72)),
            *((password[:n], f"of the first {n} letters alone") for n in (32, 64, 72)),
            (password.lower(), "not of the password as it was typed, but of small letters"),
            (password.strip().casefold(), "not of the password as it was typed"),
            (password.encode("ascii", "ignore"), "of the English letters alone"),
        ):
            if _open_vault(changed, vault) == data:
                raise Wrong(f"The key is made {why}: different passwords open the vault.")
        raise Wrong(
            "The vault does not open with the 32 bytes of Argon2id that its parameters, its salt "
            "and the UTF-8 password give, and AES-256-GCM without AD."
        )

    def test_cost(self, answers: Answers, rng: np.random.Generator) -> str:
        """Crack a listed password for a quarter of a second."""
        names = [f"{_letters(6, rng).replace(' ', 'x').title()}{n:02}" for n in range(100)]
        password = names[40 + int(rng.integers(30))]
        vault = answers.lock(password, b"patients of ward 7")
        cracked, tried, start = False, 0, time.process_time()
        for guess in names:
            tried += 1
            cracked = _open_vault(guess, vault) is not None
            if cracked or time.process_time() - start > 0.25:
                break
        seconds = time.process_time() - start
        rate = tried / max(seconds, 1e-6)
        outcome = f"The check cracked it in {seconds:.2g} s. " if cracked else ""
        if weak := _weak(vault):
            raise Wrong(f"{outcome}{weak} This core makes {rate:,.0f} guesses a second.")
        for size, more in ((35, 10), (8, 100_000), (0, 0)):
            word = _letters(size, rng)
            if weak := _weak(answers.lock(word, bytes(more))):
                raise Wrong(f"For a password of {size} letters and {more:,} bytes: {weak}")
        return f"This core makes {rate:,.2g} guesses a second at your vault."

    def test_fresh(self, answers: Answers, rng: np.random.Generator) -> str:
        """Salts and nonces."""
        word, data = b"Ophelia42", _letters(20, rng).encode()
        ones = _unpredictable(
            answers,
            lambda: [answers.lock(word.decode(), data) for _ in range(4)],
            "salt and nonce",
        )
        two = answers.lock("Hamlet07", data)
        for vault in (*ones, two):
            if weak := _weak(vault):
                raise Wrong(f"Not all vaults are equally strong. {weak}")
        for name in ("salt", "nonce"):
            alike, all_alike = (
                int(_constant([each[name] for each in some]).sum()) for some in (ones, [*ones, two])
            )
            if all_alike:
                same = "the same" if all_alike == len(two[name]) else "nearly the same"
                raise Wrong(f"All vaults have {same} {name}: draw all of it at random, each time.")
            if alike:  # by chance in one of 600,000 checks
                raise Wrong(
                    f"`lock` takes the same {name}, or a part of it, whenever it locks with one "
                    "password: draw it at random."
                )
            if any(len(set(each[name])) < 6 for each in ones):
                raise Wrong(f"The bytes of the {name} repeat: draw all of it at random.")
            if any(each[name][:8] in _few() for each in ones):
                raise Wrong(
                    f"The {name} is a hash of two bytes: there are only 65,536 of them. Draw all "
                    "of it at random."
                )
        for vault in ones:
            self._told(vault, word, data)
        return "Salt and nonce are fresh."

    @staticmethod
    def _told(vault: dict, word: bytes, data: bytes) -> None:
        """Look for quick hashes of password or data in a vault, whole or by half."""
        salt, nonce = vault["salt"], vault["nonce"]
        seen = salt + b"|" + nonce  # 4 bytes of 1,500 digests: by chance in one of 30,000 checks
        parts = (salt, nonce, salt[:4], salt[:8], salt[8:], salt[:12], nonce[:4], nonce[:6],
                 nonce[:8])  # fmt: skip
        for known in parts:
            for what, secret in (("password", word), ("data", data)):
                for name, digest in _fast_hashes(secret, known):
                    if any(each in seen for each in (digest[:4], digest[-4:])):
                        raise Wrong(
                            f"Salt or nonce holds a quick hash ({name}) of the {what}: the "
                            "attacker tries the list on that, at hundreds of thousands of guesses "
                            "a second."
                        )

    def test_other_vaults(self, answers: Answers, rng: np.random.Generator) -> str:
        """Vaults with other parameters, changed vaults, other passwords."""
        data, password = rng.bytes(40), "Cordelia " + "x" * 80 + "1"
        for parameters in (
            {"memory_kib": 2048, "passes": 1, "lanes": 2},
            {"memory_kib": 1024, "passes": 3, "lanes": 1},
        ):
            vault = _make_vault(password, data, rng, **parameters)
            try:
                found = answers.unlock(password, vault)
            except Wrong as wrong:
                raise Wrong(
                    f"A vault with {parameters} does not open ({wrong}) Read the parameters from "
                    "the vault."
                ) from None
            if found != data:
                raise Wrong(
                    f"A vault with {parameters} does not open. Read the parameters from the vault."
                )
        wrong_ones = [password[:-1] + "2", password[:72], password + " ", password.lower(), ""]
        for other in wrong_ones:
            if self._refused(answers, other, vault):
                raise Wrong(f"The vault also opens with another password: {other[:12]!r}…")
        for name in ("salt", "nonce", "box"):
            for place in (0, len(vault[name]) - 1):
                changed = bytearray(vault[name])
                changed[place] ^= 1
                if self._refused(answers, password, vault | {name: bytes(changed)}):
                    raise Wrong(f"A vault with a flipped bit in {name!r} opens.")
        slow = _make_vault(password, data, rng, memory_kib=64, passes=1_000, lanes=1)
        if self._refused(answers, password, slow):
            raise Wrong(
                "A vault with 1,000 passes is opened: whoever can write to the file lets you "
                "compute as long as they like. Refuse more than 100 passes or 1 GiB at once."
            )
        return "It opens vaults with other parameters, and no changed one."

    @staticmethod
    def _refused(answers: Answers, password: str, vault: dict) -> bool:
        """Tell whether a vault that should stay shut opens."""
        try:
            return answers.unlock(password, vault) is not None
        except Wrong:
            return False

    def test_salt_and_nonce_drawn(self, answers: Answers, rng: np.random.Generator) -> None:
        """Random bytes for salt and nonce."""
        call = functools.partial(answers.lock, "Ophelia42", rng.bytes(20))
        _from_system(answers, call, 28, "Salt and nonce")

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Empty data and an empty password."""
        for password, data in (("", b"x"), ("пароль", b"")):
            vault = answers.lock(password, data)
            if weak := _weak(vault):
                raise Wrong(f"Not all vaults are equally strong. {weak}")
            if _open_vault(password, vault) != data or answers.unlock(password, vault) != data:
                raise Wrong("A vault with an empty password, or of no data, does not open.")


# ---- 16.3 --------------------------------------------------------------------------------------

_ROWS, _MOST_TOKENS = 10_000, 200
#: What an attack may name above always guessing the commonest. The reference's tokens by rank reach
#: 0.06 at most in 250 draws; of some 250 parts of a token the luckiest reached 0.08 in 124 columns.
_SLACK, _SLACK_OF_PARTS = 0.10, 0.20
_COLUMNS = ("occupation", "education")
_OTHERS = ["education", "sex", "income"]


def _tokens(value: Any, what: str) -> list[bytes]:
    """Accept a list of texts or bytes, as bytes."""
    if not isinstance(value, list | tuple | set):
        raise Wrong(f"{what} should be a list of tokens, but it is {kind_name(value)}.")
    for token in value:
        if not isinstance(token, str | bytes):
            raise Wrong(f"A token should be text or bytes, but it is {kind_name(token)}.")
    if len({type(token) for token in value}) > 1:
        raise Wrong(f"{what} should hold texts or bytes, not both.")
    return [token.encode() if isinstance(token, str) else token for token in value]


def _by_rank(
    sizes: Mapping[Hashable, int], shares: Mapping[str, float], numbers: Mapping[str, int]
) -> dict[Hashable, str]:
    """Guess the value of each token: the commonest token is the one expected most often."""
    expected = [(shares[v] / n, v) for v, n in numbers.items() for _ in range(n)]
    likely = [v for _, v in sorted(expected, reverse=True)]
    ranked = sorted(sizes, key=lambda token: -sizes[token])
    return dict(zip(ranked, likely, strict=False))


def _cuts(length: int) -> list[tuple[str, slice]]:
    """Return the parts of a token that are looked at: beginnings, ends, windows of 1 and 4."""
    cuts = [(f"the first {size} byte(s) of a token", slice(size)) for size in range(1, length)]
    cuts += [
        (f"the last {size} byte(s) of a token", slice(-size, None)) for size in range(1, length)
    ]
    for size in (1, 4):
        for start in range(1, length - size):
            part = f"bytes {start + 1} to {start + size} of a token"
            cuts.append((part, slice(start, start + size)))
    return cuts


def _nearly(key: bytes) -> Iterator[bytes]:
    """Keys that differ in a bit, or only in order, or with the same sum or CRC-32."""
    for places in ((0,), (17,), (31,), (3, 20)):
        other = bytearray(key)
        for place in places:
            other[place] ^= 1
        yield bytes(other)
    yield key[1:] + key[:1]
    yield _xor(key, bytes(12) + _xor(b"plumless", b"buckeroo") + bytes(12))  # the same CRC-32


def _as_numbers(tokens: Iterable[bytes]) -> list[int]:
    """Read tokens as whole numbers: decimal, hexadecimal, or their bytes."""
    tokens = sorted(tokens)
    for base in (10, 16):
        with contextlib.suppress(ValueError):
            return [int(token.decode("ascii"), base) for token in tokens]
    return [int.from_bytes(token, "big") for token in tokens]


def _relations(tokens: Iterable[bytes]) -> dict[str, Counter[int]]:
    """How pairs of tokens go with each other: sums without carry, differences, multiples."""
    found = {"sum (XOR)": Counter(), "difference": Counter(), "quotient": Counter()}
    for a, b in itertools.combinations(_as_numbers(tokens), 2):
        low, high = min(a, b), max(a, b)
        found["sum (XOR)"][low ^ high] += 1
        found["difference"][high - low] += 1
        if low and high % low == 0:
            found["quotient"][high // low] += 1
    return found


def _spread(
    listed: Mapping[str, list[bytes]], sizes: Mapping[bytes, int], true: Mapping[str, int]
) -> tuple[float, int]:
    """How unequally each value's tokens are used: a chi-squared sum, and its degrees of freedom."""
    total, freedom = 0.0, 0
    for value, rows in true.items():
        equal = rows / len(listed[value])
        total += sum((sizes[token] - equal) ** 2 / equal for token in listed[value])
        freedom += len(listed[value]) - 1
    return total, freedom


def _hashed_tokens(tokens: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of tokens of which the second is a quick hash of the first."""
    for token in tokens:
        for name in _HASHES:
            digest = hashlib.new(name, token).digest()
            for form in (digest, digest.hex().encode()):
                if (made := form[: len(token)]) in tokens:
                    yield token, made


def _answer_16_3(
    number_of: str = "max(1, round(180 * shares[value]))",
    token: str = "mac(key, f'{value}|{k}')",
    chosen: str = "secrets.choice(tokens[value])",
    before: str = "",
    listed: str = "[{token} for k in range(number_of(value, shares))]",
) -> str:
    return f"""
import hmac
import secrets

def mac(key, text):
    return hmac.new(key, text.encode(), "sha256").hexdigest()

def number_of(value, shares):
    return {number_of}

def tokens_of(value, key, shares):
    return {listed.format(token=token)}

def encrypt(values, key, shares):
    tokens = {{value: tokens_of(value, key, shares) for value in set(values)}}
    {before}
    return [{chosen} for i, value in enumerate(values)]
"""


class CountableColumn(Exercise):
    """Encrypt a column so that it can be counted, and beat the frequency attack; open-ended.

    Not seen: tokens that are drawn once and remembered, lost on a restart.
    """

    label = "16.3"
    title = "Count, and do not tell"
    points = 3
    kinds = {"encrypt": _tokens, "tokens_of": _tokens}
    hints = (
        "How many tokens does a value need, so that all tokens are about equally frequent? Twice "
        "as frequent, twice as many.",
        "HMAC of the value and the token's number, with the key, is a token. A rare value has one. "
        "Mind that the numbers add up to 200 at most, rounded.",
        "max(1, round(150 * shares[value])) tokens; in `encrypt`, secrets.choice of the value's "
        "tokens for each row.",
    )
    reference = _answer_16_3()
    mistakes = (
        Mistake("deterministic", _answer_16_3("1"), "Each value has one token"),
        Mistake(
            "as many for all",
            _answer_16_3("200 // len(shares)"),
            "All values have the same number of tokens",
        ),
        Mistake(
            "a token a row",
            _answer_16_3(
                chosen="mac(key, f'{value}|{i}')",
                listed="[mac(key, f'{{value}}|{{k}}') for k in range(10_000)]",
            ),
            "tokens together; 200",
        ),
        Mistake(
            "in another order",
            _answer_16_3().replace(
                "    return [secrets.choice(tokens[value]) for i, value in enumerate(values)]",
                "    return sorted(secrets.choice(tokens[value]) for value in values)",
            ),
            "The token of a row is not one of its value's",
        ),
        Mistake(
            "a value's token plus a number's",
            _answer_16_3(token="'%064x' % (int(mac(key, value), 16) ^ int(mac(key, str(k)), 16))"),
            "comes back",
        ),
        Mistake(
            "in turn",
            _answer_16_3(
                before="turn = {value: secrets.randbelow(1000) for value in tokens}",
                chosen="tokens[value][(turn.update({value: turn[value] + 1}) or turn[value]) "
                "% len(tokens[value])]",
            ),
            "take turns",
        ),
        Mistake(
            "by the row's number",
            _answer_16_3(
                chosen="tokens[value][i % len(tokens[value])]",
            ),
            "same tokens in a second call",
        ),
        Mistake(
            "the value's own beginning",
            _answer_16_3(
                token="mac(key, value)[:16] + f'{k:04}'",
            ),
            "Whoever looks at the first",
        ),
        Mistake(
            "a chain of hashes",
            _answer_16_3(
                token="chain(mac(key, value), k)",
                before="",
            )
            .replace(
                "def number_of",
                """def chain(text, k):
    for _ in range(k):
        text = hashlib.sha256(text.encode()).hexdigest()
    return text

def number_of""",
            )
            .replace("import hmac", "import hashlib, hmac"),
            "made of another by a hash without the key",
        ),
        Mistake(
            "one keystream for all",
            _answer_16_3(
                token="bytes(a ^ b for a, b in zip(bytes.fromhex(mac(key, str(k))), "
                "value.encode().ljust(32)))",
            ),
            "is the same under every key",
        ),
        Mistake(
            "a seeded generator",
            _answer_16_3(
                before="pass",
                chosen="tokens[value][rng.integers(len(tokens[value]))]",
            ).replace("import secrets", "import numpy as np\nrng = np.random.default_rng(16)"),
            "when tokens are drawn",
        ),
        Mistake(
            "dealt out in equal numbers",
            _answer_16_3(
                before="deck = dealt(values, tokens)",
                chosen="deck[value].pop()",
            ).replace(
                "def number_of",
                """def dealt(values, tokens):
    deck = {}
    for value in tokens:
        rows = values.count(value)
        deck[value] = (tokens[value] * (rows // len(tokens[value]) + 1))[:rows]
        secrets.SystemRandom().shuffle(deck[value])
    return deck

def number_of""",
            ),
            "more evenly than by chance",
        ),
        Mistake(
            "too few tokens",
            _answer_16_3("max(1, round(20 * shares[value]))"),
            "but they are too few",
        ),
        Mistake(
            "no key",
            _answer_16_3(
                token="mac(b'privlab', f'{value}|{k}')",
            ),
            "the same under another key",
        ),
        Mistake(
            "numbers by length of the name",
            _answer_16_3("len(value)", listed="[{token} for k in range(len(value) // 2 + 1)]"),
            "in proportion",
        ),
        Mistake(
            "random tokens",
            _answer_16_3(chosen="secrets.token_hex(16)"),
            "does not find",
        ),
    )

    @staticmethod
    def _split(
        column: str, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
        """Draw private and public rows of a column, and the public shares.

        All private values occur in public.
        """
        adult = load_adult()
        order = rng.permutation(len(adult))
        table = adult[[column, *(each for each in _OTHERS if each != column)]]
        public, private = table.iloc[order[_ROWS:]], table.iloc[order[:_ROWS]]
        shares = public[column].value_counts(normalize=True).to_dict()
        private = private[private[column].isin(list(shares))]
        return private, public, shares

    def _run(self, answers: Answers, column: str, rng: np.random.Generator) -> dict[str, float]:
        """Query and attack one column."""
        private, public, shares = self._split(column, rng)
        values, key = private[column].tolist(), rng.bytes(32)
        tokens = _unpredictable(answers, lambda: answers.encrypt(values, key, shares), "tokens")
        if len(tokens) != len(values):
            raise Wrong(f"{len(values):,} values became {len(tokens):,} tokens.")
        sizes, true = Counter(tokens), Counter(values)
        listed = self._count(answers, key, shares, sizes, true)
        numbers = {v: len(each) for v, each in listed.items()}
        if any(token not in listed[v] for token, v in zip(tokens, values, strict=True)):
            raise Wrong(
                "The token of a row is not one of its value's: tokens stand in the order of the "
                "values, or the column is lost."
            )
        cells = Counter(zip(tokens, values, strict=True))
        commonest = max(shares, key=shares.get)
        baseline = true[commonest] / len(values)

        def named(guess: Mapping[Hashable, str], part: Callable = lambda token: token) -> float:
            hits = sum(n for (t, v), n in cells.items() if guess.get(part(t), commonest) == v)
            return hits / len(values)

        def judge(share: float, told: str, advice: str, slack: float = _SLACK) -> None:
            if share > baseline + slack:
                raise Wrong(
                    f"{told} names {share:.0%} of the cells of {column!r}; always guessing the "
                    f"commonest gets {baseline:.0%}. {advice}".strip()
                )

        self._not_others(answers, key, shares, values, sizes)
        # The attacker runs the answer on public values, with a key of their own.
        sample = public[column].to_numpy()[rng.integers(len(public), size=_ROWS)].tolist()
        own = Counter(zip(answers.encrypt(sample, rng.bytes(32), shares), sample, strict=True))
        likely = [value for (_, value), _ in own.most_common()]
        ranked = [token for token, _ in sizes.most_common()]
        guesses = [
            dict(zip(ranked, likely, strict=False)),
            _by_rank(sizes, shares, numbers),
            _by_rank(sizes, shares, dict.fromkeys(shares, 1)),
        ]
        found = max(map(named, guesses))
        alike = ""
        if len(set(numbers.values())) == 1:
            several = "All values have the same number of tokens: frequent ones stay frequent. "
            alike = several if max(numbers.values()) > 1 else "Each value has one token. "
        total = sum(numbers.values())
        advice = "Give each value tokens in proportion to its share."
        spread, freedom = _spread(listed, sizes, true)
        if alike:
            advice = ""
        elif freedom and spread > chi2.isf(1e-6, freedom):
            advice = "Some tokens of a value are used far more often than others of it."
        elif all(abs(n - shares[v] * total) < 2 for v, n in numbers.items()):
            advice = (
                "Their numbers follow the shares, but they are too few: rounded so, the tokens are "
                "not equally frequent."
            )
        judge(found, f"{alike}Matching tokens by rank", advice)
        self._parts_tell(shares, cells, own, judge, named)
        self._related({token for token, _ in own}, set(sizes))
        self._drawn(answers, key, shares, values, tokens, numbers)
        both = named(self._with_others(private, public, column, tokens, shares))
        return {
            "named": found,
            "baseline": baseline,
            "others": both,
            "tokens": sum(numbers.values()),
        }

    @staticmethod
    def _count(
        answers: Answers, key: bytes, shares: dict, sizes: Counter, true: Counter
    ) -> dict[str, list[bytes]]:
        """Ask for every value; return the tokens."""
        listed, owner = {}, {}
        for value in shares:
            listed[value] = answers.tokens_of(value, key, shares)
            if not listed[value] and not true[value]:
                raise Wrong(f"`tokens_of` returns no token for {value!r}: rare is not never.")
            if len(set(listed[value])) < len(listed[value]):
                raise Wrong(f"`tokens_of` lists a token of {value!r} twice.")
            for token in listed[value]:
                if owner.setdefault(token, value) != value:
                    raise Wrong(f"{value!r} and {owner[token]!r} have a token in common.")
        total = sum(map(len, listed.values()))
        if total > _MOST_TOKENS:
            raise Wrong(f"The values have {total:,} tokens together; {_MOST_TOKENS} are allowed.")
        for value in shares:
            count = sum(sizes[token] for token in listed[value])
            if count != true[value]:
                raise Wrong(
                    f"A query by the tokens of {value!r} does not find its {true[value]:,} rows, "
                    f"but {count:,}."
                )
        return listed

    @staticmethod
    def _not_others(
        answers: Answers, key: bytes, shares: dict, values: list[str], sizes: Counter
    ) -> None:
        """Refuse tokens that another key makes, too."""
        for other in _nearly(key):
            own = set(answers.encrypt(values[:500], other, shares))
            if own & set(sizes):
                raise Wrong(
                    "Some tokens are the same under another key. Either not all of the key goes "
                    "into them, and the attacker looks them up, or there are too few possible "
                    "ones: take 16 bytes of HMAC."
                )

    @staticmethod
    def _related(own: set[bytes], seen: set[bytes]) -> None:
        """Refuse tokens that go with each other in a way that needs no key."""
        theirs = _relations(own)
        for how, found in _relations(seen).items():
            # Tokens of 4 random bytes have 0.1 such pairs by chance.
            if len(theirs[how].keys() & found.keys()) >= 3:
                raise Wrong(
                    f"The {how} of two tokens is the same under every key: the attacker runs your "
                    "code with another key and sees which tokens belong together. Make each whole "
                    "token with the key."
                )
            # Of tokens of 3 random bytes a pair of pairs agrees, but hardly three.
            often = max(found.values(), default=0)
            if often >= 3 and how != "quotient":
                raise Wrong(
                    f"One {how} comes back {often} times among your tokens: whoever sees that "
                    "groups them. Make each whole token with the key."
                )
        if pair := next(_hashed_tokens(seen), None):
            raise Wrong(
                f"One token ({pair[1][:6]!r}…) is made of another by a hash without the key: the "
                "attacker sees which belong together."
            )

    @staticmethod
    def _parts_tell(
        shares: dict, cells: Counter, own: Counter, judge: Callable, named: Callable
    ) -> None:
        """Attack parts and lengths of tokens, by rank and with what the own code shows."""
        attacks: list[tuple[str, Callable[[bytes], Hashable]]] = [("a token's length", len)]
        for told, cut in _cuts(min(max(len(token) for token, _ in cells), 64)):
            attacks.append((told, lambda token, cut=cut: token[cut]))
        for told, part in attacks:
            learned: dict = defaultdict(Counter)
            for (token, value), n in own.items():
                learned[part(token)][value] += n
            groups = Counter()
            for (token, _), n in cells.items():
                groups[part(token)] += n
            for guess in (
                {each: seen.most_common(1)[0][0] for each, seen in learned.items()},
                _by_rank(groups, shares, dict.fromkeys(shares, 1)),
            ):
                judge(
                    named(guess, part),
                    f"Whoever looks at {told}",
                    "Make the whole token with the key.",
                    _SLACK_OF_PARTS,
                )

    @staticmethod
    def _drawn(
        answers: Answers, key: bytes, shares: dict, values: list[str], tokens: list[bytes],
        numbers: dict[str, int],
    ) -> None:  # fmt: skip
        """See whether tokens are drawn afresh for each row."""
        again = answers.encrypt(values, key, shares)
        tokens_of = {value: answers.tokens_of(value, key, shares) for value in shares}
        if not {token for each in tokens_of.values() for token in each}.issuperset(again):
            raise Wrong("A second call with the same key uses tokens that no query finds.")
        expected = float(np.mean([1 / numbers[v] for v in values]))
        if expected > 0.95:
            return
        same = np.mean([a == b for a, b in zip(tokens, again, strict=True)])
        if same > (1 + expected) / 2:
            raise Wrong(
                f"{same:.0%} of the rows get the same tokens in a second call: who sees two "
                "versions of the table, or knows how you count, groups them. Draw each row's "
                "token at random."
            )
        last: dict[str, bytes] = {}
        repeats = 0
        for value, token in zip(values, tokens, strict=True):
            repeats += last.get(value) == token
            last[value] = token
        if not expected / 2 < repeats / len(values) < (1 + expected) / 2:
            raise Wrong(
                f"In {repeats:,} of {len(values):,} rows a value's token is that of its row "
                f"before; by chance it would be about {expected * len(values):,.0f}. Tokens of a "
                "value that take turns, or stay together, can be grouped by the order of the rows."
            )
        # Equal numbers group the tokens of a value.
        spread, freedom = _spread(tokens_of, Counter(tokens), Counter(values))
        if spread < chi2.ppf(1e-6, freedom):
            raise Wrong(
                "The tokens of a value are used more evenly than by chance: equal numbers tell "
                "which tokens belong together. Draw each row's token by itself."
            )

    @staticmethod
    def _with_others(
        private: pd.DataFrame,
        public: pd.DataFrame,
        column: str,
        tokens: list[bytes],
        shares: dict,
    ) -> dict[bytes, str]:
        """Guess each token's value by what the columns in the clear say (Naive Bayes)."""
        names = {name: n for n, name in enumerate(shares)}
        ids = {token: n for n, token in enumerate(dict.fromkeys(tokens))}
        rows = np.array([ids[token] for token in tokens])
        score = np.zeros((len(ids), len(names)))
        for other in (each for each in _OTHERS if each != column):
            kinds = {kind: n for n, kind in enumerate(sorted(public[other].unique()))}
            seen = np.zeros((len(ids), len(kinds)))
            np.add.at(seen, (rows, private[other].map(kinds).to_numpy()), 1)
            table = np.ones((len(names), len(kinds)))
            pairs = public[column].map(names).to_numpy(), public[other].map(kinds).to_numpy()
            np.add.at(table, pairs, 1)
            score += seen @ np.log(table / table.sum(axis=1, keepdims=True)).T
        best = score.argmax(axis=1)
        return {token: list(names)[best[n]] for token, n in ids.items()}

    def test_columns(self, answers: Answers, rng: np.random.Generator) -> str:
        """Count and attack two columns."""
        told = []
        for column in _COLUMNS:
            found = self._run(answers, column, rng)
            told.append(
                f"{column}: {found['tokens']} tokens, {found['named']:.0%} named by rank (always "
                f"the commonest: {found['baseline']:.0%})"
            )
            if column == "occupation":
                others = found["others"]
        return (
            f"Counts are exact. {'; '.join(told)}. Not graded: with education, sex and income in "
            f"the clear beside it, the attacker names {others:.0%} of the occupations."
        )

    def test_tokens_drawn(self, answers: Answers, rng: np.random.Generator) -> None:
        """Something random for each row."""
        key, shares = rng.bytes(32), {"a": 0.6, "b": 0.3, "c": 0.1}
        values = rng.choice(list(shares), 200).tolist()
        several = {v: len(answers.tokens_of(v, key, shares)) > 1 for v in shares}
        call = functools.partial(answers.encrypt, values, key, shares)
        _from_system(answers, call, sum(several[v] for v in values), "The token of a row")

    def hidden_again(self, answers: Answers, rng: np.random.Generator) -> None:
        """Other columns."""
        for column in ("relationship", "workclass"):
            self._run(answers, column, rng)


q1, q2, q3 = EXERCISES = (SealedRecords(), Vault(), CountableColumn())
