"""Features of images that need no training data, and a private linear model on top of them.

A *scattering transform* filters an image with small waves of several directions and scales, keeps
how strongly each answers (the modulus), and averages that over neighbourhoods. Nothing in it is
learnt, so it costs no privacy: each image's features depend on this image alone. After Edouard
Oyallon and Stéphane Mallat, "Deep Roto-Translation Scattering for Object Classification" (2015),
and Joan Bruna and Stéphane Mallat, "Invariant Scattering Convolution Networks" (2013). That linear
models on such features beat deeper networks under differential privacy was shown by Florian Tramèr
and Dan Boneh, "Differentially Private Learning Needs Better Features (or Much More Data)" (2021).

PyTorch is imported inside the functions: most lessons do without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

#: Images at a time: their filtered copies fit into the processor's cache.
_CHUNK = 250


def _waves(size: int, scale: int, orientations: int) -> Tensor:
    """Return Morlet waves: first the real parts of all orientations, then the imaginary ones."""
    import torch

    centred = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")
    frequency, sigma, slant = 3 * math.pi / 4 / scale, 0.8 * scale, 4 / orientations
    waves = []
    for number in range(orientations):
        angle = math.pi * number / orientations
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        envelope = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
        envelope /= envelope.sum()
        wave = torch.exp(1j * frequency * along)
        # Less its mean, so that a plain surface gives 0.
        waves.append(envelope * (wave - (envelope * wave).sum()))
    stacked = torch.stack(waves)[:, None]
    return torch.cat([stacked.real, stacked.imag])


def _modulus(maps: Tensor, waves: Tensor, stride: int = 1) -> Tensor:
    """Filter each map with each wave and return how strongly it answers at each place."""
    import torch
    from torch.nn import functional

    images, _, height, width = maps.shape
    margin = [waves.shape[-1] // 2] * 4
    each = functional.pad(maps.reshape(-1, 1, height, width), margin, mode="reflect")
    real, imaginary = functional.conv2d(each, waves, stride=stride).chunk(2, dim=1)
    answers = torch.sqrt(real**2 + imaginary**2)
    return answers.reshape(images, -1, *answers.shape[2:])


def scattering(images: Tensor, orientations: int = 8) -> Tensor:
    """Return the scattering transform of images, up to the second order.

    It differs from the transform of the papers, and of the library Kymatio, in that windows are
    averaged with equal weights and not by a Gaussian, that filters are cut off after 7 or 13
    pixels, and that orders are computed at a coarser grid straight away: 5 s instead of minutes.

    Args:
        images: Of shape (N, 1, 28, 28).
        orientations: How many directions the waves have.

    Returns:
        Of shape (N, 1 + 2 * orientations + orientations**2, 7, 7): averages of 4 × 4 pixels of the
        image, of its answers to fine and to coarse waves, and of the fine answers' own answers.

    Raises:
        ValueError: ``images`` has another shape, or ``orientations`` is not a positive integer.
    """
    import torch
    from torch.nn import functional

    if images.ndim != 4 or tuple(images.shape[1:]) != (1, 28, 28):
        raise ValueError(f"images must be of shape (N, 1, 28, 28), not {tuple(images.shape)}")
    if isinstance(orientations, bool) or not isinstance(orientations, int) or orientations < 1:
        raise ValueError(f"orientations must be an integer of at least 1, not {orientations!r}")
    fine, coarse = _waves(7, 1, orientations), _waves(13, 2, orientations)
    parts = []
    for some in images.split(_CHUNK):
        # From here on, a pixel stands for 2 × 2 of the image.
        first = functional.avg_pool2d(_modulus(some, fine), 2)
        maps = [
            functional.avg_pool2d(some, 2),
            first,
            _modulus(some, coarse, stride=2),
            _modulus(first, fine),
        ]
        parts.append(functional.avg_pool2d(torch.cat(maps, dim=1), 2))
    return torch.cat(parts)


def invented_images(number: int, seed: int = 0) -> Tensor:
    """Draw images of nothing: a random blob in the middle, with a random texture.

    They stand in for the private images where statistics are needed. They use only what everybody
    knows about Fashion-MNIST: one bright thing in the middle of a black square.

    Args:
        number: How many.
        seed: Of the draw.

    Returns:
        Of shape (number, 1, 28, 28), from -1 to 1.
    """
    import torch

    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(56), np.fft.fftfreq(56)))
    frequency[0, 0] = 1 / 56

    def clouds(power: float) -> np.ndarray:
        spectrum = np.fft.fft2(rng.normal(size=(number, 56, 56))) / frequency**power
        noise = np.fft.ifft2(spectrum).real[:, :28, :28]
        noise -= noise.mean(axis=(1, 2), keepdims=True)
        return noise / noise.std(axis=(1, 2), keepdims=True)

    x, y = np.meshgrid(*[np.linspace(-1, 1, 28)] * 2)
    blob = clouds(2.0) + 1.8 - 2.4 * (x**2 + y**2) > 0
    texture = np.clip(0.6 + 0.25 * clouds(1.2), 0, 1)
    return torch.from_numpy(2 * blob * texture - 1).float()[:, None]


def fixed_features(images: Tensor, dimensions: int = 400, orientations: int = 8) -> Tensor:
    """Turn each image into a unit vector, without looking at any other image.

    The scattering transform of each image is brought to mean 0 and variance 1. A rotation and a
    scaling that decorrelate the features of 1,000 *invented* images follow, then the division by
    the vector's own length. So no step needs privacy.

    Args:
        images: Of shape (N, 1, 28, 28), from -1 to 1.
        dimensions: How many features are kept, 1 to 900: those that vary most among the invented
            images.
        orientations: As in :func:`scattering`.

    Returns:
        Of shape (N, dimensions), each row of length 1.

    Raises:
        ValueError: An argument is out of range.
    """
    import torch

    if not 1 <= dimensions <= 900:
        raise ValueError(f"dimensions must be 1 to 900, not {dimensions!r}")

    def standardised(some: Tensor) -> Tensor:
        flat = scattering(some, orientations).flatten(1)
        return (flat - flat.mean(dim=1, keepdim=True)) / flat.std(dim=1, keepdim=True)

    invented = standardised(invented_images(1000))
    mean = invented.mean(dim=0)
    if dimensions > invented.shape[1]:
        raise ValueError(f"{orientations} orientations give {invented.shape[1]} dimensions at most")
    # The eigenvectors of the covariance, by way of the smaller matrix of inner products.
    variances, vectors = torch.linalg.eigh((invented - mean) @ (invented - mean).T / 1000)
    variances, vectors = variances.flip(0)[:dimensions], vectors.flip(1)[:, :dimensions]
    directions = (invented - mean).T @ vectors / (1000 * variances).sqrt()
    # Directions that hardly vary are not blown up to full size.
    rotated = (standardised(images) - mean) @ directions / (variances + 0.01) ** 0.45
    return rotated / rotated.norm(dim=1, keepdim=True)


def train_linear(
    X: np.ndarray,
    y: np.ndarray,
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    max_grad_norm: float,
    learning_rate: float,
    momentum: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Train a linear model (softmax, no bias) on 10 classes with DP-SGD, without a library.

    The gradient of a record is an outer product of its features and its ten residuals. So its norm
    is the product of their norms, and no gradient of a single record is ever written down: sweeps
    take seconds. What it costs is what an accountant says of the Gaussian mechanism with this
    noise multiplier on Poisson samples (adjacency: add or remove one record). The generator is
    made for simulation: for a release, take a cryptographic one.

    Features must be finite and rows shorter than 1e6, a public domain: a single NaN would reach all
    weights, past clipping and noise. Bring records into the domain one by one, before training: the
    error tells of a record.

    Args:
        X: Features, of shape (N, D), finite.
        y: Classes 0 to 9, of shape (N,).
        noise_multiplier: Standard deviation of the noise over ``max_grad_norm``.
        sample_rate: The probability of each record to be part of a step; ``N * sample_rate``, the
            expected batch, is treated as public.
        steps: How many.
        max_grad_norm: No record's gradient is longer.
        learning_rate: For the sum of gradients, divided by the expected batch.
        momentum: 0 up to 1.
        rng: Draws the samples and the noise.

    Returns:
        The weights, of shape (D, 10).

    Raises:
        ValueError: An argument is out of range.
    """
    import torch

    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate must be above 0 and at most 1, not {sample_rate!r}")
    if not max_grad_norm > 0 or not noise_multiplier >= 0:
        raise ValueError(
            "max_grad_norm must be above 0 and noise_multiplier at least 0, "
            f"not {max_grad_norm!r} and {noise_multiplier!r}"
        )
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, not {momentum!r}")
    lengths = np.linalg.norm(np.asarray(X, float), axis=1)
    if not (lengths < 1e6).all():
        raise ValueError("X must hold finite features, and each row must be shorter than 1e6")
    # PyTorch does the algebra: NumPy's threads get in each other's way at this size.
    features = torch.from_numpy(np.asarray(X, np.float32))
    truth = torch.eye(10)[torch.from_numpy(np.asarray(y, np.int64))]
    norms = features.norm(dim=1, keepdim=True)
    weights, velocity = torch.zeros(X.shape[1], 10), torch.zeros(X.shape[1], 10)
    for _ in range(steps):
        chosen = torch.from_numpy(np.flatnonzero(rng.random(len(X)) < sample_rate))
        # A copy of all features would take longer than all else.
        batch = features if len(chosen) == len(features) else features[chosen]
        residuals = (batch @ weights).softmax(dim=1) - truth[chosen]
        lengths = residuals.norm(dim=1, keepdim=True) * norms[chosen]
        residuals *= max_grad_norm / lengths.clamp(min=max_grad_norm)
        noise = noise_multiplier * max_grad_norm * rng.standard_normal(weights.shape)
        total = batch.T @ residuals + torch.from_numpy(noise.astype(np.float32))
        velocity = momentum * velocity + total / (sample_rate * len(X))
        weights = weights - learning_rate * velocity
    return weights.numpy()
