"""A Flower app as lesson 12's; tests/test_flower.py runs it in this process, in Ray, deployed."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

client_app = ClientApp()
server_app = ServerApp()


@client_app.train()
def train(message, context):
    site = np.load(context.node_config["data"])
    X, y = site["X"], site["y"]
    w = message.content["arrays"].to_numpy_ndarrays()[0]
    for _ in range(message.content["config"]["steps"]):
        p = 0.5 + 0.5 * np.tanh((X @ w[:-1] + w[-1]) / 2)
        w = w - 0.3 * np.append((p - y) @ X, np.sum(p - y)) / len(y)
    arrays = ArrayRecord([w.astype(np.float32)])
    metrics = MetricRecord({"num-examples": len(y)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@server_app.main()
def main(grid, context):
    run = context.run_config
    nodes = run["nodes"]
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    result = strategy.start(
        grid,
        initial_arrays=ArrayRecord([np.zeros(11, np.float32)]),
        num_rounds=run["rounds"],
        train_config=ConfigRecord({"steps": 10}),
        timeout=run["timeout"],
    )
    np.save(run["result"], result.arrays.to_numpy_ndarrays()[0])
