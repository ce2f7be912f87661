"""The task and the network that lessons 06 to 09 share, so that their results can be compared.

PyTorch is imported inside the functions: it takes a second, and most lessons do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .data import load_fashion

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

#: The budget that lessons 06, 07 and 09 train with (adjacency: add or remove one image).
EPSILON, DELTA = 3.0, 1e-5

#: How they spend it: 300 steps on Poisson samples of 500 images on average.
BATCH_SIZE, EPOCHS, MAX_GRAD_NORM, LEARNING_RATE = 500, 15, 1.0, 2.0


def fashion_tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Load Fashion-MNIST as tensors.

    Returns:
        Training images, float32 of shape (10000, 1, 28, 28), scaled from 0…255 to -1…1 (public
        bounds: the data are not looked at); their classes, int64 of shape (10000,); 2,000 test
        images and their classes in the same form.
    """
    import torch

    fashion = load_fashion()
    images = (fashion.X_train, fashion.X_test)
    X, X_test = (torch.from_numpy(each).float()[:, None] / 127.5 - 1 for each in images)
    y, y_test = (torch.from_numpy(each).long() for each in (fashion.y_train, fashion.y_test))
    return X, y, X_test, y_test


def small_network(seed: int = 0) -> Module:
    """Make the small network of lessons 06 to 09: one convolution, tanh, one linear layer.

    8,890 parameters; input (N, 1, 28, 28), output (N, 10) logits. Bounded activations suit
    DP-SGD (Papernot, Thakurta, Song, Chien and Erlingsson, "Tempered Sigmoid Activations for Deep
    Learning with Differential Privacy", 2021).

    Args:
        seed: Of the initial weights; the global generator of PyTorch is left as it was.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=8, stride=4, padding=2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, 10),
        )


def accuracy(network: Module, X: Tensor, y: Tensor) -> float:
    """Return the share of images that a network puts into the right class."""
    import torch

    was_training = network.training
    network.eval()
    with torch.no_grad():
        share = (network(X).argmax(dim=1) == y).float().mean().item()
    network.train(was_training)
    return share
