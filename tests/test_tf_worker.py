"""TFF's worker process ends with the kernel that started it, however that ends."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager

COMPUTE = """
import os, sys, warnings
warnings.filterwarnings("ignore")
from privlab import processes
processes.end_with_me()
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

@tff.tensorflow.computation(tff.SequenceType(np.int32))
def slow(numbers):
    return numbers.map(lambda number: tf.reduce_sum(tf.random.normal([1000, 1000]))).reduce(
        0.0, lambda total, number: total + number)

slow([1])
if sys.argv[1] == "quit":
    sys.exit()
print("computing", flush=True)
slow(list(range(10_000)))
"""


def workers(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "worker_binary" and process.info["cwd"] == str(folder)
    ]


@pytest.fixture
def python() -> str:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or (
        sys.version_info[:2] != (3, 11)
    ):
        pytest.skip("TensorFlow Federated exists for Python 3.11 on Linux x86-64 only")
    kernels = KernelSpecManager()
    if "privlab-tf" not in kernels.find_kernel_specs():
        pytest.fail("the kernel privlab-tf is missing: run `make lab`", pytrace=False)
    return kernels.get_kernel_spec("privlab-tf").argv[0]


@pytest.mark.parametrize("way", ["kill", "quit"])
def test_no_worker_is_left(python: str, tmp_path: Path, way: str) -> None:
    (tmp_path / "compute.py").write_text(COMPUTE)
    script = subprocess.Popen(
        [python, "compute.py", way],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        if way != "quit":
            assert script.stdout.readline() == "computing\n"
            time.sleep(0.5)
            assert len(workers(tmp_path)) == 1
            os.kill(script.pid, signal.SIGKILL)
        script.wait(60)
        end = time.monotonic() + 10
        while time.monotonic() < end and workers(tmp_path):
            time.sleep(0.1)
        assert not workers(tmp_path)
    finally:
        script.kill()
        script.wait()
        script.stdout.close()
        for worker in workers(tmp_path):
            worker.kill()
