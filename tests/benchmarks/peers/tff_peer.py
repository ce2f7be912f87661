"""Runs FedAvg in TensorFlow Federated; runs in the TensorFlow kernel."""

from __future__ import annotations

import logging
import os
from functools import cache

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from serve import serve

from privlab import processes

logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
processes.end_with_me()  # so does the worker that TFF starts


def network() -> tff.learning.models.VariableModel:
    layers = [
        tf.keras.layers.Dense(32, activation="relu", input_shape=(64,)),
        tf.keras.layers.Dense(10),
    ]
    return tff.learning.models.from_keras_model(
        tf.keras.Sequential(layers),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=(tf.TensorSpec([None, 64], tf.float32), tf.TensorSpec([None], tf.int32)),
    )


@cache
def process(rate: float) -> tff.learning.templates.LearningProcess:
    return tff.learning.algorithms.build_weighted_fed_avg(
        network,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(rate),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    )


@cache
def clients(file: str, steps: int) -> list[tf.data.Dataset]:
    data = np.load(file)
    found = []
    for number in range(data["owner"].max() + 1):
        own = data["owner"] == number
        batch = data["X"][own].astype("float32"), data["y"][own].astype("int32")
        found.append(tf.data.Dataset.from_tensors(batch).repeat(steps))
    return found


def answer(
    file: str = "", rounds: int = 0, steps: int = 0, rate: float = 0.0, ready: bool = False
) -> dict:
    if ready:
        return {}
    data, names = np.load(file), ("hidden_weights", "hidden_bias", "weights", "bias")
    start = [data[name].astype("float32") for name in names]
    start = [
        each[0] if name.endswith("bias") else each for name, each in zip(names, start, strict=True)
    ]
    learn = process(rate)
    state = learn.set_model_weights(
        learn.initialize(), tff.learning.models.ModelWeights(trainable=start, non_trainable=[])
    )
    for _ in range(rounds):
        state = learn.next(state, clients(file, steps)).state
    weights = learn.get_model_weights(state).trainable
    return {"weights": np.concatenate([np.ravel(each) for each in weights]).astype(float).tolist()}


serve(answer)
