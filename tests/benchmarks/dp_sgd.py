"""DP-SGD: samples per second, from scratch, with Opacus and with TF Privacy.

The network of lessons 06 to 09 (8,890 parameters) takes training steps on Fashion-MNIST: batches of
one size, gradients of single images clipped to length 1, noise multiplier 1, plain SGD. *From
scratch* is lesson 06 (``vmap`` of ``grad`` of ``torch.func``); Opacus 1.6 clips by hooks, by
functorch, or by ghost norms (Lee and Kifer 2021) that never hold the gradients of single images; TF
Privacy is ``DPSequential`` in its own kernel. Plain training, without privacy, is the limit.

Every way does the same number of steps on the same number of images: 300, 100 and 30 steps in
batches of 50, 200 and 1,000, so that a run is long against the clock's ticks of 10 ms. TF Privacy
compiles with XLA, its default, before the race. Training from scratch has none of the checks,
samplers and accountants for which to use a library. Batches are fixed here, not
Poisson samples as an accountant needs them: what is compared is the arithmetic. ε is not.

Not measured: accuracy (the tests hold the frameworks to each other), memory, deeper networks,
GPUs, Opacus' virtual batches, JAX.
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial

import bench
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from privlab import networks

PLAIN, SCRATCH, TF_PLAIN, TF = "plain PyTorch", "from scratch", "plain Keras", "TF Privacy"
MODES = {"Opacus, hooks": "hooks", "Opacus, functorch": "functorch", "Opacus, ghost": "ghost"}
NOISE, CLIP, RATE = 1.0, 1.0, 0.1


def loss_of_one(network: torch.nn.Module, weights: dict, image: torch.Tensor, label: torch.Tensor):
    """Return the loss of one image."""
    return cross_entropy(functional_call(network, weights, image[None]), label[None])


def from_scratch(X: torch.Tensor, y: torch.Tensor, steps: dict[int, int], size: int) -> None:
    """Train as lesson 06 does."""
    network = networks.small_network()
    weights = {name: value.detach() for name, value in network.named_parameters()}
    gradients = vmap(grad(partial(loss_of_one, network)), in_dims=(None, 0, 0))
    for _ in range(steps[size]):
        found = gradients(weights, X[:size], y[:size])
        norms = torch.stack([each.flatten(1).norm(dim=1) for each in found.values()]).norm(dim=0)
        factors = (CLIP / norms).clamp(max=1)
        for name, each in found.items():
            total = torch.einsum("n,n...->...", factors, each)
            noise = NOISE * CLIP * torch.randn_like(total)
            weights[name] = weights[name] - RATE / size * (total + noise)
    assert all(torch.isfinite(each).all() for each in weights.values())


def plain(X: torch.Tensor, y: torch.Tensor, steps: dict[int, int], size: int) -> None:
    """Train without privacy."""
    network = networks.small_network()
    optimiser = torch.optim.SGD(network.parameters(), RATE)
    for _ in range(steps[size]):
        optimiser.zero_grad()
        cross_entropy(network(X[:size]), y[:size]).backward()
        optimiser.step()


class Opacus:
    """Opacus at work; the engine is made before the race, since it is made once a training."""

    def __init__(self, X: torch.Tensor, y: torch.Tensor, mode: str, steps: dict[int, int]) -> None:
        self._X, self._y, self._mode, self._steps = X, y, mode, steps
        self._made: dict[int, tuple] = {}

    def prepare(self, size: int) -> None:
        """Make network, optimiser and criterion for a batch size."""
        from opacus import PrivacyEngine
        from torch.utils.data import DataLoader, TensorDataset

        network = networks.small_network()
        network, optimiser, *criterion, _ = PrivacyEngine().make_private(
            module=network,
            optimizer=torch.optim.SGD(network.parameters(), RATE),
            data_loader=DataLoader(TensorDataset(self._X, self._y), batch_size=size),
            criterion=torch.nn.CrossEntropyLoss(),
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            poisson_sampling=False,
            grad_sample_mode=self._mode,
        )
        self._made[size] = network, optimiser, (criterion or [cross_entropy])[0]
        self.train(size, 1)

    def train(self, size: int, steps: int | None = None) -> None:
        """Take some steps."""
        network, optimiser, criterion = self._made[size]
        for _ in range(steps or self._steps[size]):
            optimiser.zero_grad()
            criterion(network(self._X[:size]), self._y[:size]).backward()
            optimiser.step()


def main() -> int:
    """Measure and print."""
    started, options = time.perf_counter(), bench.parser(__doc__).parse_args()
    bench.one_thread()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="opacus")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    sizes = [8, 16, 32] if options.quick else [50, 200, 1_000]
    steps = dict(zip(sizes, (2, 2, 2) if options.quick else (300, 100, 30), strict=True))
    X, y, *_ = networks.fashion_tensors()
    ways = {
        PLAIN: partial(plain, X, y, steps),
        SCRATCH: partial(from_scratch, X, y, steps),
    }
    for name, mode in MODES.items():
        opacus = Opacus(X, y, mode, steps)
        for size in sizes:
            opacus.prepare(size)
        ways[name] = opacus.train
    peer, skipped = bench.Peer(bench.tensorflow_python, "tf_privacy_peer.py"), {}
    try:
        for size in sizes:  # each batch size is compiled once
            for private in (False, True):
                peer.warm_up(private=private, size=size, steps=1)
        for name, private in {TF_PLAIN: False, TF: True}.items():
            ways[name] = partial(ask, peer, private, steps)
    except bench.Skip as reason:
        skipped = {TF: str(reason)}
    for way in (plain, from_scratch):
        way(X, y, {sizes[0]: 1}, sizes[0])
    result = bench.race(ways, sizes, 1 if options.quick else 5)
    peer.close()
    for way in result.costs:
        result.divide(way, steps)
    last = sizes[-1]
    private = [way for way in result.costs if way not in (PLAIN, TF_PLAIN)]
    order = sorted(private, key=lambda way: result.cpu(way, last))
    cost = {way: bench.short(result.ratio(way, PLAIN, last)[0]) for way in private}
    leanest = {size: min(private, key=lambda way: result.cpu(way, size)) for size in sizes}
    bench.finish(
        "dp_sgd", __doc__, options, started, ["torch", "opacus"],
        tables=[
            bench.table(
                result, PLAIN, sizes, "a batch",
                lambda size, cpu: f"{bench.short(size / cpu)}/s",
            )
        ],
        sentence=(
            f"In batches of {last:,}, privacy costs "
            + ", ".join(f"{cost[way]} times plain PyTorch ({way})" for way in order)
            + ". The leanest private way is "
            + ", ".join(f"{way} in batches of {size:,}" for size, way in leanest.items())
            + "."
        ),
        skipped=skipped,
        costs={"": bench.raw(result)},
    )  # fmt: skip
    return 0


def ask(peer: bench.Peer, private: bool, steps: dict[int, int], size: int) -> None:
    """Let TensorFlow train."""
    peer.ask(private=private, size=size, steps=steps[size])


if __name__ == "__main__":
    sys.exit(main())
