"""Takes steps of Keras, plain or with TF Privacy; runs in the TensorFlow kernel."""

from __future__ import annotations

import logging
import os
from functools import cache

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
import tensorflow_privacy as tfp
from serve import serve

from privlab.data import load_fashion

logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
fashion = load_fashion()
X = (fashion.X_train[..., None] / 127.5 - 1).astype("float32")
y = fashion.y_train.astype("int32")


@cache
def model(private: bool, size: int) -> tf.keras.Model:
    conv = tf.keras.layers.Conv2D(
        16, 8, strides=4, padding="same", activation="tanh", input_shape=(28, 28, 1)
    )
    layers = [conv, tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)]
    made = tf.keras.Sequential(layers)
    if private:
        made = tfp.DPSequential(1.0, 1.0, layers=layers)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(tf.keras.optimizers.SGD(0.1), loss)
    return made


@cache
def batches(size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((X[:size], y[:size])).cache().repeat()


def answer(private: bool, size: int, steps: int) -> dict:
    model(private, size).fit(batches(size), steps_per_epoch=steps, epochs=1, verbose=0)
    return {}


serve(answer)
