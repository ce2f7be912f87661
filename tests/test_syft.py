"""The local network of PySyft: jobs run, nothing is printed, nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privlab import syft
from privlab.exercise import LocalPeer
from privlab.exercises import lesson_14

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


# ---- what an owner does ------------------------------------------------------------------------

AGREED = '{"n": 2, "mean": 240.5}'
READ = f"""
import json, os, pathlib, sys
import syft as sy
private = open(sy.resolve_dataset_file_path("heart")).read()
owner = pathlib.Path(os.environ["SYFTBOX_FOLDER"])
out = pathlib.Path("outputs/result.json")
out.write_text({AGREED!r})
"""
LEAKS = {
    "a file beside the code": "open('x.txt', 'w').write(private)",
    "rights of its own": "out.write_text(private)\nopen('outputs/syft.pub.yaml', 'w').write("
    "\"rules:\\n- pattern: '**'\\n  access:\\n    read: [sam@uni.org]\\n\")",
    "rights that hold a text": "open('outputs/syft.pub.yaml', 'w').write('# ' + repr(private))",
    "twin keys": "out.write_text('{\"n\": ' + json.dumps(private) + ', ' + out.read_text()[1:])",
    "spaces": "out.write_text(out.read_text() + ' ' * 6661)",
    "a number spelt with zeros": "out.write_text(out.read_text().replace('.5', '.5' + '0' * 6661))",
    "its state": "[p.write_text(p.read_text().replace('review_reason: null', 'review_reason: '"
    " + repr(private))) for p in owner.rglob('state.yaml')]",
    "the code": "[p.write_text('# ' + repr(private)) for p in owner.rglob('run.sh')]",
    "the mock": "[p.write_text(private) for p in owner.rglob('mock.csv')]",
    "logs": "print(private)\nprint(private, file=sys.stderr)",
    "an exit code": "sys.exit(61)",
    "a link": "out.unlink()\nout.symlink_to(sy.resolve_dataset_file_path('heart'))",
    "a folder": "out.unlink()\nout.mkdir()\n(out / 'x').write_text(private)",
    "a folder replaced": "import shutil\nmock = next(owner.rglob('mock.csv')).parent\n"
    "shutil.rmtree(mock)\nmock.symlink_to(owner.parent)",
    "an error": "out.write_text(private)\nraise SystemError(private)",
}


def agreed(result):
    return result == json.loads(AGREED)


@pytest.fixture(scope="module")
def looking():
    with syft.local_network(SAM, [ANN]) as net:
        publish(net, net.owners[0])
        yield net


def leaked(net):
    """Every byte that the scientist has, and what lies on the drive."""
    files = [path for path in (net.folder / SAM).rglob("*") if path.is_file()]
    code = "code/main.py"  # his own
    return b"".join(p.read_bytes() for p in files if not str(p).endswith(code)) + net.on_the_drive()


@pytest.mark.parametrize("how", LEAKS)
def test_only_a_checked_result_leaves(how, looking):
    net, (owner,) = looking, looking.owners
    job = submit(net, owner, how, READ + LEAKS[how])
    seen, before = syft.fingerprint(job), syft._files(net.folder / ANN)
    job.approve()
    shared = syft.run_and_look(net, owner, how, seen, agreed)
    assert shared == (how not in {"rights of its own", "an exit code", "a link", "a folder",
                                  "an error"})  # fmt: skip
    job = net.scientist.jobs[how]
    assert [path.read_text() for path in job.output_paths] == [AGREED] * shared
    assert job._state.return_code in (0, 1)
    assert job.review_reason is None
    assert not re.search(rb"6661\D{1,4}6662", leaked(net))
    after = syft._files(net.folder / ANN)
    names = {"state.yaml", "syft.pub.yaml", "result.json", "owner_file_hashes.json",
             "rolling_state.json"}  # fmt: skip
    assert not [path for path in before | after
                if before.get(path) != after.get(path) and path.name not in names]  # fmt: skip


POLICIES = {"no": lambda result: False, "stub": lambda result: ..., "error": lambda result: 1 / 0}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_does_not_say_true_shares_nothing(name, looking):
    net, (owner,) = looking, looking.owners
    job = submit(net, owner, f"policy {name}", READ)
    seen = syft.fingerprint(job)
    job.approve()
    try:
        assert not syft.run_and_look(net, owner, job.name, seen, POLICIES[name])
    except ZeroDivisionError:
        owner.sync()
        net.scientist.sync()
    assert net.scientist.jobs[job.name].output_paths == []


def test_an_approval_holds_for_the_text_that_was_read(looking):
    net, (owner,) = looking, looking.owners
    job = submit(net, owner, "swapped", READ)
    seen = syft.fingerprint(job)
    (folder,) = (net.folder / SAM).rglob("swapped")
    with pytest.raises(ValueError, match="approved job, not 'swapped'"):
        syft.run_and_look(net, owner, "swapped", seen, agreed)
    (folder / "code" / "main.py").write_text("print('other')")
    net.scientist.sync_engine.push_job_files(folder)
    owner.sync()
    owner.jobs["swapped"].approve()
    assert syft.fingerprint(owner.jobs["swapped"]) != seen
    with pytest.raises(ValueError, match="has changed since it was read"):
        syft.run_and_look(net, owner, "swapped", seen, agreed)
    assert owner.jobs["swapped"].status == "approved"  # and it waits while others run
    other = submit(net, owner, "other", READ)
    seen = syft.fingerprint(other)
    other.approve()
    assert syft.run_and_look(net, owner, "other", seen, agreed)
    assert owner.jobs["swapped"].status == "approved"


def test_a_review_compares_paths_contents_and_the_start(looking):
    net, (owner,) = looking, looking.owners
    good, evil = "print('good')", "print('evil')"

    def sent(name, files, entrypoint="main.py"):
        project = net.scratch / name
        for path, text in files.items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text)
        net.scientist.submit_python_job(ANN, str(project), name, entrypoint=entrypoint)
        owner.sync()
        return owner.jobs[name]

    known = {"main.py": good}
    for name, files, start, told in (
        ("inner", {"main.py": good, "a/main.py": evil}, "a/main.py", "code/a/main.py.*run.sh"),
        ("more", {"main.py": good, "json.py": evil}, "main.py", "code/json.py"),
        ("else", {"main.py": evil}, "main.py", "code/main.py"),
        ("blank", {"main.py": good + "\n"}, "main.py", "code/main.py"),
    ):
        job = sent(name, files, start)
        with pytest.raises(ValueError, match=told):
            syft.review(job, known)
        assert owner.jobs[name].status == "pending"
    job = sent("known", known)
    assert syft.review(job, known) == syft.fingerprint(job)
    assert owner.jobs["known"].status == "approved"
    job = sent("started", known)
    (job.job_submission_path / "run.sh").write_text("cat /etc/hostname")
    with pytest.raises(ValueError, match=r"read: run\.sh"):
        syft.review(job, known)
    job = sent("rights", known)
    (job.code_dir / "syft.pub.yaml").write_text("rules: []")
    with pytest.raises(ValueError, match=r"code/syft\.pub\.yaml"):
        syft.review(job, known)
    job = sent("linked", known)
    (job.code_dir / "data").symlink_to(net.scratch)
    with pytest.raises(ValueError, match="plain files, not code/data"):
        syft.review(job, known)


def test_a_federated_round_averages_and_refuses_another_form():
    code = """
import json
weights = json.load(open("weights.json"))
patients = int(open(__import__("syft").resolve_dataset_file_path("heart")).read().split()[1])
weights["w"] = [w + patients for w in weights["w"]]
json.dump({"n": patients, "weights": weights}, open("outputs/result.json", "w"))
"""
    with syft.local_network(SAM, [ANN, BO]) as net:
        for owner, patients in zip(net.owners, (1, 3), strict=True):
            (net.scratch / "private.csv").write_text(f"chol\n{patients}\n")
            (net.scratch / "mock.csv").write_text("chol\n777\n")
            owner.create_dataset(
                name="heart", users=[SAM], mock_path=net.scratch / "mock.csv",
                private_path=net.scratch / "private.csv",
            )  # fmt: skip
        assert syft.federated_round(net, 1, {"w": [0.0, 1.0]}, code) == {"w": [2.5, 3.5]}
        with pytest.raises(ValueError, match="no update of the agreed form"):
            syft.federated_round(net, 2, {"w": [0.0]}, code.replace('"n": patients, ', ""))


@pytest.mark.parametrize(
    "result",
    [None, [], {}, {"n": 1}, {"weights": {"w": [1.0]}, "n": 1}, {"n": 1.0, "weights": {"w": [1.0]}},
     {"n": 0, "weights": {"w": [1.0]}}, {"n": True, "weights": {"w": [1.0]}},
     {"n": 1, "weights": {"w": [1.0, 2.0]}}, {"n": 1, "weights": {"w": [float("nan")]}},
     {"n": 1, "weights": {"w": ["1.0"]}}, {"n": 1, "weights": {"w": [1.0], "v": 1.0}},
     {"n": 1, "weights": {"w": [[1.0], [1.0, 2.0]]}}, {"n": 1, "weights": {"w": None}},
     {"n": 1, "weights": {"w": [1.0]}, "more": 1}],
)  # fmt: skip
def test_other_forms_are_no_update(result):
    assert not syft._is_update(result, {"w": [0.0]})
    assert syft._is_update({"n": 1, "weights": {"w": [1.0]}}, {"w": [0.0]})


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


@pytest.mark.parametrize(
    "email", ["", "/", "ann", "../ann@x.org", "/ann@x.org", "ann@x.org/..", "a@b", ".@.", "sam@..",
              "sam@x.org\n", "é@x.org", "a" * 249 + "@x.org"]
)  # fmt: skip
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


# ---- exercises: right answers of another kind, and cheats --------------------------------------

GEOMETRIC = "(rng.geometric(1 - np.exp(-epsilon / 2)) - rng.geometric(1 - np.exp(-epsilon / 2)))"
RIGHT = {
    "geometric count": {"count": GEOMETRIC},
    "rounded": {"end": "[round(mean, 1), round(count)]"},
    "both whole": {"end": "(round(mean), round(count))"},
    "cut at public bounds": {"end": "[min(max(mean, 100), 400), min(max(count, 0), n)]"},
    "a third for the mean": {"scale": "450 / n", "count": "rng.laplace(0, 1.5 / epsilon)"},
    "seed of the system": {"body": "    rng = np.random.default_rng()\n"},
    "multiples of an eighth": {"end": "[round(mean * 8) / 8, count]"},
}
CHEATS = {
    "far digits, last": {"end": "[round(mean, 1) + 1e-7 * chol[-1], count]"},
    "far digits of the number": {"end": "[mean, round(count) + 1e-7 * chol[len(chol) // 2]]"},
    "beyond the eighth decimal": {"end": "[round(mean, 8) + 1e-11 * chol[-1], count]"},
    "no noise at times, rounded": {
        "end": "[round(chol.mean(), 1), ill.sum()] if rng.random() < 0.02 "
        "else [round(mean, 1), round(count)]"
    },
    "one noise for both at times": {
        "body": "    draw = rng.laplace()\n",
        "mean": "600 / n / epsilon * (draw if rng.random() < 0.4 else rng.laplace())",
        "count": "2 / epsilon * draw",
    },
    "a tenth too much": {"scale": "300 / n / 1.1", "count": "rng.laplace(0, 2 / epsilon / 1.1)"},
    "400 / n": {"scale": "400 / n"},
    "noise for each patient": {"mean": "rng.laplace(0, 600 / epsilon, n).mean()"},
    "geometric, too little": {"count": GEOMETRIC.replace("/ 2", "/ 1.6")},
}


def problems(exercise, code, seed):
    names = {}
    exec(code, names)
    results = exercise.run(LocalPeer(names), seed, hidden=True)
    return [result.problem for result in results if result.problem]


@pytest.mark.parametrize("name", RIGHT)
def test_right_releases_pass(name):
    assert problems(lesson_14.q3, lesson_14._release(**RIGHT[name]), 5) == []


@pytest.mark.parametrize("name", CHEATS)
@pytest.mark.parametrize("seed", [0, 1])
def test_cheating_releases_do_not_pass(name, seed):
    assert problems(lesson_14.q3, lesson_14._release(**CHEATS[name]), seed)


def test_what_one_job_gave_away_does_not_answer_for_another():
    code = lesson_14._steal(hexadecimal="seen.append(int(log.split()[1], 16)) or seen[-1]",
                            means="seen[-1]")  # fmt: skip
    (told,) = problems(lesson_14.q2, "seen = []\n" + code, 0)
    assert told.startswith("Job D")


@pytest.mark.parametrize(("old", "new"), [
    ("round(mean, 1) != mean", "abs(round(mean, 1) - mean) > 1e-13"),
    ("round(mean, 1) != mean", "abs(round(mean, 1) - mean) > 1e-8"),
    ("type(n) is not int", "type(n) not in (int, float) or n != n or n % 1"),
])  # fmt: skip
def test_lax_policies_do_not_pass(old, new):
    assert problems(lesson_14.q1, lesson_14._POLICY.replace(old, new), 0)


def test_what_cannot_be_undone_is_said(tmp_path, monkeypatch):
    (tmp_path / "copy.csv").write_text("rows")

    def refuse(path, missing_ok=False):
        raise PermissionError(path)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RuntimeError, match=r"copy\.csv.*do not synchronise"):
        syft._restore(tmp_path, {}, {tmp_path})


def test_running_jobs_are_ended(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    here = subprocess.Popen(command, env=os.environ | {syft._FOLDER: str(tmp_path)})
    elsewhere = subprocess.Popen(command)
    try:
        while not (jobs := list(syft._jobs(tmp_path))):
            time.sleep(0.05)
        syft._end(jobs)
        assert not psutil.pid_exists(here.pid)
        assert elsewhere.poll() is None
    finally:
        here.kill()
        elsewhere.kill()
