"""Lesson 15, Flower's SecAgg+: draft of a section (needs flwr==1.41.0 and lesson 12's in-process Grid).

Text: Flower brings SecAgg+ (Bell and others 2020): masks with some neighbours only, and shares of
every key, so that the sum survives clients that drop out. Here ten clients send 8,890 numbers each,
plain and masked; the result agrees but for rounding.
"""
import logging, os, sys, time
os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
import numpy as np
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from inproc import InProcGrid
logging.getLogger("flwr").setLevel(logging.ERROR)
UPDATES = np.random.default_rng(15).normal(0, 0.01, (10, 8890)).astype(np.float32)


class Client(NumPyClient):
    def __init__(self, number):
        self.number = number

    def fit(self, parameters, config):
        return [parameters[0] + UPDATES[self.number]], 1, {}


def aggregate(secure, rounds=1):
    mods = [secaggplus_mod] if secure else []
    make = lambda context: Client(context.node_config["partition-id"]).to_client()
    grid, seen = InProcGrid(ClientApp(client_fn=make, mods=mods), 10), []
    strategy = FedAvg(
        fraction_fit=1.0, fraction_evaluate=0.0, min_fit_clients=10, min_available_clients=10,
        initial_parameters=ndarrays_to_parameters([np.zeros(8890, np.float32)]),
        evaluate_fn=lambda number, weights, config: seen.append(weights[0]) or (0.0, {}),
    )
    state = RecordDict()
    context = Context(run_id=1, node_id=0, node_config={}, state=state, run_config={})
    context = LegacyContext(context, ServerConfig(num_rounds=rounds), strategy)
    step = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=0.6, max_weight=1.0)
    start = time.process_time()
    DefaultWorkflow(**({"fit_workflow": step} if secure else {}))(grid, context)
    cpu = time.process_time() - start
    return seen[-1], grid.bytes_up / 10 / 1e3, grid.messages, cpu


plain, masked = aggregate(False), aggregate(True)
for name, (_, kB, messages, cpu) in {"plain": plain, "SecAgg+": masked}.items():
    print(f"{name}: {kB:.0f} kB up a client, {messages} messages, {cpu:.2f} CPU s")
print("largest difference of the mean:", np.abs(plain[0] - masked[0]).max())
assert np.allclose(plain[0], UPDATES.mean(axis=0), atol=1e-6)
assert np.allclose(masked[0], plain[0], atol=1e-4)
