"""The common task of lessons 06 to 09, trained by hand, with Opacus and with TF Privacy.

``pytest -s -n0 tests/test_frameworks_agree.py`` prints the tables.
"""

import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import dp_accounting
import pandas as pd
import pytest
from dp_accounting import pld, rdp
from jupyter_client.kernelspec import KernelSpecManager

from privlab import networks

pytestmark = pytest.mark.long

SIGMA = 1.47
RATE = networks.BATCH_SIZE / 10_000
STEPS = round(networks.EPOCHS / RATE)

#: Runs of one program stray by about half a point, from fresh noise and samples and from the 2,000
#: test images. The three programs differ in their initial weights alone. So the largest gap among
#: three is 3 points (over four standard deviations of a difference) less than once in 10,000 times.
APART = 0.03


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two are much slower on a machine that has other work
    yield
    torch.set_num_threads(before)


def by_hand(sigma: float):
    """DP-SGD as lesson 06 writes it, with torch.func."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    X, y, _, _ = networks.fashion_tensors()
    network = networks.small_network(seed=1)

    def loss_of_one(weights, image, label):
        return cross_entropy(functional_call(network, weights, image[None]), label[None])

    per_sample = vmap(grad(loss_of_one), in_dims=(None, 0, 0))
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    for _ in range(STEPS):
        batch = torch.rand(len(X)) < RATE
        gradients = per_sample(weights, X[batch], y[batch])
        norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients.values()])
        factors = (networks.MAX_GRAD_NORM / norms.norm(dim=0).clamp(min=1e-12)).clamp(max=1)
        for name, gradient in gradients.items():
            total = torch.tensordot(factors, gradient, dims=1)
            noise = sigma * networks.MAX_GRAD_NORM * torch.randn_like(total)
            weights[name] -= networks.LEARNING_RATE * (total + noise) / networks.BATCH_SIZE
    network.load_state_dict(weights)
    return network


def with_opacus(sigma: float):
    import torch
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    X, y, _, _ = networks.fashion_tensors()
    network = networks.small_network(seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the random generator is not made for cryptography
        engine = PrivacyEngine(accountant="rdp")
        network, optimiser, batches = engine.make_private(
            module=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=networks.LEARNING_RATE),
            data_loader=DataLoader(TensorDataset(X, y), batch_size=networks.BATCH_SIZE),
            noise_multiplier=sigma,
            max_grad_norm=networks.MAX_GRAD_NORM,
        )
        for _ in range(networks.EPOCHS):
            _descend(network, optimiser, batches)
    # What Opacus did is what the accountants below are told.
    assert engine.accountant.history == [(sigma, RATE, STEPS)]
    return network


def without_privacy(_: float):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    X, y, _, _ = networks.fashion_tensors()
    network = networks.small_network(seed=3)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(networks.EPOCHS):
        batches = DataLoader(TensorDataset(X, y), batch_size=50, shuffle=True)
        _descend(network, optimiser, batches)
    return network


def _descend(network, optimiser, batches) -> None:
    from torch.nn.functional import cross_entropy

    for images, labels in batches:
        optimiser.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimiser.step()


def trained(train: Callable) -> dict[str, float]:
    start = time.perf_counter()
    network = train(SIGMA)
    seconds = time.perf_counter() - start
    _, _, X_test, y_test = networks.fashion_tensors()
    return {"accuracy": networks.accuracy(network, X_test, y_test), "seconds": seconds}


def in_the_tf_kernel() -> dict:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or (
        sys.version_info[:2] != (3, 11)
    ):
        pytest.skip("the TensorFlow kernel exists for Python 3.11 on Linux x86-64 only")
    if "privlab-tf" not in KernelSpecManager().find_kernel_specs():
        pytest.fail("the kernel privlab-tf is missing: run `make lab` or `make test`")
    python = KernelSpecManager().get_kernel_spec("privlab-tf").argv[0]
    script = Path(__file__).with_name("train_with_tf_privacy.py")
    run = subprocess.run(
        [python, script, str(SIGMA)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def epsilons() -> dict[str, float]:
    """The ε of the private trainings by the accountants of this environment."""
    from opacus import accountants

    step = dp_accounting.PoissonSampledDpEvent(RATE, dp_accounting.GaussianDpEvent(SIGMA))
    event = dp_accounting.SelfComposedDpEvent(step, STEPS)
    found = {
        "dp-accounting RDP": rdp.RdpAccountant().compose(event).get_epsilon(networks.DELTA),
        "dp-accounting PLD": pld.PLDAccountant().compose(event).get_epsilon(networks.DELTA),
    }
    for name in ("RDPAccountant", "PRVAccountant"):
        accountant = getattr(accountants, name)()
        accountant.history = [(SIGMA, RATE, STEPS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Optimal order is the largest alpha"
            found[f"Opacus {name[:3]}"] = float(accountant.get_epsilon(delta=networks.DELTA))
    return found


def test_the_same_task_in_three_frameworks(one_thread: None) -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)
    tensorflow = in_the_tf_kernel()
    found = epsilons() | tensorflow.pop("epsilons")
    trainings = {
        "by hand (torch.func)": trained(by_hand),
        "Opacus": trained(with_opacus),
        "TF Privacy": tensorflow["TF Privacy"],
        "PyTorch, no privacy": trained(without_privacy),
        "TensorFlow, no privacy": tensorflow["TensorFlow, no privacy"],
    }
    table = pd.DataFrame(trainings).T
    private = ~table.index.str.contains("no privacy")
    table["epsilon"] = [found["dp-accounting PLD"] if each else math.inf for each in private]
    table["delta"] = [networks.DELTA if each else 0 for each in private]
    shown = table.round({"accuracy": 3, "seconds": 1, "epsilon": 2}).astype({"delta": str})
    print("", shown, pd.Series(found).round(4), sep="\n\n")

    accuracy = table["accuracy"]
    assert accuracy[private].max() - accuracy[private].min() < APART, table
    assert accuracy[~private].max() - accuracy[~private].min() < APART, table
    assert accuracy[private].min() > 0.78, table
    assert accuracy[~private].mean() > accuracy[private].mean(), table

    # Two kinds of accountants: those by RDP agree with each other, those by PLD and PRV too, and
    # RDP is the looser bound. PRV strays by its error setting, 0.01.
    tight, loose = found["dp-accounting PLD"], found["dp-accounting RDP"]
    assert tight <= networks.EPSILON
    assert found["dp-accounting PLD (tf)"] == pytest.approx(tight, abs=1e-3)
    assert found["Opacus PRV"] == pytest.approx(tight, abs=0.02)
    for name in ("Opacus RDP", "dp-accounting RDP (tf)", "TF Privacy's statement"):
        assert found[name] == pytest.approx(loose, abs=2e-3), name
    assert tight < loose < 1.15 * tight
