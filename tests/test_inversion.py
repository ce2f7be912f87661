"""Gradient inversion: similarities against hand-made cases, attacks on cases with known answers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from privlab import networks
from privlab.attacks import inversion as iv

RNG = np.random.default_rng(15)
IMAGES = RNG.random((6, 12, 10))


def test_the_module_does_not_import_torch():
    code = "import sys, privlab.attacks.inversion; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- SSIM, PSNR ---------------------------------------------------------------------------------


def ssim_by_loops(a, b, window):
    """The formula of Wang et al. (2004), window by window, with sample variances."""
    values = []
    for row in range(a.shape[0] - window + 1):
        for column in range(a.shape[1] - window + 1):
            x, y = (each[row : row + window, column : column + window].ravel() for each in (a, b))
            (vx, cov), (_, vy) = np.cov(x, y)
            values.append(
                (2 * x.mean() * y.mean() + 1e-4) * (2 * cov + 9e-4)
                / ((x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (vx + vy + 9e-4))
            )  # fmt: skip
    return np.mean(values)


@pytest.mark.parametrize("window", [3, 7, 9])
def test_ssim_is_the_formula(window):
    for a, b in ((IMAGES[0], IMAGES[1]), (IMAGES[2], IMAGES[2] * 0.3 + 0.5)):
        assert iv.ssim(a, b, window) == pytest.approx(ssim_by_loops(a, b, window), abs=1e-12)


def test_ssim_by_hand():
    flat = np.full((7, 7), 0.2)
    # Flat windows differ in brightness alone: (2·0.2·0.6 + 0.0001) / (0.04 + 0.36 + 0.0001).
    assert iv.ssim(flat, flat + 0.4) == pytest.approx(0.2401 / 0.4001)
    assert iv.ssim(flat, flat) == pytest.approx(1)
    # 0 and 1 in turn against its negative: means 24/49 and 25/49, covariance -variance.
    board = (np.indices((7, 7)).sum(axis=0) % 2).astype(float)
    m, n, v = 24 / 49, 25 / 49, 24 * 25 / 49**2 * 49 / 48
    wanted = (2 * m * n + 1e-4) * (9e-4 - 2 * v) / ((m * m + n * n + 1e-4) * (2 * v + 9e-4))
    assert iv.ssim(board, 1 - board) == pytest.approx(wanted)
    assert wanted < -0.99


def test_ssim_of_many_is_that_of_each():
    together = iv.ssim(IMAGES[:, None], IMAGES)
    assert together.shape == (6, 6)
    assert np.allclose(together, together.T)
    assert np.allclose(np.diag(together), 1)
    assert together[1, 4] == pytest.approx(iv.ssim(IMAGES[1], IMAGES[4]))
    assert (together <= 1 + 1e-12).all()


def test_psnr_by_hand():
    image = np.zeros((4, 4))
    assert iv.psnr(image, image + 0.1) == pytest.approx(20)
    assert iv.psnr(image, image + 1) == pytest.approx(0, abs=1e-12)
    assert iv.psnr(image, image) == np.inf
    assert iv.psnr(np.stack([image, image + 0.01]), image).tolist() == [np.inf, pytest.approx(40)]


@pytest.mark.parametrize("function", [iv.ssim, iv.psnr])
@pytest.mark.parametrize(
    ("image", "other", "message"),
    [
        (np.zeros(9), np.zeros(9), "image must hold finite pixels"),
        (np.zeros((9, 9)), np.full((9, 9), np.nan), "other must hold finite pixels"),
        (np.zeros((9, 9)), np.zeros((9, 8)), "must be of one size"),
        (np.zeros((0, 9, 9)), np.zeros((9, 9)), "image must hold"),
    ],
)
def test_similarities_refuse_bad_input(function, image, other, message):
    with pytest.raises(ValueError, match=message):
        function(image, other)


@pytest.mark.parametrize("window", [1, 2, 4, 11, 7.0, True])
def test_ssim_refuses_windows(window):
    with pytest.raises(ValueError, match="window must be"):
        iv.ssim(IMAGES[0], IMAGES[1], window)


def test_matched_finds_a_shuffled_order():
    order = np.array([3, 0, 5, 1, 4, 2])
    index, scores = iv.matched(IMAGES[order], IMAGES)
    assert (order[index] == np.arange(6)).all()
    assert np.allclose(scores, 1)


def test_matched_gives_no_guess_twice():
    # All originals are most alike the first guess.
    originals = IMAGES[[0, 0]] * np.array([1, 0.99])[:, None, None]
    index, scores = iv.matched(IMAGES[:3], originals)
    assert len(set(index)) == 2
    assert scores.max() > 0.95 > scores.min()
    with pytest.raises(ValueError, match="at least as many guesses"):
        iv.matched(IMAGES[:1], IMAGES)


# ---- closed forms -------------------------------------------------------------------------------


def dense(units=20, inputs=30):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, 4)).double()


@pytest.mark.parametrize("steps", [1, 5])
def test_dense_input_is_exact_for_one_record(steps):
    network = dense()
    for label in range(4):
        record = torch.rand(1, 30, dtype=torch.float64)
        update = iv.local_update(network, record, torch.tensor([label]), steps, 0.01)
        assert np.allclose(iv.dense_input(update[0], update[1]), record[0], atol=1e-9)
        clipped = [part * 1e-9 for part in update]
        assert np.allclose(iv.dense_input(clipped[0], clipped[1]), record[0], atol=1e-9)


def test_dense_input_is_least_squares():
    weights, bias = RNG.normal(size=(8, 5)), RNG.normal(size=8)
    wanted = np.linalg.lstsq(bias[:, None], weights, rcond=None)[0][0]
    assert np.allclose(iv.dense_input(weights, bias), wanted)


def test_label_of_one():
    network = dense()
    for label in range(4):
        loss = cross_entropy(network(torch.rand(1, 30).double()), torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, [network[2].bias])
        assert iv.label_of_one(gradient) == label


@pytest.mark.parametrize(
    ("weights", "bias", "message"),
    [
        (np.zeros(4), np.ones(4), "weight_gradient must be finite, of shape"),
        (np.full((4, 2), np.inf), np.ones(4), "weight_gradient must be finite"),
        (np.zeros((4, 2)), np.ones(2), r"bias_gradient must be finite, of shape \(4,\)"),
        (np.zeros((4, 2)), np.full(4, np.nan), "bias_gradient must be finite"),
        (np.zeros((4, 2)), np.zeros(4), "no unit was active"),
    ],
)
def test_dense_input_refuses_bad_input(weights, bias, message):
    with pytest.raises(ValueError, match=message):
        iv.dense_input(weights, bias)


@pytest.mark.parametrize("bias", [np.zeros((2, 2)), np.ones(1), np.array([1, np.nan])])
def test_label_refuses_bad_input(bias):
    with pytest.raises(ValueError, match="bias_gradient must be finite, one number a class"):
        iv.label_of_one(bias)


# ---- gradient matching --------------------------------------------------------------------------


def smooth():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 4, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 5))


def test_local_update_is_gradient_descent():
    network = smooth()
    images, labels = torch.rand(3, 1, 8, 8), torch.tensor([0, 4, 2])
    before = [p.detach().clone() for p in network.parameters()]
    update = iv.local_update(network, images, labels, steps=4, learning_rate=0.3)
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.3)
    for _ in range(4):
        optimiser.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimiser.step()
    for part, after, start in zip(update, network.parameters(), before, strict=True):
        assert torch.allclose(part, after.detach() - start, atol=1e-6)
        assert not part.requires_grad


@pytest.mark.parametrize("steps", [1, 3])
def test_matching_finds_the_image(steps):
    network, image, label = smooth(), torch.rand(1, 1, 8, 8), torch.tensor([3])
    update = iv.local_update(network, image, label, steps)
    state = torch.get_rng_state()
    guess = iv.match_update(network, update, label, (1, 8, 8), steps, iterations=300)
    assert torch.equal(torch.get_rng_state(), state)
    assert guess.shape == image.shape
    assert not guess.requires_grad
    assert (guess - image).abs().max() < 0.02
    assert all(p.grad is None for p in network.parameters())


def test_matching_on_the_course_network():
    network = networks.small_network()
    images, labels, *_ = networks.fashion_tensors()
    image = (images[:1] + 1) / 2
    guess = iv.match_update(
        network, iv.local_update(network, image, labels[:1]), labels[:1], (1, 28, 28)
    )
    assert iv.ssim(guess[0, 0].clamp(0, 1), image[0, 0]) > 0.98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer, at least 1"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"iterations": 1.5}, "iterations must be an integer"),
        ({"update": []}, "one tensor a parameter"),
        ({"update": [torch.zeros(p.shape) for p in smooth().parameters()]}, "not zero"),
        ({"labels": torch.tensor([], dtype=torch.long)}, "as many, at least 1"),
    ],
)
def test_matching_refuses_bad_input(change, message):
    network, label = smooth(), torch.tensor([3])
    update = iv.local_update(network, torch.rand(1, 1, 8, 8), label)
    arguments = {"update": update, "labels": label, "shape": (1, 8, 8)} | change
    with pytest.raises(ValueError, match=message):
        iv.match_update(network, **arguments)


def test_local_update_refuses_unequal_numbers():
    with pytest.raises(ValueError, match="images and labels must be as many"):
        iv.local_update(smooth(), torch.rand(2, 1, 8, 8), torch.tensor([3]))


# ---- imprint ------------------------------------------------------------------------------------


def trapped(units, public):
    weights, biases = iv.imprint_layer(public, units)
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(public.shape[1], units), nn.ReLU(), nn.Linear(units, 4))
    with torch.no_grad():
        network[0].weight.copy_(torch.from_numpy(weights))
        network[0].bias.copy_(torch.from_numpy(biases))
        network[2].weight.copy_(network[2].weight[:, :1].expand(4, units))
    return network.double()


def test_imprint_reads_every_image_that_is_alone_in_its_bin():
    public, private = RNG.random((2000, 20)), RNG.random((30, 20))
    network = trapped(200, public)
    total = [0, 0]
    for record in private:  # thirty clients; the server gets the sum alone
        update = iv.local_update(network, torch.from_numpy(record)[None], torch.tensor([1]))
        total = [total[k] + update[k].numpy() for k in (0, 1)]
    found = iv.read_imprint(*total)
    thresholds = -iv.imprint_layer(public, 200)[1]
    # The network holds them in single precision before it becomes double.
    bins = np.searchsorted(thresholds.astype(np.float32), private.mean(axis=1))
    alone = np.bincount(bins, minlength=201)[bins] == 1
    above = bins > 0  # else it lies below all thresholds and leaves no trace
    exact = np.abs(found - private[:, None]).max(axis=2).min(axis=1) < 1e-6
    assert (exact == (alone & above)).all()
    assert exact.sum() > 20
    assert len(found) == len(set(bins[above]))


def test_imprint_thresholds_divide_the_public_images():
    public = RNG.random((1000, 7))
    weights, biases = iv.imprint_layer(public, 10)
    active = (public @ weights.T + biases > 0).sum(axis=1)
    assert np.abs(np.bincount(active, minlength=11)[1:] - 100).max() <= 1
    assert (np.diff(biases) < 0).all()


def test_imprint_of_nothing_is_nothing():
    assert iv.read_imprint(np.zeros((5, 3)), np.zeros(5)).shape == (0, 3)


@pytest.mark.parametrize(
    ("public", "units", "message"),
    [
        (np.zeros(4), 5, "public must be finite, of shape"),
        (np.full((4, 2), np.nan), 5, "public must be finite"),
        (np.zeros((4, 2)), 1, "units must be an integer, at least 2"),
        (np.zeros((4, 2)), True, "units must be an integer"),
    ],
)
def test_imprint_refuses_bad_input(public, units, message):
    with pytest.raises(ValueError, match=message):
        iv.imprint_layer(public, units)


def test_read_imprint_refuses_bad_input():
    with pytest.raises(ValueError, match="smallest must not be negative"):
        iv.read_imprint(np.zeros((5, 3)), np.zeros(5), smallest=-1)
    with pytest.raises(ValueError, match="bias_gradient must be finite"):
        iv.read_imprint(np.zeros((5, 3)), np.zeros(4))
