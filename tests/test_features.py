"""The fixed features look at one image alone; the linear model keeps what DP-SGD promises."""

import math

import numpy as np
import pytest

from privlab.audit import audit
from privlab.features import fixed_features, invented_images, scattering, train_linear

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads for operations this small are slower, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images():
    return invented_images(12, seed=1)


def test_shapes_and_lengths(images):
    assert scattering(images, 4).shape == (12, 25, 7, 7)
    made = fixed_features(images, dimensions=50, orientations=4)
    assert made.shape == (12, 50)
    assert torch.allclose(made.norm(dim=1), torch.ones(12), atol=1e-5)


def test_each_image_by_itself(images):
    """What costs no privacy: no image changes the features of another one."""
    together = fixed_features(images, dimensions=50, orientations=4)
    alone = torch.cat([fixed_features(each[None], 50, 4) for each in images[:3]])
    assert torch.allclose(together[:3], alone, atol=1e-4)


def test_waves_answer_to_their_direction():
    stripes = torch.zeros(2, 1, 28, 28)
    stripes[0, 0, :, ::3] = 1  # vertical lines
    stripes[1, 0, ::3, :] = 1
    answers = scattering(stripes, 4)[:, 1:5].mean(dim=(2, 3))
    assert answers.argmax(dim=1).tolist() == [0, 2]


def test_a_plain_image_gives_no_answer():
    plain = scattering(torch.full((1, 1, 28, 28), 0.7), 4)
    assert torch.allclose(plain[:, :1], torch.full((1, 1, 7, 7), 0.7))
    assert plain[:, 1:].abs().max() < 1e-5


def test_order_two_of_a_shifted_image_is_nearly_the_same():
    image = invented_images(1, seed=3)
    moved = torch.roll(image, 1, dims=3)
    before, after = (fixed_features(each, 100, 4) for each in (image, moved))
    assert float((before * after).sum()) > 0.7


def test_invented_images_are_reproducible():
    assert torch.equal(invented_images(3, seed=5), invented_images(3, seed=5))
    assert invented_images(3).abs().max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scattering(torch.zeros(2, 28, 28)), "images must be of shape"),
        (lambda: scattering(torch.zeros(2, 1, 28, 28), 0), "orientations must be"),
        (lambda: fixed_features(torch.zeros(2, 1, 28, 28), 901), "dimensions must be"),
        (lambda: fixed_features(torch.zeros(2, 1, 28, 28), 500, 1), "196 dimensions at most"),
    ],
)
def test_bad_images(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"max_grad_norm": 0}, "max_grad_norm"),
        ({"noise_multiplier": -1}, "noise_multiplier"),
        ({"momentum": 1}, "momentum"),
    ],
)
def test_bad_settings(change, message):
    settings = {
        "noise_multiplier": 1, "sample_rate": 0.5, "steps": 1, "max_grad_norm": 1,
        "learning_rate": 1, "momentum": 0,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        train_linear(np.eye(3), np.arange(3), **settings, rng=np.random.default_rng(0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_a_record_outside_the_domain_is_refused(value):
    """Clipping does not bound it: NaN times anything is NaN, in every weight."""
    X = np.eye(3)
    X[1, 1] = value
    with pytest.raises(ValueError, match="X must hold finite features"):
        train_linear(X, np.arange(3), 1, 0.5, 1, 1, 1, 0, np.random.default_rng(0))


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_gradients_are_those_of_opacus():
    """Without noise and sampling, one step is the clipped sum that Opacus computes."""
    from torch import nn

    rng = np.random.default_rng(0)
    X = (rng.normal(size=(40, 6)) * np.linspace(0.1, 4, 40)[:, None]).astype(np.float32)
    y = rng.integers(0, 10, 40)
    made = train_linear(X, y, 0, 1.0, 1, 0.7, 1.0, 0, rng)
    from opacus.grad_sample import GradSampleModule

    network = GradSampleModule(nn.Linear(6, 10, bias=False), loss_reduction="sum")
    nn.init.zeros_(network._module.weight)
    loss = nn.functional.cross_entropy(network(torch.tensor(X)), torch.tensor(y), reduction="sum")
    loss.backward()
    each = network._module.weight.grad_sample
    norms = each.flatten(1).norm(dim=1)
    assert (norms > 0.7).any()
    assert (norms < 0.7).any()
    clipped = (each * (0.7 / norms).clamp(max=1)[:, None, None]).sum(dim=0)
    assert np.allclose(made, -clipped.numpy().T / 40, atol=1e-6)


def test_noise_has_its_size():
    """On records of length 0, weights are noise alone: steps add up, scaled by rate and batch."""
    X, y = np.zeros((50, 400)), np.zeros(50, int)
    made = train_linear(X, y, 2.0, 0.5, 9, 0.3, 10.0, 0.0, np.random.default_rng(1))
    # 4,000 entries: the standard error of the spread is 1.1 %.
    assert made.std() == pytest.approx(math.sqrt(9) * 2.0 * 0.3 * 10 / 25, rel=0.06)


def one_step(noise_multiplier):
    """A step of DP-SGD as a mechanism; an expected batch of 4 is public, whatever the data."""

    def mechanism(data, epsilon, rng):
        X, y = data
        made = train_linear(X, y, noise_multiplier, 1.0, 1, 0.5, 1.0, 0.0, rng)
        return (made[:, :2] * len(X)).ravel()  # undo the division: it is not part of the promise

    return mechanism


def test_the_audit_finds_no_violation_and_convicts_half_the_noise():
    """Adjacency: add or remove one record, however large; ε of one Gaussian at δ = 0.01."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    accountant.compose(dp_event.GaussianDpEvent(2.0))
    epsilon = accountant.get_epsilon(0.01)
    rest = np.array([[1.0], [1.0], [0.2]])
    pairs = [
        ((rest, np.array([0, 1, 2])), (np.vstack([rest, [[size]]]), np.array([0, 1, 2, 1])))
        for size in (0.0, 1.0, -1.0, 1000.0)
    ]
    options = {"delta": 0.01, "samples": 20_000, "rng": np.random.default_rng(3)}
    assert not audit(one_step(2.0), pairs, epsilon, **options).violates
    assert audit(one_step(1.0), pairs, epsilon, **options).violates
