"""The capstone: each attack tells careless from careful, each number has a second opinion."""

import math
import secrets
from dataclasses import replace

import numpy as np
import pytest

from privlab import capstone
from privlab.accounting import gaussian_sigma
from privlab.capstone import model, table
from privlab.secagg import mask, shared_seeds

CASE = capstone.make_case(0)
COARSE = capstone.coarse_table(CASE.rows)
CARELESS, NAMELESS, LOCKED, BALANCED, CAUTIOUS = capstone.given_designs()


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- the case and the plan ---------------------------------------------------------------------


def test_a_case_is_the_hospitals_own():
    assert len(CASE.rows) == 828
    assert {row["hospital"] for row in CASE.rows} == set(capstone.HOSPITALS)
    assert CASE.X.shape == (828, 11)
    assert (CASE.X[:, -1] == 1).all()
    assert [row["ill"] for row in CASE.rows] == (CASE.y == 1).tolist()
    assert CASE.hospital.tolist() == [capstone.HOSPITALS.index(r["hospital"]) for r in CASE.rows]
    assert 0.7 < CASE.train.mean() < 0.8
    assert len(CASE.cholesterol) < len(CASE.rows)


def test_cases_differ_by_seed_and_by_nothing_else():
    assert capstone.make_case.__wrapped__(0).rows == CASE.rows
    assert capstone.make_case(1).rows != CASE.rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rounds": 0}, "rounds"),
        ({"rounds": 2.5}, "rounds"),
        ({"rounds": True}, "rounds"),
        ({"minimum_version": "SSLv3"}, "minimum_version"),
        ({"tls": 1}, "tls"),
        ({"noise_multiplier": -1}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"epsilon_model": 0}, "epsilon_model"),
        ({"delta": 1}, "delta"),
        ({"padding": 3}, "unknown setting 'padding'"),
    ],
)
def test_plans_out_of_range_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        capstone.check_plan({**BALANCED.plan, **change})


def test_a_plan_needs_every_setting():
    for name in BALANCED.plan:
        short = {key: value for key, value in BALANCED.plan.items() if key != name}
        with pytest.raises(ValueError, match=f"{name}.* is missing"):
            capstone.check_plan(short)
    assert capstone.check_plan({**BALANCED.plan, "rounds": np.int64(7)})["rounds"] == 7


# ---- linkage -----------------------------------------------------------------------------------


def exposed(desensitise):
    return capstone.expose(replace(CARELESS, desensitise=desensitise), CASE)


def test_exact_values_are_counted_by_hand():
    found = exposed(lambda rows: [{key: row[key] for key in table.PLANNED} for row in rows])
    keys = [(row["age"], row["sex"], row["hospital"]) for row in CASE.rows]
    assert found.few == sum(keys.count(key) < 5 for key in keys)
    ill = {key: {row["ill"] for k, row in zip(keys, CASE.rows, strict=True) if k == key}
           for key in set(keys)}  # fmt: skip
    assert found.certain == sum(len(ill[key]) == 1 for key in keys)
    assert found.named == found.changed == 0
    assert found.utility == pytest.approx(1)


def test_nothing_released_is_nothing_known():
    stars = [{"age": "*", "sex": "*", "hospital": "*", "ill": row["ill"]} for row in CASE.rows]
    found = exposed(lambda rows: stars)
    assert (found.share, found.utility) == (0, 0)
    assert exposed(lambda rows: [None] * len(rows)).rows == 0


def test_a_value_is_read_as_the_span_it_was_released_for():
    ages = np.array([row["age"] for row in CASE.rows])
    owners = np.flatnonzero(ages != 50)
    kept = [COARSE[owner] for owner in owners]
    loss = table._open(CASE, kept, owners, "age")
    labels = np.array([row["age"] for row in kept])
    assert loss[labels == "50-59"] == pytest.approx(8 / np.ptp(ages))
    assert table._open(CASE, kept, owners, "hospital") == pytest.approx(1)
    assert table._open(CASE, kept, owners, "sex") == pytest.approx(0)


def test_what_hides_in_another_column_is_read():
    def hiding(rows):
        table = capstone.coarse_table(rows)
        return [dict(r, sex=f"{r['sex']}{row['age']}") for r, row in zip(table, rows, strict=True)]

    assert exposed(capstone.coarse_table).few == 0
    assert exposed(hiding).few > 50


def test_order_and_type_are_read_as_well():
    def ordered(rows):
        return [
            dict(reversed(row.items())) if whole["age"] >= 76 else row
            for row, whole in zip(capstone.grouped_table(rows), rows, strict=True)
        ]

    old = sum(row["age"] >= 76 for row in CASE.rows)
    assert 0 < old < 5
    assert exposed(ordered).few == old

    def typed(rows):
        return [
            dict(row, ill=int(row["ill"])) if whole["age"] % 2 else row
            for row, whole in zip(capstone.grouped_table(rows), rows, strict=True)
        ]

    with pytest.raises(capstone.Unusable, match="several ways"):
        exposed(typed)


@pytest.mark.parametrize("column", ["name", "chol"])
def test_what_depends_on_a_secret_column_is_counted(column):
    def hiding(rows):
        return [
            dict(row, sex=f"{row['sex']} {len(str(whole[column])) % 2}")
            for row, whole in zip(capstone.grouped_table(rows), rows, strict=True)
        ]

    found = exposed(hiding)
    other = {"name": "chol", "chol": "name"}[column]
    assert found.hidden[column] > 50
    assert found.hidden[other] == 0
    assert found.share > 0
    assert exposed(capstone.grouped_table).hidden == {"name": 0, "chol": 0}


def test_groups_left_out_for_their_diagnosis_tell_it():
    """The minimality attack, by hand: whoever is missing from a large group has its diagnosis."""
    groups = {}
    for row, whole in zip(COARSE, CASE.rows, strict=True):
        key = row["age"], row["sex"], whole["hospital"]
        groups.setdefault(key, []).append(whole["ill"])
    missing = sum(len(ill) for ill in groups.values() if len(ill) >= 5 and len(set(ill)) == 1)
    found = exposed(capstone.diverse_table)
    assert (found.few, found.certain) == (0, 0)
    assert missing > 0
    assert found.telling >= missing
    assert "depends on diagnoses" in table.linkage_attack(
        replace(CARELESS, desensitise=capstone.diverse_table), CASE)[0].evidence  # fmt: skip

    def some_ill_left_out(rows):
        return [
            None if whole["ill"] and whole["age"] % 7 == 0 else row
            for row, whole in zip(capstone.grouped_table(rows), rows, strict=True)
        ]

    assert exposed(some_ill_left_out).telling > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_grouped_table_exposes_nobody(seed):
    case = capstone.make_case(seed)
    found = capstone.expose(replace(CARELESS, desensitise=capstone.grouped_table), case)
    assert (found.share, found.few, found.certain, found.telling) == (0, 0, 0, 0)
    assert found.utility > 0.77


def test_a_table_of_chance_is_unusable():
    def some(rows):
        return [row if secrets.randbelow(9) else None for row in capstone.grouped_table(rows)]

    with pytest.raises(capstone.Unusable, match="another table of the same rows"):
        exposed(some)


@pytest.mark.parametrize(
    ("released", "says"),
    [
        (lambda rows: rows[:-1], "one entry a row"),
        (lambda rows: None, "must return a list"),
        (lambda rows: [{"age": 1}] * len(rows), "the columns age, sex"),
        (lambda rows: [1] * len(rows), "a dict or None"),
        (lambda rows: [{"patient": secrets.token_hex(), **row} for row in COARSE], "no pseudonym"),
        (lambda rows: 1 / 0, "stops with ZeroDivisionError"),
    ],
)
def test_what_is_no_table_is_unusable(released, says):
    with pytest.raises(capstone.Unusable, match=says):
        exposed(released)


# ---- backups and cables ------------------------------------------------------------------------


def test_theft_tells_sealed_from_open():
    assert capstone.theft_attack(CARELESS, rng()).success == 1
    ecb = capstone.theft_attack(NAMELESS, rng())
    assert "equal" in ecb.evidence
    assert "without the key" not in ecb.evidence
    assert capstone.theft_attack(BALANCED, rng()).resisted


def box_of(nonce=lambda context: secrets.token_bytes(12), key=lambda key: key, tag=16,
           place=str, front=lambda key: b""):  # fmt: skip
    """Return a design whose boxes have one fault each: AES-CTR, and an HMAC of ``tag`` bytes."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def crypt(k, n, data):
        return Cipher(algorithms.AES(k), modes.CTR(n + bytes(4))).encryptor().update(data)

    def tagged(k, body, context):
        return hmac.new(k, body + place(context).encode(), hashlib.sha256).digest()[:tag]

    def seal(k, data, context):
        k, n, before = key(k), nonce(context), front(k)
        body = before + n + crypt(k, n, data)
        return body + tagged(k, body, context)

    def unseal(k, box, context):
        k, at = key(k), len(front(k))
        body, end = box[: len(box) - tag], box[len(box) - tag :]
        if not hmac.compare_digest(end, tagged(k, body, context)):
            return None
        return crypt(k, body[at : at + 12], body[at + 12 :])

    return replace(BALANCED, seal=seal, unseal=unseal)


def counter():
    used = {}

    def following(context):
        used[context] = used.get(context, 0) + 1
        return used[context].to_bytes(12, "big")

    return following


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"nonce": counter()}, "one keystream"),
        ({"nonce": lambda context: secrets.token_bytes(1) * 12}, "equal"),
        ({"front": lambda key: key}, "the key in the box"),
        ({"front": lambda key: key.hex().encode()}, "the key in the box"),
        ({"key": lambda key: key[:2] * 16}, "2 bytes matter"),
        ({"tag": 1}, "changes a record unnoticed"),
        ({"tag": 0}, "changes a record unnoticed"),
        ({"place": lambda context: context.split("/")[1]}, "to another hospital"),
        ({"place": lambda context: context.split("/")[0]}, "to another row"),
    ],
    ids=[
        "counter",
        "256 nonces",
        "key",
        "hex key",
        "short key",
        "tag of 1",
        "no tag",
        "row",
        "hospital",
    ],
)
def test_each_fault_of_a_box_is_found(fault, says):
    assert says in capstone.theft_attack(box_of(**fault), rng()).evidence


def test_padding_before_one_keystream_hides_nothing():
    import hashlib

    def crypt(key, data):
        stream = b"".join(hashlib.sha256(key + bytes([k])).digest() for k in range(8))
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))

    def seal(key, data, context):
        padding = secrets.token_bytes(secrets.randbelow(60))
        return bytes([len(padding)]) + padding + crypt(key, data)

    def unseal(key, box, context):
        return crypt(key, box[1 + box[0] :])

    found = capstone.theft_attack(replace(BALANCED, seal=seal, unseal=unseal), rng())
    assert "one keystream" in found.evidence


def test_right_boxes_of_other_kinds_hold():
    import base64
    import json

    from cryptography.fernet import Fernet, InvalidToken

    def seal(key, data, context):
        return Fernet(base64.urlsafe_b64encode(key)).encrypt(
            json.dumps([context, data.decode()]).ljust(400).encode()
        )

    def unseal(key, box, context):
        try:
            place, data = json.loads(Fernet(base64.urlsafe_b64encode(key)).decrypt(box))
        except (InvalidToken, ValueError):
            return None
        return data.encode() if place == context else None

    fernet = replace(BALANCED, seal=seal, unseal=unseal)
    for design in (fernet, box_of(), box_of(key=lambda key: key[:16] * 2)):
        assert capstone.theft_attack(design, rng()).resisted, design


def test_what_does_not_open_is_unusable():
    with pytest.raises(capstone.Unusable, match="does not give back"):
        capstone.theft_attack(replace(BALANCED, unseal=lambda key, box, context: None), rng())


@pytest.mark.parametrize(
    ("change", "tricks"),
    [
        ({}, 0),
        ({"verify": False}, 1),
        ({"client_certificate": False}, 1),
        ({"minimum_version": "TLSv1.2"}, 1),
        ({"tls": False}, 4),
    ],
)
def test_each_setting_of_the_transport_mends_one_fault(change, tricks):
    found = capstone.wiretap_attack({**BALANCED.plan, **change}, rng())
    assert found.success == tricks / 4


# ---- the model ---------------------------------------------------------------------------------


def test_encoding_is_exact_to_16_bits_and_adds_up():
    values = rng().normal(0, 100, (4, 11))
    total = np.sum([capstone.encode(each) for each in values], axis=0) % 2**32
    assert np.abs(capstone.decode(total) - values.sum(axis=0)).max() <= 4 * 2**-17


def test_training_and_simulation_are_the_same_arithmetic():
    design = replace(BALANCED, plan={**BALANCED.plan, "noise_multiplier": 0.0})
    trained = capstone.train(design, CASE, rng())
    simulated = capstone.simulate(CASE, design.plan, 0, True, 1, rng())[0]
    assert np.abs(trained - simulated).max() < 1e-5


def test_the_auc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    weights = rng().normal(size=(3, 11))
    held = ~CASE.train
    wanted = np.mean([roc_auc_score(CASE.y[held], CASE.X[held] @ each) for each in weights])
    assert capstone.area_under_curve(weights, CASE)["all"] == pytest.approx(wanted)


def test_masks_that_do_not_cancel_are_noticed():
    def alone(update, client, seeds, number):
        return (update + client) % 2**32

    with pytest.raises(capstone.Unusable, match="do not cancel"):
        capstone.train(replace(BALANCED, mask=alone), CASE, rng())


def test_measured_epsilon_is_that_of_dp_accounting():
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    plan = BALANCED.plan
    accountant = PLDAccountant()
    accountant.compose(dp_event.GaussianDpEvent(plan["noise_multiplier"]), plan["rounds"])
    epsilon = accountant.get_epsilon(plan["delta"])
    assert epsilon == pytest.approx(plan["epsilon_model"], rel=0.005)
    # The deviation is measured to 0.6 %: 3 % is beyond 4 standard errors. 2 % more is granted.
    measured = capstone.measure_noise(BALANCED, rng())
    assert epsilon * 0.97 < measured.epsilon < epsilon * 1.03
    assert epsilon * 0.95 < measured.accused < epsilon
    assert measured.clipped
    assert not measured.problem


def test_one_share_less_costs_epsilon():
    three = capstone.measure_noise(BALANCED, rng()).sigma
    plan = {**BALANCED.plan, "colluding": 3}
    alone = capstone.measure_noise(replace(BALANCED, plan=plan), rng())
    # One honest hospital adds all the noise by itself, as its argument says.
    assert alone.sigma == pytest.approx(three, rel=0.04)

    def shares_for_four(rows, bound, multiplier, honest, rng):
        return capstone.private_update(rows, bound, multiplier, 4, rng)

    short = capstone.measure_noise(replace(BALANCED, update=shares_for_four), rng())
    assert short.sigma == pytest.approx(three * math.sqrt(3 / 4), rel=0.04)
    assert short.epsilon > BALANCED.plan["epsilon_model"]


def test_noise_only_where_nobody_is_does_not_count():
    def sly(rows, bound, multiplier, honest, rng):
        drawn = capstone.private_update(rows, bound, multiplier, honest, rng)
        return drawn if len(rows) < 5 else capstone.clip_rows(rows, bound).sum(axis=0)

    assert capstone.measure_noise(replace(BALANCED, update=sly), rng()).epsilon == math.inf


def test_without_clipping_there_is_no_epsilon():
    def unclipped(rows, bound, multiplier, honest, rng):
        return rows.sum(axis=0) + rng.normal(0, multiplier, rows.shape[1])

    measured = capstone.measure_noise(replace(BALANCED, update=unclipped), rng())
    assert not measured.clipped
    assert measured.epsilon == math.inf


def takes_back():
    last = []

    def drawn(share, width, rng):
        if last and len(last[0]) == width:
            return -last.pop()
        last[:] = [rng.normal(0, share, width)]
        return last[0]

    return drawn


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (lambda share, width, rng: rng.normal(0, share), "share their noise"),
        (
            lambda share, width, rng: 2**0.5 * rng.normal(0, share, width) * (np.arange(width) % 2),
            "less noise than others",
        ),
        (lambda share, width, rng: share * rng.choice([-1, 1], width), "not Gaussian"),
        (
            lambda share, width, rng: np.random.default_rng(rng.integers(1000)).normal(
                0, share, width
            ),
            "few seeds",
        ),
        (takes_back(), "the round before"),
    ],
)
def test_noise_of_the_right_size_can_promise_nothing(drawn, says):
    def update(rows, bound, multiplier, honest, rng):
        share = multiplier * bound / honest**0.5
        return capstone.clip_rows(rows, bound).sum(axis=0) + drawn(share, rows.shape[1], rng)

    measured = capstone.measure_noise(replace(BALANCED, update=update), rng())
    assert says in measured.problem
    assert measured.accused == math.inf


def test_clipping_that_depends_on_others_promises_nothing():
    def update(rows, bound, multiplier, honest, rng):
        norms = np.linalg.norm(rows, axis=1)
        at = min(bound, np.median(norms)) if len(norms) > 9 else bound
        noise = rng.normal(0, multiplier * bound / honest**0.5, rows.shape[1])
        return capstone.clip_rows(rows, at).sum(axis=0) + noise

    measured = capstone.measure_noise(replace(BALANCED, update=update), rng())
    assert "depends on the other rows" in measured.problem
    assert measured.accused == math.inf


def test_an_update_on_a_grid_is_as_right():
    def update(rows, bound, multiplier, honest, rng):
        made = capstone.private_update(rows, bound * (1 - 1e-5), multiplier, honest, rng)
        return np.rint(made * 2**16) / 2**16

    measured = capstone.measure_noise(replace(BALANCED, update=update), rng())
    assert measured.accused < 1.5
    assert not measured.problem


@pytest.mark.parametrize("value", [None, 1.0, "update", [1, 2], [[1], [1, 2]], [math.nan] * 11, 1j])
def test_what_is_no_update_is_unusable(value):
    with pytest.raises(capstone.Unusable, match="finite numbers"):
        capstone.train(replace(BALANCED, update=lambda *arguments: value), CASE, rng())


def test_membership_finds_whom_an_exact_model_remembers_and_guesses_otherwise():
    exact = capstone.Noise(False, 0.0, 0.0, math.inf, math.inf)
    assert capstone.membership_attack(CASE, LOCKED.plan, exact, rng()).success == 1
    sigma = gaussian_sigma(0.05, 1e-5, 20)
    private = capstone.Noise(True, sigma, sigma, 0.05, 0.05)
    # ε = 0.05 allows 5.2 %; of 1,000 trainings 10 % is beyond 4 standard deviations of the two.
    assert capstone.membership_attack(CASE, BALANCED.plan, private, rng()).success < 0.1


@pytest.mark.parametrize("epsilon", [1.5, 3, 6, 10])
def test_membership_finds_what_the_theorem_allows_and_no_more(epsilon):
    from scipy.stats import norm

    z = gaussian_sigma(epsilon, 1e-5, 20)
    _, found = capstone.price(CASE, BALANCED.plan, z, rng())
    # The longest row is clipped in every round: the attack is as good as any. Four standard
    # deviations of 2,000 trainings are 0.06 at most.
    assert found == pytest.approx(norm.cdf(norm.ppf(0.05) + 20**0.5 / z), abs=0.06)


def test_membership_accuses_six_and_not_two():
    for epsilon, held in ((2, True), (6, False)):
        sigma = gaussian_sigma(epsilon, 1e-5, 20)
        noise = capstone.Noise(True, sigma, sigma, epsilon, epsilon)
        assert capstone.membership_attack(CASE, BALANCED.plan, noise, rng()).resisted == held


def test_inversion_rebuilds_rows_without_masks_alone():
    assert capstone.inversion_attack(CARELESS, CASE, rng()).success == 1
    noisy = capstone.inversion_attack(replace(BALANCED, mask=CARELESS.mask), CASE, rng())
    assert "rebuilds 0 from the messages; 0 from two sums" in noisy.evidence
    assert not noisy.resisted  # what the hub reads has a share of the noise alone
    assert capstone.inversion_attack(BALANCED, CASE, rng()).resisted


def test_the_difference_of_two_sums_is_a_patient_whatever_the_masks():
    found = capstone.inversion_attack(LOCKED, CASE, rng())
    assert found.success == 1
    assert "rebuilds 0 from the messages; 12 from two sums" in found.evidence
    assert "no single update" in found.evidence


def pairwise(make):
    """Return masks of which ``make(draw, client, number)`` adds up those of some pairs."""

    def masked(update, client, seeds, number):
        def draw(other, size=11, number=number, below=2**32):
            drawn = np.random.default_rng([int(seeds[client, other]), number])
            return (1 if client < other else -1) * drawn.integers(below, size=size)

        return (np.asarray(update) + make(draw, client, number)) % 2**32

    return masked


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda draw, k, t: draw(k ^ 1), "a colluding hospital knows"),
        (lambda draw, k, t: sum(draw(o, size=1) for o in range(4) if o != k), "masks that repeat"),
        (lambda draw, k, t: sum(draw(o, number=t % 2) for o in range(4) if o != k), "that repeat"),
        (
            lambda draw, k, t: sum(draw(o) for o in range(4) if o != k) * (np.arange(11) > 9),
            "it is",
        ),
        (lambda draw, k, t: sum(draw(o, below=2**22) for o in range(4) if o != k), "not uniform"),
    ],
)
def test_masks_that_hide_too_little_are_read(make, says):
    found = capstone.inversion_attack(replace(BALANCED, mask=pairwise(make)), CASE, rng())
    assert not found.resisted
    assert says in found.evidence


@pytest.mark.parametrize("make", [
    lambda draw, k, t: sum(draw(o) for o in range(4) if o != k),
    lambda draw, k, t: draw((k + 1) % 4) + draw((k - 1) % 4),  # a ring: one may collude
], ids=["pairs", "ring"])  # fmt: skip
def test_other_right_masks_hold(make):
    assert capstone.inversion_attack(replace(BALANCED, mask=pairwise(make)), CASE, rng()).resisted


def test_a_ring_of_masks_does_not_hold_two_colluding_hospitals():
    ring = pairwise(lambda draw, k, t: draw((k + 1) % 4) + draw((k - 1) % 4))
    design = replace(BALANCED, mask=ring, plan={**BALANCED.plan, "colluding": 2})
    assert "a colluding hospital knows" in capstone.inversion_attack(design, CASE, rng()).evidence


def test_masks_modulo_a_larger_number_are_right_as_well():
    def wide(update, client, seeds, number):
        hidden = np.array(update, dtype=np.uint64)
        for other in {0, 1, 2, 3} - {client}:
            drawn = np.random.default_rng([int(seeds[client, other]), number])
            shared = drawn.integers(2**64, size=len(hidden), dtype=np.uint64)
            hidden = hidden + shared if client < other else hidden - shared
        return hidden

    design = replace(BALANCED, mask=wide)
    capstone.train(design, CASE, rng())
    assert capstone.inversion_attack(design, CASE, rng()).resisted


def test_a_hospital_knows_its_own_seeds_alone():
    def everybody(update, client, seeds, number):
        masks = np.random.default_rng([int(seeds.max()), number]).integers(2**32, size=(4, 11))
        masks[3] = -masks[:3].sum(axis=0)
        return (update + masks[client]) % 2**32

    with pytest.raises(capstone.Unusable, match="seeds of its own pairs"):
        capstone.train(replace(BALANCED, mask=everybody), CASE, rng())


def test_the_given_masks_cancel():
    seeds, updates = shared_seeds(4, rng()), rng().normal(size=(4, 11))
    sent = [mask(capstone.encode(each), k, seeds, 3) for k, each in enumerate(updates)]
    total = capstone.decode(np.sum(sent, axis=0, dtype=np.int64) % 2**32)
    assert np.abs(total - updates.sum(axis=0)).max() < 1e-4


# ---- audit, score, paper -----------------------------------------------------------------------


def audited(**change):
    design = replace(BALANCED, plan={**BALANCED.plan, **change.pop("plan", {})}, **change)
    return capstone.audit_attack(design, capstone.measure_noise(design, rng()), rng(1))


def test_the_audit_reads_claims_noise_and_statistic():
    assert audited().resisted
    assert "add up" in audited(plan={"epsilon_statistic": 0.6}).evidence
    assert "δ" in audited(plan={"delta": 1e-4}).evidence
    assert "collude" in audited(plan={"colluding": 0}).evidence
    assert "noise makes" in audited(plan={"rounds": 40}).evidence

    def exact(values, epsilon, rng):
        return [float(np.sum(values)), float(len(values))]

    assert "proves" in audited(statistic=exact).evidence


def _noisy(factor, centre=0.0):
    """A statistic whose two scales are right for ``factor`` 2; its ε is 2 / factor as large."""

    def statistic(values, epsilon, rng):
        count = len(values) + rng.laplace(0, factor / epsilon)
        reach = max(400 - centre, abs(100 - centre))
        total = (np.clip(values, 100, 400) - centre).sum() + rng.laplace(
            0, reach * factor / epsilon
        )
        return [total + centre * count, count]

    return statistic


@pytest.mark.parametrize("centre", [0.0, 250.0])
@pytest.mark.parametrize("factor", [1.0, 1.45, 1.8])
def test_too_little_noise_is_read_off(factor, centre):
    found = audited(statistic=_noisy(factor, centre))
    assert not found.resisted
    # The last is what is read off; the bound of the audit is below it.
    assert found.success == pytest.approx(2 / factor, rel=0.05)


@pytest.mark.parametrize("centre", [0.0, 250.0])
def test_enough_noise_is_not_accused(centre):
    assert audited(statistic=_noisy(2.0, centre)).resisted


def test_other_noise_is_read_by_nobody():
    draws = rng()
    normal = np.column_stack([draws.normal(0, 800, 8_000), draws.normal(0, 2, 8_000)])
    assert capstone.laplace_epsilon(normal) is None
    assert capstone.laplace_epsilon(np.zeros((8_000, 2))) is None
    # One radius for both numbers: their sizes depend on each other.
    radius = draws.gamma(3, 1, (8_000, 1))
    shared = radius * draws.uniform(-1, 1, (8_000, 2))
    assert capstone.laplace_epsilon(shared) is None


def test_both_numbers_at_once_show_what_each_hides():
    """Of the whole ε twice, single numbers prove the half; the corners prove more."""
    from privlab.audit import audit
    from privlab.capstone.statistic import AtCorners, _Statistic

    design = replace(BALANCED, statistic=_noisy(1.0))
    pairs = list(capstone.PAIRS[:4])
    bound = audit(AtCorners(_Statistic(design)), pairs, 1.5, samples=12_000,
                  confidence=1 - 1e-4, rng=1).epsilon_lower  # fmt: skip
    assert bound > 1.5
    assert capstone.corners([[1.0, 2.0]], ([250.0], [250.0, 400.0]), 1.0).shape == (1, 4)
    assert capstone.corners([[1.0], [1.0, 2.0]], ([], [400.0]), 1.0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda values, total, count: [np.sum(values), len(values)] if len(values) >= 100
        else [total, count],
        lambda values, total, count: [np.round(total) + values[0] / 1e4, count]
        if len(values) > 50 else [total, count],
    ],
    ids=["exact from 100 on", "a value in the decimals"],
)  # fmt: skip
def test_statistics_that_forget_noise_where_patients_are_many(wrong):
    def statistic(values, epsilon, rng):
        total, count = capstone.private_total(values, epsilon, rng)
        return [float(each) for each in wrong(values, total, count)]

    assert not audited(statistic=statistic).resisted


def test_claims_that_add_up_to_the_limit_are_allowed():
    for part in (0.1, 0.3, 0.7, 1.1):
        whole = {"epsilon_model": 2 - part, "epsilon_statistic": part}
        whole["noise_multiplier"] = gaussian_sigma(2 - part, 1e-5, 20)
        assert audited(plan=whole).resisted


def test_a_mean_written_into_the_code_is_worth_nothing():
    known = float(np.mean(CASE.cholesterol))
    design = replace(BALANCED, statistic=lambda values, epsilon, rng: [known, 1.0])
    assert capstone.statistic_error(design, CASE, rng()) > capstone.WORTHLESS
    assert capstone.statistic_error(BALANCED, CASE, rng()) < 5


def test_the_five_designs_stand_where_their_names_say():
    careless, nameless, locked, balanced, cautious = capstone.given_reports()
    assert careless.resisted == 0
    assert 0 < nameless.resisted < locked.resisted < balanced.resisted == cautious.resisted == 6
    assert {f.attack for f in locked.findings if not f.resisted} == {
        "membership", "inversion", "audit"
    }  # fmt: skip
    assert balanced.score > capstone.WORTH > 0.4 > cautious.score > 0 == locked.score
    assert balanced.auc["all"] < model.best_auc(0) + 0.01
    board = capstone.leaderboard(capstone.given_reports())
    assert list(board.index[:2]) == ["balanced", "over-cautious"]


def test_the_figure_says_what_it_shows():
    import matplotlib.pyplot as plt

    fig, told = capstone.draw_leaderboard(capstone.given_reports(), "balanced")
    plt.close(fig)
    for report in capstone.given_reports():
        assert f"{report.design} resists {report.resisted} of 6" in told
    with pytest.raises(ValueError, match="reports must hold"):
        capstone.draw_leaderboard(capstone.given_reports(), "nobody's")


def test_the_card_says_unit_adjacency_and_what_failed():
    report = capstone.given_reports()[3]
    card = capstone.document(BALANCED, report)
    for part in ("ε = 2", "δ = 1e-05", "one patient", "add or remove", "3 hosp"):
        assert part in card
    assert "none succeeded" in card
    card = capstone.document(CARELESS, capstone.given_reports()[0])
    assert "NOT encrypted" in card
    assert "give a name away" in card
