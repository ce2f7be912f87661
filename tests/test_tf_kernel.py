"""The kernel privlab-tf does what lessons 09 and 13 need: real steps, checked by numbers.

One notebook runs in the kernel as JupyterLab would start it; its cells assert for themselves.
"""

import os
import platform
import sys
from pathlib import Path

import nbclient
import nbformat
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager

KERNEL = "privlab-tf"

LOAD = """
import logging
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import tensorflow as tf
import tensorflow_privacy

logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
import tensorflow_federated as tff

from privlab.data import load_fashion

fashion = load_fashion()
X = (fashion.X_train.reshape(len(fashion.X_train), -1) / 255).astype("float32")
y = fashion.y_train.astype("int32")
assert X.shape == (10000, 784) and set(y) == set(range(10))
"""

DP_SGD = """
def update(clip, noise_multiplier, batch=32, learning_rate=0.5):
    # One step of DP-SGD from zero weights on the same images: where it goes.
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(10, kernel_initializer="zeros", input_shape=(784,))]
    )
    model.compile(
        tensorflow_privacy.DPKerasSGDOptimizer(
            l2_norm_clip=clip,
            noise_multiplier=noise_multiplier,
            num_microbatches=batch,
            learning_rate=learning_rate,
        ),
        tf.keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction=tf.keras.losses.Reduction.NONE
        ),
    )
    model.fit(X[:batch], y[:batch], batch_size=batch, epochs=1, verbose=0, shuffle=False)
    weights = np.concatenate([weight.ravel() for weight in model.get_weights()])
    return weights.astype(float) / learning_rate

# Every example's gradient is far longer than the clip, so one example moves the weights by just
# the clip, and a mean of many, which differ in direction, by less.
clip = 0.001
assert np.linalg.norm(update(clip=1e6, noise_multiplier=0)) > 100 * clip
assert abs(np.linalg.norm(update(clip, noise_multiplier=0, batch=1)) / clip - 1) < 1e-4
norm = np.linalg.norm(update(clip, noise_multiplier=0))
assert 0 < norm <= clip * (1 + 1e-4), norm

# Noise: standard deviation noise multiplier × clip / batch in each of the 7,850 weights. The
# estimate strays by 0.8 % (one standard deviation), so 6 % is never left by chance.
clip, noise_multiplier, batch = 0.5, 1.3, 32
plain = update(clip, 0, batch)
noisy = [update(clip, noise_multiplier, batch) for _ in range(2)]
assert not np.allclose(noisy[0], noisy[1])
expected = noise_multiplier * clip / batch
for each in noisy:
    assert abs((each - plain).std() / expected - 1) < 0.06, (each - plain).std() / expected
"""

FED_AVG = """
sizes = [60, 120, 180]
starts = np.cumsum([0, *sizes])
clients = [
    tf.data.Dataset.from_tensor_slices((X[a:b], y[a:b].reshape(-1, 1))).batch(20)
    for a, b in zip(starts[:-1], starts[1:])
]

def make_model():
    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential([tf.keras.layers.Dense(10, input_shape=(784,))])
    return tff.learning.models.from_keras_model(
        model,
        input_spec=clients[0].element_spec,
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tff.learning.metrics.NumExamplesCounter()],
    )

process = tff.learning.algorithms.build_weighted_fed_avg(
    make_model,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.05),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
)
state = process.initialize()
losses = []
for _ in range(3):
    result = process.next(state, clients)
    state = result.state
    train = result.metrics["client_work"]["train"]
    assert train["num_examples"] == sum(sizes), train
    losses.append(float(train["loss"]))
assert losses[0] > losses[1] > losses[2], losses
"""

CLEAN_UP = """
import psutil

workers = [
    child
    for child in psutil.Process().children(recursive=True)
    if child.name() == "worker_binary"
]
for worker in workers:
    worker.terminate()
_, alive = psutil.wait_procs(workers, timeout=10)
assert workers and not alive, (workers, alive)
"""


@pytest.fixture
def kernel() -> str:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or (
        sys.version_info[:2] != (3, 11)
    ):
        pytest.skip("TensorFlow Federated exists for Python 3.11 on Linux x86-64 only")
    if KERNEL not in KernelSpecManager().find_kernel_specs():
        pytest.fail(f"the kernel {KERNEL} is missing: run `make lab` or `make test`", pytrace=False)
    return KERNEL


def workers_in(folder: Path) -> list[psutil.Process]:
    """The processes that TFF leaves behind, found by the folder they were started in."""
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "worker_binary" and process.info["cwd"] == str(folder)
    ]


def test_training_in_the_tensorflow_kernel(kernel: str, tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(text) for text in (LOAD, DP_SGD, FED_AVG, CLEAN_UP)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook, kernel_name=kernel, timeout=90, resources={"metadata": {"path": str(tmp_path)}}
    )
    try:
        # Raises CellExecutionError, with the cell and its error. TensorFlow leaves generated code
        # in the folder for temporary files.
        client.execute(env={**os.environ, "TMPDIR": str(tmp_path)})
        assert workers_in(tmp_path) == []
    finally:
        for worker in workers_in(tmp_path):  # of a notebook that failed before its last cell
            worker.kill()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert outputs == [], "TensorFlow's log floods the notebook"
