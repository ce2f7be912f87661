"""Trains the common task in the TensorFlow kernel, with DP-SGD and without; prints JSON.

Run by tests/test_frameworks_agree.py with the interpreter of the kernel ``privlab-tf``; the one
argument is the noise multiplier.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
import tensorflow_privacy as tfp

from privlab import networks
from privlab.data import load_fashion

PLACES = 650  # of a batch; empty ones are filled up with images of weight 0

logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
tf.config.threading.set_intra_op_parallelism_threads(1)
fashion = load_fashion()
X, X_test = (
    (each[..., None] / 127.5 - 1).astype("float32") for each in (fashion.X_train, fashion.X_test)
)
y, y_test = fashion.y_train.astype("int32"), fashion.y_test.astype("int32")
loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def layers() -> list:
    conv = tf.keras.layers.Conv2D(
        16, 8, strides=4, padding="same", activation="tanh", input_shape=(28, 28, 1)
    )
    return [conv, tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)]


def samples() -> Iterator[tuple]:
    """Poisson samples in batches of one size."""
    rng = np.random.default_rng()
    while True:
        chosen = np.flatnonzero(rng.random(len(X)) < networks.BATCH_SIZE / len(X))
        index = np.pad(chosen, (0, PLACES - len(chosen)))
        yield X[index], y[index], (np.arange(PLACES) < len(chosen)).astype("float32")


def train(model: tf.keras.Model, learning_rate: float, *data: object, **options: object) -> dict:
    model.compile(tf.keras.optimizers.SGD(learning_rate), loss)
    start = time.perf_counter()
    model.fit(*data, epochs=networks.EPOCHS, verbose=0, **options)
    seconds = time.perf_counter() - start
    guesses = model.predict(X_test, verbose=0).argmax(axis=1)
    return {"accuracy": float((guesses == y_test).mean()), "seconds": seconds}


def epsilons(sigma: float) -> dict[str, float]:
    """The ε of dp-accounting as this kernel has it, and that of TF Privacy's statement."""
    import dp_accounting
    from dp_accounting import pld, rdp

    rate = networks.BATCH_SIZE / len(X)
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
    event = dp_accounting.SelfComposedDpEvent(step, math.ceil(networks.EPOCHS / rate))
    statement = tfp.compute_dp_sgd_privacy_statement(
        len(X), networks.BATCH_SIZE, networks.EPOCHS, sigma, networks.DELTA, False
    )
    line = next(line for line in statement.splitlines() if "assuming Poisson" in line)
    return {
        "TF Privacy's statement": float(line.split()[-1]),
        "dp-accounting RDP (tf)": rdp.RdpAccountant().compose(event).get_epsilon(networks.DELTA),
        "dp-accounting PLD (tf)": pld.PLDAccountant().compose(event).get_epsilon(networks.DELTA),
    }


def main() -> None:
    sigma = float(sys.argv[1])
    forms = [((PLACES, 28, 28, 1), "float32"), (PLACES, "int32"), (PLACES, "float32")]
    batches = tf.data.Dataset.from_generator(
        samples, output_signature=tuple(tf.TensorSpec(shape, kind) for shape, kind in forms)
    )
    private = tfp.DPSequential(networks.MAX_GRAD_NORM, sigma, use_xla=False, layers=layers())
    # The library divides by the places of a batch; the task, by the expected batch.
    rate = networks.LEARNING_RATE * PLACES / networks.BATCH_SIZE
    steps = len(X) // networks.BATCH_SIZE
    results = {
        "TF Privacy": train(private, rate, batches, steps_per_epoch=steps),
        "TensorFlow, no privacy": train(
            tf.keras.Sequential(layers()), 0.1, X, y, batch_size=50, shuffle=True
        ),
        "epsilons": epsilons(sigma),
    }
    assert int(private.optimizer.iterations) == networks.EPOCHS * steps
    print(json.dumps(results))


if __name__ == "__main__":
    main()
