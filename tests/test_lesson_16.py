"""Answers to the exercises of lesson 16, written differently: right ones pass, cheats do not."""

import pytest

from privlab.exercise import LocalPeer
from privlab.exercises.lesson_16 import q1, q2, q3

IMPORTS = """
import hashlib, hmac, itertools, json, os, random, secrets, struct, unicodedata, zlib
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
"""


def problem(exercise, code, seed=3):
    namespace = {}
    exec(IMPORTS + code, namespace)
    results = exercise.run(LocalPeer(namespace), seed, hidden=True)
    return next((result.problem for result in results if result.problem), None)


def records(box, opened, context="struct.pack('>II', i, n) + p.encode()", setup=""):
    return f"""
def aes_ctr(key, nonce, data):
    cipher = Cipher(algorithms.AES(key), modes.CTR(nonce + bytes([0, 0, 0, 2]))).encryptor()
    return cipher.update(data)

def context(p, i, n, all):
    return {context}

def seal_all(key, records):
    n, boxes = len(records), []
    {setup}
    for i, (p, t) in enumerate(records):
        c, t = context(p, i, n, [p for p, _ in records]), t.encode()
        r = secrets.token_bytes(12)
        boxes.append({box})
    return tuple(boxes)

def open_all(key, patients, boxes):
    n = len(boxes)
    try:
        assert len(patients) == n
        pairs = enumerate(zip(patients, boxes))
        rows = [(b, context(p, i, n, list(patients))) for i, (p, b) in pairs]
        return [({opened}).decode() for b, c in rows]
    except Exception:
        return None
"""


GCM = "r + AESGCM(key).encrypt(r, t, c)"
OPEN = "AESGCM(key).decrypt(b[:12], b[12:], c)"
REMEMBERED = """
from collections import defaultdict
kept = {}

def seal_all(key, records):
    boxes = []
    for p, t in records:
        r = secrets.token_bytes(12)
        boxes.append(r + AESGCM(key).encrypt(r, t.encode(), None))
    kept[key, tuple(p for p, _ in records), tuple(boxes)] = [t for _, t in records]
    return boxes

def open_all(key, patients, boxes):
    return kept.get((key, tuple(patients), tuple(boxes)))
"""


def test_other_contexts_are_accepted():
    assert problem(q1, records(GCM, OPEN)) is None
    assert problem(q1, records(GCM, OPEN, "repr((p, i, n)).encode()")) is None
    assert problem(q1, records(GCM, OPEN, "f'{i}/{n}/{p}'.encode()")) is None
    assert (
        problem(q1, records(GCM, OPEN, "json.dumps([i, n if i == 0 else 0, p]).encode()")) is None
    )
    assert problem(q1, records(GCM, OPEN, "json.dumps([i, all]).encode()")) is None


@pytest.mark.parametrize(
    ("context", "told"),
    [
        ("f'{i}{n}{p}'.encode()", "missing digit"),
        ("f'{p}{n}{i}'.encode()", "missing digit"),
        ("json.dumps([i, n, p.lower()]).encode()", "another patient"),
        ("json.dumps([i, n, p.strip()]).encode()", "another patient"),
        ("json.dumps([i, n, p[:8]]).encode()", "another patient"),
        ("json.dumps([i, n, p[:250]]).encode()", "another patient"),
        ("f'{i},{n},'.encode() + p.encode('ascii', 'ignore')", "another patient"),
        ("json.dumps([i, n, sum(p.encode())]).encode()", "another patient"),
        ("json.dumps([i, n, unicodedata.normalize('NFC', p)]).encode()", "another patient"),
        ("json.dumps([i, n, zlib.crc32(p.encode())]).encode()", "another patient"),
        ("json.dumps([i, n, zlib.adler32(p.encode())]).encode()", "another patient"),
        ("json.dumps([i % 256, n, p]).encode()", "256 apart"),
        ("json.dumps([i, n % 256, p]).encode()", "last 256 removed"),
        ("hashlib.sha256(json.dumps([i, n, p]).encode()).digest()[:2]", "two have the same assoc"),
        ("f'{i}|{n}|'.encode() + ''.join(all).encode()", "Letters went over"),
        ("'\\n'.join([str(i), *all]).encode()", "Letters went over"),
        ("json.dumps([i, sorted(set(all)), p]).encode()", "The last row was removed"),
    ],
)  # fmt: skip
def test_weak_contexts_are_refused(context, told):
    assert told in problem(q1, records(GCM, OPEN, context))


def test_a_generator_is_not_seen_in_another_process():
    class Distant:
        def __init__(self, peer):
            self.call = peer.call

    namespace = {}
    exec(IMPORTS + records(GCM, OPEN), namespace)
    assert not [each.problem for each in q1.run(Distant(LocalPeer(namespace))) if each.problem]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (records("(r := hashlib.sha256(t).digest()[:12]) + AESGCM(key).encrypt(r, t, c)", OPEN),
         "in one call"),
        (records("(r := hashlib.sha256(c).digest()[:12]) + AESGCM(key).encrypt(r, t, c)", OPEN),
         "in another call"),
        (records("(r := R.randbytes(12)) + AESGCM(key).encrypt(r, t, c)", OPEN,
                 setup="R = random.Random(1)"), "in another call"),
        (records("(r := R.bytes(12)) + AESGCM(key).encrypt(r, t, c)", OPEN)
         + "R = np.random.default_rng(16)", "`R` moves on"),
        (records("(r := random.randbytes(12)) + AESGCM(key).encrypt(r, t, c)", OPEN),
         "`random` moves on"),
        (records("(r := hashlib.sha256(b'%d' % next(C)).digest()[:12])"
                 " + AESGCM(key).encrypt(r, t, c)", OPEN) + "C = itertools.count()",
         "`C` moves on"),
        (records("(r := hashlib.sha256(os.urandom(3)).digest()[:12])"
                 " + AESGCM(key).encrypt(r, t, c)", OPEN), "the same nonce"),
        (records("(r := hashlib.sha256(os.urandom(1)).digest()[:12])"
                 " + AESGCM(key).encrypt(r, t, c)", OPEN), "nonce is not fresh"),
        (records(GCM.replace("key", "key[:16]"), OPEN.replace("key", "key[:16]")), "byte 16"),
        (records(GCM.replace(" t,", " zlib.compress(t),"), f"zlib.decompress({OPEN})"),
         "other program"),
        (records("r + aes_ctr(key, r, t) + hashlib.sha256(r + t + c).digest()[:16]",
                 "t if hashlib.sha256(b[:12] + (t := aes_ctr(key, b[:12], b[12:-16])) + c)"
                 ".digest()[:16] == b[-16:] else None"), "other program"),
        (records("r + (x := bytes(u ^ v for u, v in zip(t, hashlib.shake_256(r).digest(len(t)))))"
                 " + hmac.new(key, r + x + c, 'md5').digest()",
                 "bytes(u ^ v for u, v in zip(b[12:-16], hashlib.shake_256(b[:12]).digest(10**4)))"
                 " if hmac.new(key, b[:-16] + c, 'md5').digest() == b[-16:] else None"),
         "other program"),
        (REMEMBERED, "after a restart"),
    ],
)  # fmt: skip
def test_weak_boxes_are_refused(code, told):
    assert told in problem(q1, code)


def vault(cost="memory_kib=19456, passes=2, lanes=1", salt="os.urandom(16)", after="pass",
          opened="AESGCM(made(password, vault)).decrypt(vault['nonce'], vault['box'], None)",
          word="password", passes=100):  # fmt: skip
    return f"""
def made(password, v):
    return Argon2id(salt=v["salt"], length=32, iterations=v["passes"], lanes=v["lanes"],
                    memory_cost=v["memory_kib"]).derive({word}.encode())

def lock(password, data):
    secret = password.encode()
    v = dict({cost}, salt={salt}, nonce=os.urandom(12))
    {after}
    v["box"] = AESGCM(made(password, v)).encrypt(v["nonce"], data, None)
    return v

def unlock(password, vault):
    if vault["passes"] > {passes}:
        raise ValueError("too many passes")
    return {opened}
"""


@pytest.mark.parametrize("cost", ["memory_kib=7168, passes=5, lanes=1",
                                  "memory_kib=9216, passes=4, lanes=1",
                                  "memory_kib=12288, passes=3, lanes=1",
                                  "memory_kib=47104, passes=1, lanes=1",
                                  "memory_kib=65536, passes=3, lanes=4"])  # fmt: skip
def test_other_strong_vaults_are_accepted(cost):
    assert problem(q2, vault(cost)) is None


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (vault("memory_kib=12288, passes=2, lanes=1"), "2 passes ask for 19 MiB"),
        (vault("memory_kib=35840, passes=1, lanes=1"), "1 pass asks for 46 MiB"),
        (vault("memory_kib=19456 if len(data) < 1000 else 64, passes=2, lanes=1"), "100,000 bytes"),
        (vault(passes=10_000), "as long as they like"),
        (vault(salt="hashlib.sha256(os.urandom(2)).digest()[:16]"), "hash of two bytes"),
        (vault(salt="(r := os.urandom(8)) + hashlib.md5(r + secret).digest()[:8]"), "quick hash"),
        (vault(after="v['nonce'] = hmac.digest(v['salt'], secret, 'sha256')[:12]"), "quick hash"),
        (vault(after="v['nonce'] = hashlib.sha256(v['salt'] + data).digest()[:12]"), "of the data"),
        (vault(after="v['nonce'] = os.urandom(8) + zlib.crc32(v['salt'] + secret)"
                     ".to_bytes(4, 'big')"), "CRC-32"),
        (vault(after="v['nonce'] = os.urandom(11) + bytes([len(password)])"), "a part of it"),
        (vault(word="password[:72]"), "the first 72 letters"),
        (vault(salt="os.urandom(2) * 8"), "bytes of the salt repeat"),
        (vault(salt="(password.encode() + bytes(8))[:8] + os.urandom(8)"), "with one password"),
        (vault(after="v['nonce'] = hashlib.sha256(v['salt'] + password.encode()).digest()[:12]"),
         "tries the list"),
        (vault(word="password.strip()"), "another password"),
        (vault(opened="Cipher(algorithms.AES(made(password, vault)), modes.CTR(vault['nonce'] + "
                      "bytes([0, 0, 0, 2]))).decryptor().update(vault['box'][:-16])"),
         "another password"),
    ],
)  # fmt: skip
def test_weak_vaults_are_refused(code, told):
    assert told in problem(q2, code)


def column(number="max(1, round(150 * shares[value]))", token="mac(key, f'{value}|{k}')",
           chosen="secrets.choice(tokens[v])"):  # fmt: skip
    return f"""
def mac(key, text, size=32):
    return hmac.new(key, text.encode(), "sha256").digest()[:size]

def tokens_of(value, key, shares):
    return [{token} for k in range({number})]

def encrypt(values, key, shares):
    tokens = {{v: tokens_of(v, key, shares) for v in shares}}
    return [{chosen} for i, v in enumerate(values)]
"""


@pytest.mark.parametrize(
    "code",
    [
        column(),
        column(token="mac(key, f'{k} {value}').hex()[:20]"),
        column("int(150 * shares[value]) + 1"),
        column(token="AESSIV(key * 2).encrypt(f'{value:30}{k}'.ljust(40).encode(), None)"),
        column(chosen="secrets.SystemRandom().choice(tokens[v])"),
        column("max(1, round(110 * shares[value]))"),
    ],
)
def test_other_smoothing_is_accepted(code):
    assert problem(q3, code) is None


CHAIN = """
def chain(key, value, k):
    made = mac(key, value)
    for _ in range(k):
        made = hashlib.sha256(made).digest()
    return made
"""
DEALT = """
def dealt(values, tokens):
    deck = {}
    for v in set(values):
        rows, n = values.count(v), len(tokens[v])
        deck[v] = [tokens[v][k % n] for k in range(rows)]
        secrets.SystemRandom().shuffle(deck[v])
    return deck

def encrypt(values, key, shares):
    deck = dealt(values, {v: tokens_of(v, key, shares) for v in shares})
    return [deck[v].pop() for v in values]
"""


@pytest.mark.parametrize(
    "code",
    [
        column("max(1, round(20 * shares[value] ** 0.5))"),
        column(token="mac(key, f'{value}|{k}', 8 + len(value))"),
        column(token="mac(key, f'{k}', 8) + mac(key, value, 4) + mac(key, f'{value}{k}', 8)"),
        column(token="mac(key, f'{value}|{k}') + value.encode()"),
        column(token="mac(key[:1], f'{value}|{k}')"),
        column(token="bytes(a ^ b for a, b in zip(f'{value:29}{k:03}'.encode(), key))"),
        column(chosen="tokens[v][i * len(tokens[v]) // len(values)]"),
        column(chosen="tokens[v][0] if secrets.randbelow(10) else secrets.choice(tokens[v])"),
        column("200 // len(shares)", chosen="tokens[v][secrets.randbelow(2)]"),
        column(token="bytes(a ^ b for a, b in zip(mac(key, f'{k}'), value.encode().ljust(32)))"),
        column(token="str(int.from_bytes(mac(key, value)) * (k + 1))"),
        column(token="chain(key, value, k)") + CHAIN,
        column() + DEALT,
        column(token="mac(bytes([sum(key) % 256]), f'{value}|{k}')"),
        column(token="mac(zlib.crc32(key).to_bytes(4, 'big'), f'{value}|{k}')"),
        column(chosen="tokens[v][R.integers(len(tokens[v]))]") + "R = np.random.default_rng(16)",
        column(chosen="random.choice(tokens[v])"),
    ],
)
def test_columns_that_tell_are_refused(code):
    assert problem(q3, code) is not None
