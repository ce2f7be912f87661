"""The local network of PySyft: jobs run, nothing is printed, nothing is left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from privlab import syft

psutil = pytest.importorskip("psutil")
pytest.importorskip("syft_rds")

SAM, ANN, BO = "sam@uni.org", "ann@cleveland.org", "bo@hungary.org"
MEAN = """
import json
import syft as sy
rows = open(sy.resolve_dataset_file_path("heart")).read().split()[1:]
print("log of the job")
json.dump({"n": len(rows), "sum": sum(map(int, rows))}, open("outputs/result.json", "w"))
"""


def publish(net, owner):
    (net.scratch / "private.csv").write_text("chol\n6661\n6662\n")
    (net.scratch / "mock.csv").write_text("chol\n777\n")
    paths = {f"{kind}_path": net.scratch / f"{kind}.csv" for kind in ("mock", "private")}
    owner.create_dataset(name="heart", users=[SAM], **paths)
    net.scientist.sync()


def submit(net, owner, name, code=MEAN):
    (net.scratch / "main.py").write_text(code)
    net.scientist.submit_python_job(owner.email, str(net.scratch / "main.py"), job_name=name)
    owner.sync()
    return owner.jobs[name]


def run(net, owner, share=True):
    owner.process_approved_jobs(stream_output=False, share_outputs_with_submitter=share)
    owner.sync()
    net.scientist.sync()


@pytest.mark.parametrize("encryption", [False, True])
def test_jobs_run_at_each_owner_and_nothing_is_printed(encryption, capfd):
    with syft.local_network(SAM, [ANN, BO], encryption) as net:
        for owner in net.owners:
            publish(net, owner)
            name = f"at {owner.email}"
            submit(net, owner, name).approve()
            run(net, owner)
            (output,) = net.scientist.jobs[name].output_paths
            assert output.read_text() == '{"n": 2, "sum": 13323}'
        drive = net.on_the_drive()
        assert b"777" in drive
        assert b"6661" not in drive
        assert (b"resolve_dataset_file_path" in drive) != encryption
        assert (b"13323" in drive) != encryption
    assert not net.folder.exists()
    assert capfd.readouterr() == ("", "")


def test_what_the_lesson_says_of_review_and_logs():
    """Logs leave without being shared; rejected jobs do not run; scientists do not approve."""
    with syft.local_network(SAM, [ANN]) as net:
        (owner,) = net.owners
        publish(net, owner)
        submit(net, owner, "unread").approve()
        submit(net, owner, "read").reject("no")
        owner.sync()
        net.scientist.sync()
        with pytest.raises((PermissionError, ValueError)):
            net.scientist.jobs["read"].approve()
        run(net, owner, share=False)
        seen = net.scientist.jobs
        assert seen["unread"].output_paths == []
        assert str(seen["unread"].stdout) == "log of the job\n"
        assert seen["read"].status == "rejected"
        owner.job_runner.share_job_results("unread", share_outputs=True, share_logs=False)
        owner.sync()
        net.scientist.sync()
        assert len(net.scientist.jobs["unread"].output_paths) == 1


@pytest.mark.parametrize(("scientist", "owners"), [(SAM, []), (SAM, [SAM]), (SAM, [ANN, ANN])])
def test_addresses_must_differ(scientist, owners):
    with pytest.raises(ValueError, match="owners must be"):
        syft.local_network(scientist, owners)


def test_the_folder_goes_when_the_network_is_closed_twice_or_a_cell_fails():
    net = syft.local_network(SAM, [ANN])
    net.close()
    net.close()
    assert not net.folder.exists()
    with pytest.raises(RuntimeError), syft.local_network(SAM, [ANN]) as net:
        raise RuntimeError
    assert not net.folder.exists()


@pytest.mark.parametrize("email", ["", "/", "ann", "../ann@x.org", "/ann@x.org", "ann@x.org/.."])
def test_an_address_cannot_lead_out_of_the_folder(email, monkeypatch):
    monkeypatch.setattr(syft, "Network", None)  # nothing is made before the addresses are checked
    for scientist, owners in ((email, [ANN]), (SAM, [ANN, email])):
        with pytest.raises(ValueError, match="must be e-mail addresses"):
            syft.local_network(scientist, owners)


def test_a_network_that_cannot_be_made_leaves_nothing(monkeypatch, tmp_path):
    def fail(self, email, owner, encryption):
        raise OSError("no client")

    monkeypatch.setattr(syft.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(syft.Network, "_client", fail)
    with pytest.raises(OSError, match="no client"):
        syft.local_network(SAM, [ANN])
    assert list(tmp_path.iterdir()) == []


HALF_WAY = """
import sys, threading
from privlab.syft import local_network
net = local_network("sam@uni.org", ["ann@cleveland.org"])
code = "import time\\nopen('started', 'w')\\ntime.sleep(600)\\n"
(net.scratch / "main.py").write_text(code)
main = str(net.scratch / "main.py")
net.scientist.submit_python_job("ann@cleveland.org", main, job_name="long")
owner = net.owners[0]
owner.sync()
owner.jobs["long"].approve()
print(net.folder, flush=True)
owner.process_approved_jobs(stream_output=False)
"""
ENDS = HALF_WAY.rpartition("owner.process")[0]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def start(code, tmp_path):
    """Start a notebook's process with a home of its own; return it and the network's folder."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    return process, syft.Path(process.stdout.readline().strip())


def guards(folder):
    return [p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or [])]


def assert_nothing_left(folder, tmp_path):
    wait_for(lambda: not folder.exists() and not guards(folder))
    assert list(syft._jobs(folder)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    # What libraries cache in a home is theirs; PySyft leaves nothing there.
    assert not [path for path in (tmp_path / "home").rglob("*") if "syft" in path.name.lower()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_half_way_nothing_is_left(how, tmp_path):
    process, folder = start(HALF_WAY, tmp_path)
    try:
        wait_for(lambda: list(folder.rglob("started")))
        assert list(syft._jobs(folder))
    finally:
        process.send_signal(how)
    process.wait(30)
    assert_nothing_left(folder, tmp_path)


def test_a_process_that_ends_without_closing_leaves_nothing(tmp_path):
    process, folder = start(ENDS, tmp_path)
    assert process.wait(60) == 0
    assert_nothing_left(folder, tmp_path)


def test_importing_the_module_is_light():
    code = "import sys, privlab.syft; assert not {'syft', 'syft_rds', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_epsilon_of_the_private_mean_with_a_second_accountant():
    """Laplace noise of 300 / (n ε) on a mean that moves by 300 / n; two of them add up."""
    from dp_accounting.pld import privacy_loss_distribution

    n, epsilon = 303, 1.0
    once = privacy_loss_distribution.from_laplace_mechanism(
        300 / n / epsilon, sensitivity=300 / n, value_discretization_interval=1e-4
    )
    assert np.isclose(once.get_epsilon_for_delta(0), epsilon, atol=1e-3)
    assert np.isclose(once.compose(once).get_epsilon_for_delta(0), 2 * epsilon, atol=1e-3)
