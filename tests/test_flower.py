"""Flower: the grid in this process, the same app in Ray, SecAgg+, certificates, a deployment."""

import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from cryptography import x509
from jupyter_client.manager import start_new_kernel

from privlab import deployment, federated, flower
from privlab.data import load_hospitals
from privlab.exercises.lesson_12 import SuperLinkCertificates
from privlab.processes import Processes

flwr = pytest.importorskip("flwr")

# A small app in the form of the lesson's: two texts that `flwr run` and this process both use.
APP = Path(__file__).with_name("flower_app.py")


def app():
    import flower_app

    return flower_app


@pytest.fixture(scope="module")
def hospitals():
    table = load_hospitals()
    X, y = federated.hospital_features(table), table["ill"].to_numpy(int)
    return X, y, list(federated.natural_partition(table["hospital"]).values())


@pytest.fixture(scope="module")
def nodes(hospitals, tmp_path_factory):
    X, y, parts = hospitals
    folder = tmp_path_factory.mktemp("sites")
    for number, rows in enumerate(parts):
        np.savez(folder / f"{number}.npz", X=X[rows], y=y[rows])
    return [{"data": str(folder / f"{number}.npz")} for number in range(len(parts))]


def settings(folder, **changes):
    return {"nodes": 4, "rounds": 3, "timeout": 300, "result": str(folder / "w.npy"), **changes}


# ---- the grid ----------------------------------------------------------------------------------


def test_flower_equals_the_loop(hospitals, nodes, tmp_path):
    X, y, parts = hospitals
    grid = flower.run(app().server_app, app().client_app, nodes, settings(tmp_path))
    weights = np.load(tmp_path / "w.npy")
    clients = federated.make_clients(X, y, parts)
    model = federated.Network(features=10)
    *_, last = federated.fedavg(model, clients, 3, 10, 0.3, np.random.default_rng(0))
    assert np.allclose(weights, last.weights, atol=1e-5)
    assert (model.predict(weights, X) == model.predict(last.weights, X)).all()
    assert grid.messages == len(grid.transcript) == 12
    assert grid.bytes_up == sum(map(flower.message_bytes, grid.transcript))
    sizes = [reply.content["metrics"]["num-examples"] for reply in grid.latest()]
    assert sizes == [len(part) for part in parts]


def test_a_client_that_fails_is_an_error_reply(hospitals, nodes, tmp_path):
    def broken(message, context):
        if context.node_config["partition-id"] == 3:
            raise KeyError("no table")
        return app().client_app(message, context)

    grid = flower.run(app().server_app, broken, nodes, settings(tmp_path, rounds=1))
    errors = [reply for reply in grid.transcript if reply.has_error()]
    assert len(errors) == 1
    assert "no table" in errors[0].error.reason
    X, y, parts = hospitals
    clients = federated.make_clients(X, y, parts[:3])
    model, rng = federated.Network(features=10), np.random.default_rng(0)
    *_, last = federated.fedavg(model, clients, 1, 10, 0.3, rng)
    assert np.allclose(np.load(tmp_path / "w.npy"), last.weights, atol=1e-5)


def test_a_client_shares_no_memory_with_the_server():
    from flwr.app import ArrayRecord, Message, RecordDict

    def greedy(message, context):
        message.content["arrays"].clear()
        return Message(RecordDict({}), reply_to=message)

    grid = flower.LocalGrid(greedy, [{}])
    content = RecordDict({"arrays": ArrayRecord([np.ones(3)])})
    message = grid.create_message(content, "train", grid.get_node_ids()[0], "1")
    numbers = grid.push_messages([message])
    assert [len(content["arrays"]), len(grid.pull_messages(numbers))] == [1, 1]
    assert grid.pull_messages(numbers) == []


def test_a_client_keeps_its_state_and_knows_its_number():
    from flwr.app import ConfigRecord, Message, RecordDict

    def counting(message, context):
        before = context.state.config_records.get("seen", ConfigRecord({"n": 0}))["n"]
        context.state["seen"] = ConfigRecord({"n": before + 1})
        content = RecordDict(
            {"c": ConfigRecord({"n": before + 1, "id": context.node_config["partition-id"]})}
        )
        return Message(content, reply_to=message)

    grid = flower.LocalGrid(counting, [{}, {}])
    for _ in range(3):
        messages = [grid.create_message(RecordDict(), "train", n, "") for n in grid.get_node_ids()]
        replies = grid.send_and_receive(messages)
    assert [reply.content["c"]["n"] for reply in replies] == [3, 3]
    assert [reply.content["c"]["id"] for reply in grid.latest()] == [0, 1]
    assert [info.node_id for info in grid.get_nodes()] == grid.get_node_ids()


def test_bad_arguments():
    with pytest.raises(ValueError, match="node_configs"):
        flower.LocalGrid(lambda *_: None, [])
    with pytest.raises(ValueError, match="rounds"):
        flower.run_legacy(lambda number: None, 3, [np.zeros(2)], rounds=0)
    with pytest.raises(ValueError, match="hosts"):
        deployment.certificates([])
    for days in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="days"):
            deployment.certificates(["a"], days=days)
    with pytest.raises(ValueError, match="start"):
        deployment.certificates(["a"], start=datetime.datetime(2026, 11, 23))


def test_a_round_in_which_all_fail_is_no_success(nodes, tmp_path):
    def broken(message, context):
        raise KeyError("no table")

    with pytest.raises(RuntimeError, match=r"all clients failed.*no table"):
        flower.run(app().server_app, broken, nodes, settings(tmp_path))
    assert not (tmp_path / "w.npy").exists()


@pytest.mark.parametrize(
    "host", ["", "*", "*.a.example", "https://a.example", "127.0.0.1:80", "1.2.3.300", "a b", 5]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ValueError, match="hosts"):
        deployment.certificates(["a.example", host])


def test_flower_is_quiet_and_offline():
    code = (
        "from privlab import flower; import flwr, os, logging\n"
        "from flwr.supercore import telemetry\n"
        "assert telemetry.FLWR_TELEMETRY_ENABLED == '0'\n"
        "from flwr.serverapp.strategy import FedAvg\n"
        "FedAvg(fraction_evaluate=0.0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout + run.stderr == ""


# ---- SecAgg+ -----------------------------------------------------------------------------------


def sender(updates):
    from flwr.client import NumPyClient

    class Sender(NumPyClient):
        def __init__(self, number):
            self.number = number

        def fit(self, parameters, config):
            return [parameters[0] + updates[self.number]], 1, {}

    return Sender


def test_secagg_gives_the_mean_and_hides_the_parts():
    updates = np.random.default_rng(0).normal(0, 0.1, (4, 500)).astype(np.float32)
    start = [np.zeros(500, np.float32)]
    runs = {
        secure: flower.run_legacy(
            sender(updates), 4, start, rounds=2, secure=secure, max_weight=1.0
        )
        for secure in (False, True)
    }
    for secure, run in runs.items():
        assert np.allclose(run.weights[0], 0)
        # Each number is rounded to a grid of 2 * 8 / 2**22.
        assert np.allclose(run.weights[-1][0], 2 * updates.mean(axis=0), atol=1e-4), secure
    assert runs[True].grid.messages == 4 * runs[False].grid.messages
    assert runs[True].grid.bytes_up > runs[False].grid.bytes_up

    def told(grid):
        from flwr.common.serde import recorddict_to_proto

        return b"".join(recorddict_to_proto(r.content).SerializeToString() for r in grid.transcript)

    raw = updates[1].tobytes()[:40]
    assert raw in told(runs[False].grid)
    assert raw not in told(runs[True].grid)


def test_a_client_that_fails_is_reported():
    class Broken(sender(np.zeros((2, 3), np.float32))):
        def fit(self, parameters, config):
            raise KeyError("no table")

    with pytest.raises(RuntimeError, match="no table"):
        flower.run_legacy(Broken, 2, [np.zeros(3, np.float32)])


@pytest.mark.parametrize(("what", "says"), [("NaN", "finite"), ("examples", "max_weight")])
@pytest.mark.parametrize("liars", [1, 3])
def test_what_secagg_cannot_mask_is_refused(what, says, liars):
    updates = np.zeros((3, 4), np.float32)
    if what == "NaN":
        updates[:liars, 2] = np.nan

    class Large(sender(updates)):
        def fit(self, parameters, config):
            weights, _, metrics = super().fit(parameters, config)
            many = what == "examples" and self.number < liars
            return weights, 101 if many else 100, metrics

    start = [np.zeros(4, np.float32)]
    with pytest.raises(ValueError, match=says):
        flower.run_legacy(Large, 3, start, secure=True, max_weight=100)


# ---- Ray ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_same_app_in_ray(nodes, tmp_path):
    """In a process of its own: Ray and what it starts are gone with it."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    flower.run(app().server_app, app().client_app, nodes[:2], settings(here, nodes=2, rounds=2))
    code = (
        f"import sys; sys.path.insert(0, {str(APP.parent)!r})\n"
        "from privlab import flower; import flower_app\n"
        f"flower.simulate(flower_app.server_app, flower_app.client_app, {nodes[:2]!r}, "
        f"{settings(there, nodes=2, rounds=2)!r})"
    )
    there.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert np.allclose(np.load(there / "w.npy"), np.load(here / "w.npy"), atol=1e-5)


# ---- certificates ------------------------------------------------------------------------------


def test_handshakes():
    made, other = (deployment.certificates(["a.example", "10.0.0.1", "::1"]) for _ in range(2))
    for host in ("a.example", "10.0.0.1", "::1"):
        assert deployment.handshake(made.certificate, made.key, made.ca, host) is None
        assert "issuer" in deployment.handshake(made.certificate, made.key, other.ca, host)
    for host in ("b.example", "x.a.example", "10.0.0.2", "SuperLink"):
        assert "mismatch" in deployment.handshake(made.certificate, made.key, made.ca, host)


def test_the_server_certifies_nobody():
    """By attack, and by what the certificates say: the path length alone would stop the attack."""
    made = deployment.certificates(["a.example"])
    SuperLinkCertificates._forge(made.ca, made.certificate, made.key)
    for text, is_ca in ((made.ca, True), (made.certificate, False)):
        extensions = x509.load_pem_x509_certificate(text.encode()).extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.value.ca, basic.value.path_length) == (is_ca, 0 if is_ca else None)
        assert (usage.value.key_cert_sign, usage.value.digital_signature) == (is_ca, not is_ca)
        assert basic.critical
        assert usage.critical


def test_certificates_end():
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    for days, refused in ((1, "expired"), (3, None)):
        made = deployment.certificates(["a.example"], days, start)
        told = deployment.handshake(made.certificate, made.key, made.ca, "a.example")
        assert (refused in told) if refused else told is None
    late = deployment.certificates(["a"], 1, start + datetime.timedelta(days=3))
    assert "not yet valid" in deployment.handshake(late.certificate, late.key, late.ca, "a")


# ---- processes that end ------------------------------------------------------------------------


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_processes_start_and_end():
    with Processes({"GREETING": "{folder}/hello"}) as all_of_them:
        folder = all_of_them.folder
        assert folder.stat().st_mode & 0o077 == 0
        told = all_of_them.call("say", "sh", "-c", "echo $GREETING; pwd; echo $TMPDIR")
        assert told.split() == [f"{folder}/hello", str(folder), f"{folder}/tmp"]
        with pytest.raises(RuntimeError, match="exit code 3"):
            all_of_them.call("fail", "sh", "-c", "exit 3")
        with pytest.raises(TimeoutError):
            all_of_them.call("slow", "sleep", 60, timeout=0.2)
        with pytest.raises(ValueError, match="no program"):
            all_of_them.start("what", "no-such-program")
        with pytest.raises(ValueError, match="no process"):
            all_of_them.kill("who")
        with pytest.raises(ValueError, match="name"):
            all_of_them.start("../x", "true")
        all_of_them.start("a", "sleep", 60)
        with pytest.raises(ValueError, match="running already"):
            all_of_them.start("a", "sleep", 60)
        all_of_them.kill("a")
        assert all_of_them.exit_code("a") == -signal.SIGKILL
        with pytest.raises(RuntimeError, match="ended without"):
            all_of_them.wait_for("a", "hello")
    assert not folder.exists()
    all_of_them.close()
    with pytest.raises(ValueError, match="have ended"):
        all_of_them.start("b", "true")


# A process that ignores SIGTERM, and one that leaves its parent and its session.
STUBBORN = "trap '' TERM; while true; do sleep 1; done"
DETACHED = (
    "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True); "
    "print('left', flush=True)"
)
SCRIPT = f"""
import os, sys, time
from privlab.processes import Processes
all_of_them = Processes()
all_of_them.start("stubborn", "sh", "-c", {STUBBORN!r})
all_of_them.start("detached", "python", "-c", {DETACHED!r})
all_of_them.wait_for("detached", "left")
print(all_of_them.folder, all_of_them._watchdog.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["kill", "fail", "exit"])
def test_nothing_is_left_however_it_ends(end):
    last = {"kill": "time.sleep(600)", "fail": "1 / 0", "exit": ""}[end]
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + last], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip
    with run:
        folder, watchdog = run.stdout.readline().split()
        if end == "kill":
            started = psutil.Process(int(watchdog)).children(recursive=True)
            assert len(started) >= 2
            os.killpg(run.pid, signal.SIGKILL)  # what Jupyter does
        run.wait(30)
    wait_until(lambda: gone(int(watchdog)))
    assert not Path(folder).exists()
    if end == "kill":
        assert all(gone(process.pid) for process in started)


def test_a_watchdog_whose_terminal_closes_cleans_up():
    all_of_them = Processes()
    all_of_them.start("stubborn", "sh", "-c", STUBBORN)
    watchdog = psutil.Process(all_of_them._watchdog.pid)
    started = watchdog.children(recursive=True)
    watchdog.send_signal(signal.SIGHUP)
    all_of_them._watchdog.wait(30)
    assert started
    assert all(gone(process.pid) for process in started)
    assert not all_of_them.folder.exists()
    all_of_them.close()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_what_a_killed_watchdog_started_ends():
    all_of_them = Processes()
    all_of_them.start("stubborn", "sh", "-c", STUBBORN)
    watchdog = psutil.Process(all_of_them._watchdog.pid)
    (started,) = (each for each in watchdog.children() if each.name() == "sh")
    watchdog.kill()
    all_of_them._watchdog.wait(30)
    wait_until(lambda: gone(started.pid))
    with pytest.raises((RuntimeError, BrokenPipeError)):
        all_of_them.exit_code("stubborn")
    shutil.rmtree(all_of_them.folder)  # nobody was left to do it
    all_of_them.close()


# ---- a deployment that is cut short ------------------------------------------------------------

DEPLOYMENT = """
from privlab import deployment
lab = deployment.Deployment()
tls = deployment.certificates(["127.0.0.1"])
for name, text in zip(["ca.crt", "server.crt", "server.key"], tls):
    lab.write(name, text)
lab.start("superlink", "flower-superlink", "--port", lab.port, "--enable-supernode-auth",
    "--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key")
lab.wait_for_port("superlink", lab.port)
private, public = deployment.node_key()
lab.write("node.key", private)
lab.write("node.pub", public)
lab.call("register", "flwr", "supernode", "register", "node.pub", "lab")
lab.start("node", "flower-supernode", "--superlink", lab.address, "--root-certificates", "ca.crt",
    "--auth-supernode-private-key", "node.key", "--port", lab.free_port())
lab.wait_for("node", "SuperNode ID")
lab.start("run", "flwr", "run", APP, "lab", "--stream")
lab.wait_for("run", "Starting logstream")
print(lab.folder, lab.port, lab._watchdog.pid)
"""


@pytest.mark.long
def test_a_kernel_killed_in_mid_run_leaves_nothing(tmp_path):
    """No process, no port, no temporary file: SuperLink, SuperNode, and what they started."""
    config = settings(tmp_path, nodes=1)
    deployment.write_app(tmp_path / "app", app().train, app().main, **config)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    manager, client = start_new_kernel(env={**os.environ, "TMPDIR": str(temporary)})
    printed = []
    try:
        client.execute_interactive(
            f"APP = {str(tmp_path / 'app')!r}\n{DEPLOYMENT}",
            timeout=300,
            output_hook=lambda message: printed.append(message["content"]),
        )
        told = "".join(each.get("text", "") for each in printed)
        assert told, printed
        folder, port, watchdog = told.split()
        started = psutil.Process(int(watchdog)).children(recursive=True)
        ports = [
            each.laddr.port
            for process in started
            for each in process.net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
        assert len(started) >= 3
        assert int(port) in ports
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)  # SIGKILL, as "Restart Kernel" does in the end
    wait_until(lambda: gone(int(watchdog)))
    assert all(gone(process.pid) for process in started)
    assert not Path(folder).exists()
    assert list(temporary.iterdir()) == []
    for each in ports:
        with socket.socket() as end:
            assert end.connect_ex(("127.0.0.1", each)) != 0


def test_the_app_is_the_text_of_its_cells(tmp_path):
    deployment.write_app(tmp_path / "app", app().train, app().main, rounds=2, result="x")
    assert (tmp_path / "app" / "hospitals.py").read_text() == APP.read_text()
    project = (tmp_path / "app" / "pyproject.toml").read_text()
    assert 'rounds = 2\nresult = "x"' in project
    with pytest.raises(ValueError, match="function"):
        deployment.source(eval("lambda: 0"))
