"""Attacks that rebuild training images from what a federated client sends.

Images are arrays or tensors with pixels between 0 and 1. An *update* is a list of tensors, one for
each parameter of a network: weights after local training less weights before. The attacker is the
server: it knows the network it sent out, the learning rate and the number of steps. PyTorch is
imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    Update = list[Tensor]


def _require(right: bool, message: str) -> None:
    if not right:
        raise ValueError(message)


def _whole(name: str, value: int, low: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    _require(whole and value >= low, f"{name} must be an integer, at least {low}, not {value!r}")


def _positive(name: str, value: float) -> None:
    _require(
        not isinstance(value, bool) and np.isfinite(value) and value > 0,
        f"{name} must be above 0, not {value!r}",
    )


# ---- how alike two images are --------------------------------------------------------------------


def _two(image: ArrayLike, other: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    pair = [np.asarray(each, dtype=float) for each in (image, other)]
    for name, each in zip(("image", "other"), pair, strict=True):
        _require(
            each.ndim >= 2 and each.size > 0 and bool(np.isfinite(each).all()),
            f"{name} must hold finite pixels, of shape (…, height, width), "
            f"not of shape {each.shape}",
        )
        _require(
            -1e-6 <= each.min() <= each.max() <= 1 + 1e-6,
            f"{name} must hold pixels from 0 to 1, not from {each.min():.3g} to {each.max():.3g}: "
            "divide by 255, or clip",
        )
    sizes = [each.shape[-2:] for each in pair]
    _require(sizes[0] == sizes[1], f"image and other must be of one size, not {sizes}")
    return pair[0], pair[1]


def ssim(image: ArrayLike, other: ArrayLike, window: int = 7) -> np.ndarray:
    """Return the structural similarity of images whose pixels range from 0 to 1.

    It compares brightness, contrast and pattern in each window, and averages over all windows
    that lie inside. 1 means equal; around 0 means nothing in common. Uniform windows and sample
    variances, as in scikit-image. Source: Zhou Wang, Alan Bovik, Hamid Sheikh and Eero
    Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004).

    Args:
        image: Of shape (…, height, width).
        other: The same, or of a shape that broadcasts against it.
        window: Pixels a side; odd, at least 3, no larger than the image.

    Returns:
        One number an image, of shape (…).

    Raises:
        ValueError: Shapes do not fit, or a pixel is not from 0 to 1.
    """
    first, second = _two(image, other)
    _whole("window", window, 3)
    _require(
        window % 2 == 1 and window <= min(first.shape[-2:]),
        f"window must be odd and at most {min(first.shape[-2:])}, not {window}",
    )
    half, pixels = window // 2, window**2

    def mean(array: np.ndarray) -> np.ndarray:
        sizes = (0,) * (array.ndim - 2) + (window, window)
        inside = [slice(half, size - half) for size in array.shape[-2:]]
        return uniform_filter(array, sizes)[..., *inside]

    m, n = mean(first), mean(second)
    sample = pixels / (pixels - 1)
    variances = sample * (mean(first**2) - m**2), sample * (mean(second**2) - n**2)
    covariance = sample * (mean(first * second) - m * n)
    # The constants of the paper: they keep flat windows from dividing by zero.
    c, d = 0.01**2, 0.03**2
    alike = (2 * m * n + c) * (2 * covariance + d)
    most = (m**2 + n**2 + c) * (sum(variances) + d)
    return (alike / most).mean(axis=(-2, -1))


def psnr(image: ArrayLike, other: ArrayLike) -> np.ndarray:
    """Return the peak signal-to-noise ratio in decibels, for pixels from 0 to 1.

    It is -10 log10 of the mean squared error; infinite where images are equal.

    Args:
        image: Of shape (…, height, width).
        other: The same, or of a shape that broadcasts against it.

    Raises:
        ValueError: Shapes do not fit, or a pixel is not from 0 to 1.
    """
    first, second = _two(image, other)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(((first - second) ** 2).mean(axis=(-2, -1)))


def matched(guesses: ArrayLike, originals: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Give each original a guess of its own, so that the sum of similarities is largest.

    The order of images in a batch leaves no trace in an update, so somebody has to sort the
    guesses. One guess may not stand for two originals, as "the best match of each" would allow.

    Args:
        guesses: Of shape (m, height, width), m at least n.
        originals: Of shape (n, height, width).

    Returns:
        For each original the index of its guess, and their :func:`ssim`; both of shape (n,).

    Raises:
        ValueError: Shapes do not fit, a pixel is not from 0 to 1, or there are fewer guesses than
            originals.
    """
    guesses, originals = _two(guesses, originals)
    _require(
        guesses.ndim == 3 and originals.ndim == 3 and len(guesses) >= len(originals),
        "guesses and originals must be of shape (n, height, width), with at least as many "
        f"guesses as originals, not {guesses.shape} and {originals.shape}",
    )
    alike = np.stack([ssim(guesses, original) for original in originals])
    rows, columns = linear_sum_assignment(-alike)
    return columns, alike[rows, columns]


# ---- closed forms --------------------------------------------------------------------------------


def dense_input(weight_gradient: ArrayLike, bias_gradient: ArrayLike) -> np.ndarray:
    """Return the input of a fully connected layer, from the gradient of one record.

    Row i of the weights' gradient is the bias' gradient of unit i times the input. This is the
    least squares solution over all units: exact where the gradient is, and the best linear unbiased
    estimate where independent noise of equal variance was added to the weights' part alone. An
    update, or a clipped gradient, is a multiple of the gradient and does as well. Source: Le Trieu
    Phong, Yoshinori Aono, Takuya Hayashi, Lihua Wang and Shiho Moriai, "Privacy-Preserving Deep
    Learning via Additively Homomorphic Encryption" (2018).

    Args:
        weight_gradient: Of shape (units, inputs).
        bias_gradient: Of shape (units,).

    Raises:
        ValueError: Shapes do not fit, values are not finite, or the bias' gradient is zero: then
            no unit was active.
    """
    weights, bias = _gradients(weight_gradient, bias_gradient)
    _require(bool(bias.any()), "bias_gradient must not be zero: no unit was active")
    scaled = bias / np.abs(bias).max()  # squares of tiny gradients would vanish
    return scaled @ weights / (scaled @ bias)


def _gradients(weight_gradient: ArrayLike, bias_gradient: ArrayLike) -> tuple:
    weights = np.asarray(weight_gradient, dtype=float)
    bias = np.asarray(bias_gradient, dtype=float)
    _require(
        weights.ndim == 2 and weights.size > 0 and bool(np.isfinite(weights).all()),
        f"weight_gradient must be finite, of shape (units, inputs), not {weights.shape}",
    )
    _require(
        bias.shape == weights.shape[:1] and bool(np.isfinite(bias).all()),
        f"bias_gradient must be finite, of shape ({len(weights)},), not {bias.shape}",
    )
    return weights, bias


def label_of_one(bias_gradient: ArrayLike) -> int:
    """Return the label of one record, from the gradient of the last layer's bias.

    With softmax and cross entropy that gradient is p - [class = label]: only the label's entry is
    negative. (In an update, signs are the other way round.) Source: Bo Zhao, Konda Reddy Mopuri
    and Hakan Bilen, "iDLG: Improved Deep Leakage from Gradients" (2020).

    Args:
        bias_gradient: One number a class, at least two.

    Raises:
        ValueError: Not one finite number a class, or not exactly one of them negative: then it is
            an update, or that of several records.
    """
    bias = np.asarray(bias_gradient, dtype=float)
    _require(
        bias.ndim == 1 and bias.size >= 2 and bool(np.isfinite(bias).all()),
        f"bias_gradient must be finite, one number a class, not of shape {bias.shape}",
    )
    _require(
        int((bias < 0).sum()) == 1,
        f"bias_gradient of one record has exactly one negative entry, not {(bias < 0).sum()}: is "
        "it an update (turn the sign), or that of several records?",
    )
    return int(bias.argmin())


# ---- gradient matching ---------------------------------------------------------------------------


def local_update(
    network: Module,
    images: Tensor,
    labels: Tensor,
    steps: int = 1,
    learning_rate: float = 0.1,
    differentiable: bool = False,
) -> Update:
    """Return what a client sends: the change of weights after some steps on all its images.

    Args:
        network: Left as it is.
        images: As the network takes them; finite.
        labels: Integers from 0, one an image.
        steps: Steps of gradient descent on cross entropy, at least 1.
        learning_rate: Above 0.
        differentiable: Whether gradients may be taken through the update.

    Raises:
        ValueError: An argument is out of range.
    """
    import torch
    from torch.func import functional_call
    from torch.nn.functional import cross_entropy

    _whole("steps", steps, 1)
    _positive("learning_rate", learning_rate)
    _require(
        len(images) == len(labels) and len(images) > 0,
        f"images and labels must be as many, at least 1, not {len(images)} and {len(labels)}",
    )
    _require(
        labels.dtype == torch.int64 and bool((labels >= 0).all()),
        f"labels must be integers from 0 (torch.int64), not {labels.tolist()} ({labels.dtype})",
    )
    _require(bool(torch.isfinite(images).all()), "images must be finite")
    start = dict(network.named_parameters())
    weights = start
    for _ in range(steps):
        loss = cross_entropy(functional_call(network, weights, images), labels)
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=differentiable)
        moved = [w - learning_rate * g for w, g in zip(weights.values(), found, strict=True)]
        if not differentiable:
            moved = [w.detach().requires_grad_() for w in moved]
        weights = dict(zip(start, moved, strict=True))
    return [
        (after - before) if differentiable else (after - before).detach()
        for after, before in zip(weights.values(), start.values(), strict=True)
    ]


def match_update(
    network: Module,
    update: Sequence[Tensor],
    labels: Tensor,
    shape: tuple[int, ...],
    steps: int = 1,
    learning_rate: float = 0.1,
    iterations: int = 150,
    seed: int = 0,
) -> Tensor:
    """Search for images whose update is the one that was seen: gradient matching.

    Starts from random pixels, trains the network on them as the client would have, and moves the
    pixels by L-BFGS until the updates agree. Sources: Ligeng Zhu, Zhijian Liu and Song Han, "Deep
    Leakage from Gradients" (2019); Jonas Geiping, Hartmut Bauermeister, Hannah Dröge and Michael
    Moeller, "Inverting Gradients: How Easy Is It to Break Privacy in Federated Learning?" (2020),
    who also simulate several local steps.

    Args:
        network: As it was sent to the client. Activations must be smooth (tanh, sigmoid).
        update: As :func:`local_update` returns it, maybe with noise.
        labels: Of the images, which the attacker knows or has inferred; of shape (n,).
        shape: Of one image, as the network takes it.
        steps: Local steps to simulate.
        learning_rate: Of the client.
        iterations: Of L-BFGS, at most.
        seed: Of the random pixels; the global generator of PyTorch is left as it was.

    Returns:
        Images of shape (n, *shape); pixels are cut to 0 … 1.

    Raises:
        ValueError: An argument is out of range, or the update is not of this network, or zero.
    """
    import torch

    _whole("iterations", iterations, 1)
    _whole("steps", steps, 1)
    _positive("learning_rate", learning_rate)
    wanted = [tuple(parameter.shape) for parameter in network.parameters()]
    _require(
        [tuple(part.shape) for part in update] == wanted,
        f"update must have one tensor a parameter of the network, of shapes {wanted}",
    )
    size = sum((part**2).sum() for part in update)
    _require(bool(torch.isfinite(size)) and size > 0, "update must be finite, and not zero")
    draw = torch.Generator().manual_seed(seed)
    guess = torch.rand(len(labels), *shape, generator=draw).requires_grad_()
    search = torch.optim.LBFGS(
        [guess],
        max_iter=iterations,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
    )

    def mismatch() -> Tensor:
        search.zero_grad()
        own = local_update(network, guess, labels, steps, learning_rate, differentiable=True)
        loss = sum(((a - b) ** 2).sum() for a, b in zip(own, update, strict=True)) / size
        (guess.grad,) = torch.autograd.grad(loss, [guess])
        return loss

    search.step(mismatch)
    return guess.detach().clamp(0, 1)


# ---- a server that lies --------------------------------------------------------------------------


def imprint_layer(public: ArrayLike, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and biases of a first layer that sorts images into bins.

    Each unit measures the brightness of an image, and with ReLU is active where that lies above
    the unit's own threshold. The thresholds divide the public images equally. The layer behind
    must treat all units the same: give each output the same weight from every unit. Source: Liam
    Fowl, Jonas Geiping, Wojciech Czaja, Micah Goldblum and Tom Goldstein, "Robbing the Fed:
    Directly Obtaining Private Data in Federated Learning with Modified Models" (2022).

    Args:
        public: Images like those of the clients, of shape (n, pixels).
        units: How many thresholds, at least 2.

    Returns:
        Weights of shape (units, pixels) and biases of shape (units,); the thresholds rise.

    Raises:
        ValueError: An argument is out of range.
    """
    public = np.asarray(public, dtype=float)
    _require(
        public.ndim == 2 and public.size > 0 and bool(np.isfinite(public).all()),
        f"public must be finite, of shape (n, pixels), not {public.shape}",
    )
    _whole("units", units, 2)
    pixels = public.shape[1]
    # From 0: the lowest threshold lies below nearly every image.
    thresholds = np.quantile(public.mean(axis=1), np.arange(units) / units)
    return np.full((units, pixels), 1 / pixels), -thresholds


def read_imprint(
    weight_gradient: ArrayLike, bias_gradient: ArrayLike, smallest: float = 1e-7
) -> np.ndarray:
    """Return what the bins of an imprint layer hold: images, or mixtures of several.

    The gradient of a unit is a sum over all images above its threshold. The difference to the next
    unit's is a sum over those in between; where that is one image, the quotient is the image.

    Args:
        weight_gradient: Of the imprint layer, summed over any number of clients.
        bias_gradient: Of its biases.
        smallest: Bins whose bias' gradient is not larger than this, as a share of the largest
            entry of ``bias_gradient``, are taken for empty.

    Returns:
        One row a bin that is not empty, of shape (bins, pixels).

    Raises:
        ValueError: Shapes do not fit, or values are not finite.
    """
    weights, bias = _gradients(weight_gradient, bias_gradient)
    _require(bool(smallest >= 0), f"smallest must not be negative, but it is {smallest!r}")
    # Above the last threshold lies nothing but its own bin.
    weights = weights - np.vstack([weights[1:], np.zeros_like(weights[:1])])
    apart = bias - np.append(bias[1:], 0.0)
    filled = np.abs(apart) > smallest * np.abs(bias).max()
    return weights[filled] / apart[filled, None]
