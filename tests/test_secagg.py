"""privlab/secagg.py: masks that cancel, and nothing else does."""

import numpy as np
import pytest

from privlab import secagg


@pytest.mark.parametrize("clients", [2, 3, 8])
def test_masks_cancel_in_the_sum_of_all_and_of_no_fewer(clients: int) -> None:
    rng = np.random.default_rng(1)
    updates = rng.integers(2**32, size=(clients, 100))
    seeds = secagg.shared_seeds(clients, rng)
    sent = np.stack([secagg.mask(update, k, seeds, 5) for k, update in enumerate(updates)])
    assert np.array_equal(sent.sum(axis=0, dtype=np.uint32), updates.sum(axis=0) % 2**32)
    part = sent[1:].sum(axis=0, dtype=np.uint32) == updates[1:].sum(axis=0) % 2**32
    assert part.mean() < 0.1
    assert (sent == updates).mean() < 0.1


def test_each_round_has_masks_of_its_own() -> None:
    seeds = secagg.shared_seeds(3, np.random.default_rng(2))
    update = np.zeros(1000, int)
    one, other = (secagg.mask(update, 0, seeds, number).astype(int) for number in (1, 2))
    assert len(np.unique((other - one) % 2**32)) > 990
    assert np.array_equal(secagg.mask(update, 0, seeds, 1), one)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"update": np.zeros((2, 2), int)}, "a vector of integers"),
        ({"update": np.array([0.5])}, "a vector of integers"),
        ({"update": np.array([], int)}, "a vector of integers"),
        ({"update": np.array([-1])}, "from 0 to"),
        ({"update": np.array([2**32])}, "from 0 to"),
        ({"client": 3}, "client must be from 0 to 2"),
        ({"number": -1}, "number must be"),
        ({"seeds": np.arange(9).reshape(3, 3)}, "symmetric"),
    ],
)
def test_bad_input(wrong: dict, says: str) -> None:
    right = {
        "update": np.array([1, 2]),
        "client": 0,
        "seeds": secagg.shared_seeds(3, np.random.default_rng(0)),
        "number": 1,
    }
    with pytest.raises(ValueError, match=says):
        secagg.mask(**right | wrong)


@pytest.mark.parametrize("clients", [1, True, 2.0])
def test_too_few_clients(clients: object) -> None:
    with pytest.raises(ValueError, match="clients must be"):
        secagg.shared_seeds(clients, np.random.default_rng(0))
