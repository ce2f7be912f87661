"""Flower in the notebook's own process: a grid, a transcript, bytes; the same app in Ray.

Flower's parts talk through a *grid*: the ServerApp hands it messages and gets replies. Flower's own
grid leads to a SuperLink and from there to other machines; :class:`LocalGrid` calls the ClientApp
at once. Apps, mods and strategies are Flower's own and do not notice.

Importing this module sets the environment variables that keep Flower quiet and offline
(:data:`SETTINGS`). Flower reads some of them when it is imported: import this module first. The
processes that a notebook starts inherit them.

Written for flwr 1.41: the names of ``flwr.supercore`` and ``flwr.common.serde`` are not promised to
stay.
"""

from __future__ import annotations

import copy
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flwr.app import Message
    from flwr.client import NumPyClient

#: No telemetry, no look-ups for updates, no installation of what an app names as its dependencies;
#: Ray leaves the list of GPUs alone; one thread for each process, for there are many.
SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
os.environ.update(SETTINGS)
# A filter, for Flower sets the level of its logger when it is imported.
logging.getLogger("flwr").addFilter(lambda record: record.levelno >= logging.ERROR)

#: What a node is told about itself, as ``--node-config`` does: names and plain values.
NodeConfig = Mapping[str, Any]

#: A ClientApp, or anything that is called like one.
ClientCall = Callable[..., "Message"]

_RUN, _SERVER = 1, 1


class LocalGrid:
    """A Flower grid whose nodes live in this process.

    It has the methods of ``flwr.serverapp.Grid``. A client gets a copy of each message, never the
    server's memory; a client that fails becomes an error reply, as over a network. If all fail,
    :meth:`send_and_receive` raises RuntimeError: Flower would go on without a word and return an
    untrained model. Sizes are those of the contents of messages, as protobuf.

    Args:
        client_app: What every node runs.
        node_configs: For each node what it knows about itself; ``partition-id`` and
            ``num-partitions`` are added, as Flower's simulation does.
        run_config: What every node knows about the run.

    Attributes:
        transcript: What the server saw: all replies in the order they came.
        messages: How many messages went down.
        bytes_down: Bytes of all messages to the clients.
        bytes_up: Bytes of all replies.

    Raises:
        ValueError: There is no node.
    """

    def __init__(
        self,
        client_app: ClientCall,
        node_configs: Sequence[NodeConfig],
        run_config: NodeConfig | None = None,
    ) -> None:
        from flwr.app import Context, RecordDict
        from flwr.supercore.run import Run
        from flwr.supercore.task_identity import TaskIdentity

        if len(node_configs) == 0:
            raise ValueError("node_configs must hold at least one node")
        # New messages take their sender from here, in Flower's own processes as well.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN, _SERVER
        self._app = client_app
        self._contexts = {
            node: Context(
                run_id=_RUN,
                node_id=node,
                node_config=_numbered(config, number, len(node_configs)),
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for number, (node, config) in enumerate(
                zip(range(_SERVER + 1, _SERVER + 1 + len(node_configs)), node_configs, strict=True)
            )
        }
        self._run, self._waiting = Run.create_empty(run_id=_RUN), {}
        self.transcript: list[Message] = []
        self.messages = self.bytes_down = self.bytes_up = 0

    @property
    def run(self) -> Any:
        """The run that the messages belong to."""
        return self._run

    def set_run(self, run: Any) -> None:
        """Set the run that the messages belong to."""
        self._run = run

    def create_message(
        self,
        content: Any,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message to a node; sent by one of the methods below."""
        from flwr.app import Message

        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the numbers of the nodes, in the order of their configurations."""
        return list(self._contexts)

    def get_nodes(self) -> list[Any]:
        """Return what is known of each node."""
        from flwr.proto.node_pb2 import NodeInfo

        return [NodeInfo(node_id=node) for node in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Deliver messages; return their numbers."""
        replies = {str(self.messages): self._deliver(message) for message in messages}
        self._waiting.update(replies)
        return list(replies)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to messages; each is returned once."""
        return [self._waiting.pop(number) for number in message_ids if number in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Deliver messages and return the replies; nothing here can time out.

        Raises:
            RuntimeError: There are replies, and all of them are errors.
        """
        replies = [self._deliver(message) for message in messages]
        if replies and all(reply.has_error() for reply in replies):
            raise RuntimeError(f"all clients failed: {_reasons(replies)}")
        return replies

    def latest(self) -> list[Message]:
        """Return the last reply of each node that has replied, in the order of the nodes."""
        last = {reply.metadata.src_node_id: reply for reply in self.transcript}
        return [last[node] for node in self._contexts if node in last]

    def _deliver(self, message: Message) -> Message:
        from flwr.app import Error, Message

        self.messages += 1
        self.bytes_down += message_bytes(message)
        received = copy.deepcopy(message)
        received.metadata.__dict__["_message_id"] = str(self.messages)
        try:
            reply = self._app(received, self._contexts[received.metadata.dst_node_id])
        except Exception as error:
            reply = Message(Error(code=2, reason=repr(error)), reply_to=received)
        self.bytes_up += message_bytes(reply)
        self.transcript.append(copy.deepcopy(reply))  # strategies take replies apart
        return reply


def message_bytes(message: Message) -> int:
    """Return the size of a message's content as protobuf; 0 for an error."""
    from flwr.common.serde import recorddict_to_proto

    return recorddict_to_proto(message.content).ByteSize() if message.has_content() else 0


def _reasons(replies: Iterable[Message]) -> str:
    return "; ".join(sorted({reply.error.reason for reply in replies if reply.has_error()}))


def _numbered(config: NodeConfig, number: int, nodes: int) -> dict[str, Any]:
    return {"partition-id": number, "num-partitions": nodes, **config}


# ---- the same app, twice -----------------------------------------------------------------------


def run(
    server_app: Callable[..., None],
    client_app: ClientCall,
    node_configs: Sequence[NodeConfig],
    run_config: NodeConfig,
) -> LocalGrid:
    """Run a Flower app in this process.

    Args:
        server_app: A ServerApp.
        client_app: A ClientApp.
        node_configs: For each node what it knows about itself.
        run_config: What both apps know about the run.

    Returns:
        The grid: its transcript, and what travelled.

    Raises:
        RuntimeError: In some round all clients failed.
    """
    from flwr.app import Context, RecordDict

    grid = LocalGrid(client_app, node_configs, run_config)
    server_app(grid, Context(_RUN, _SERVER, {}, RecordDict(), dict(run_config)))
    return grid


def simulate(
    server_app: Callable[..., None],
    client_app: ClientCall,
    node_configs: Sequence[NodeConfig],
    run_config: NodeConfig,
    cpus_per_client: float = 1,
) -> None:
    """Run a Flower app in Flower's simulation: Ray, with some worker processes; ends Ray after.

    It takes half a minute to start. Arguments are those of :func:`run`.

    Args:
        server_app: A ServerApp.
        client_app: A ClientApp.
        node_configs: For each node what it knows about itself.
        run_config: What both apps know about the run.
        cpus_per_client: As many clients run at once as fit into the CPUs of this machine.
    """
    import ray
    from flwr.app import Context
    from flwr.simulation import run_simulation

    def client(message: Any, context: Any) -> Any:
        # Flower refuses to take back a context with other settings: only the state is shared.
        number = context.node_config["partition-id"]
        config = _numbered(node_configs[number], number, len(node_configs))
        own = Context(context.run_id, context.node_id, config, context.state, dict(run_config))
        return client_app(message, own)

    def server(grid: Any, context: Any) -> None:
        context.run_config.update(run_config)
        server_app(grid, context)

    # Not in TMPDIR: Ray's sockets need short paths, and its folder would stay.
    with tempfile.TemporaryDirectory(prefix="privlab-", dir="/tmp") as folder:
        try:
            run_simulation(
                server,
                client,
                num_supernodes=len(node_configs),
                backend_config={
                    "client_resources": {"num_cpus": cpus_per_client, "num_gpus": 0.0},
                    "init_args": {
                        "logging_level": logging.ERROR,
                        "log_to_driver": False,
                        "include_dashboard": False,
                        "_temp_dir": folder,
                    },
                },
            )
        finally:
            ray.shutdown()


# ---- the older API, for SecAgg+ ----------------------------------------------------------------


@dataclass(frozen=True)
class LegacyRun:
    """What :func:`run_legacy` returns.

    Attributes:
        weights: The model after each round, as lists of arrays; the first entry is the start.
        grid: The grid: its transcript, and what travelled.
    """

    weights: list[list[np.ndarray]]
    grid: LocalGrid


def run_legacy(
    make_client: Callable[[int], NumPyClient],
    clients: int,
    start: Sequence[np.ndarray],
    rounds: int = 1,
    secure: bool = False,
    num_shares: int | float = 1.0,
    reconstruction_threshold: int | float = 0.6,
    max_weight: float = 1000.0,
    clipping_range: float = 8.0,
) -> LegacyRun:
    """Run FedAvg with Flower's older API, which SecAgg+ still needs, in this process.

    SecAgg+: James Bell, Kallista Bonawitz, Adrià Gascón, Tancrède Lepoint and Mariana Raykova,
    "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead" (2020).

    Args:
        make_client: Makes the client with a number, from 0.
        clients: How many; all take part in every round.
        start: The model to start from.
        rounds: How many.
        secure: Whether SecAgg+ hides each client's model from the server.
        num_shares: In how many pieces each key is shared; as a float, a share of the clients.
        reconstruction_threshold: How many pieces bring it back; as a float, a share of the pieces.
        max_weight: The largest number of examples that a client may have.
        clipping_range: Numbers of a model beyond it are cut off.

    Raises:
        ValueError: ``clients`` or ``rounds`` is below 1; or SecAgg+ would make nonsense of what a
            client sends: NaN, infinity, or more than ``max_weight`` examples.
        RuntimeError: A client failed.
    """
    from flwr.app import Context, RecordDict
    from flwr.client.mod import secaggplus_mod
    from flwr.clientapp import ClientApp
    from flwr.common import ndarrays_to_parameters
    from flwr.server import LegacyContext, ServerConfig
    from flwr.server.strategy import FedAvg
    from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow

    for name, value in (("clients", clients), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value!r}")

    refused: list[str] = []

    def client_fn(context: Context) -> Any:
        client = make_client(int(context.node_config["partition-id"]))
        if secure:
            fit = client.fit

            def checked(*received: Any) -> Any:
                weights, examples, metrics = fit(*received)
                if not all(np.isfinite(part).all() for part in weights):
                    refused.append("a client's model must be finite, not NaN or infinity")
                elif not 0 <= examples <= max_weight:
                    refused.append(f"max_weight must be at least {examples!r}, not {max_weight!r}")
                if refused:
                    raise ValueError(refused[0])
                return weights, examples, metrics

            client.fit = checked
        return client.to_client()

    seen: list[list[np.ndarray]] = []

    def look(number: int, weights: list[np.ndarray], config: Any) -> tuple[float, dict]:
        seen.append([np.array(part) for part in weights])
        return 0.0, {}

    app = ClientApp(client_fn=client_fn, mods=[secaggplus_mod] if secure else [])
    grid = LocalGrid(app, [{}] * clients)
    strategy = FedAvg(
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=clients,
        min_available_clients=clients,
        initial_parameters=ndarrays_to_parameters(list(start)),
        evaluate_fn=look,
    )
    masked = SecAggPlusWorkflow(
        num_shares=num_shares,
        reconstruction_threshold=reconstruction_threshold,
        max_weight=max_weight,
        clipping_range=clipping_range,
    )
    context = Context(_RUN, _SERVER, {}, RecordDict(), {})
    workflow = DefaultWorkflow(**({"fit_workflow": masked} if secure else {}))
    try:
        workflow(grid, LegacyContext(context, ServerConfig(num_rounds=rounds), strategy))
        if any(reply.has_error() for reply in grid.transcript):
            raise RuntimeError(f"a client failed: {_reasons(grid.transcript)}")
    except RuntimeError:
        if refused:
            raise ValueError(refused[0]) from None
        raise
    return LegacyRun(seen, grid)
