"""A network of PySyft clients on one machine: a data scientist, data owners, and the drive between.

PySyft 0.10 (``syft`` and ``syft-rds``) sends files through Google Drive. Its wheel brings a mock
Drive that keeps them in memory, and here that one stands in; clients, folders, messages, encryption
and jobs, which run as processes, are the library's own.

:func:`local_network` makes the network in a temporary folder. A small process of its own guards it:
when the network is closed, and when the notebook's process ends in whatever way, the guard ends the
jobs that still run and removes the folder.

What an owner needs beside the library: :func:`review` and :func:`fingerprint` bind an approval to
the text that was read, :func:`run_and_look` lets nothing out but a result that a policy has
checked, and :func:`federated_round` uses both.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

#: Where a job finds the folder of the owner that runs it; PySyft sets it for each job.
_FOLDER = "SYFTBOX_FOLDER"

#: An address names a folder: no slash, no leading dot, and no longer than a file name may be.
_ADDRESS = re.compile(r"[\w+-][\w.+-]*@\w[\w-]*(\.\w[\w-]*)+", re.ASCII)
_LONGEST_ADDRESS = 254


class Network:
    """Clients that share one mock Drive; also a context manager that closes itself.

    Attributes:
        folder: Holds everything; each client has a folder of its own in it.
        scratch: A folder for files of the notebook.
        scientist: The data scientist, a ``syft_rds.SyftRDSClient``.
        owners: The data owners, ``SyftRDSClient`` as well, in the order given.
    """

    def __init__(self, scientist: str, owners: Sequence[str], encryption: bool) -> None:
        from syft.sync.connections.drive.mock_drive_service import MockDriveBackingStore

        self.folder = Path(tempfile.mkdtemp(prefix="privlab_syft_"))
        self._guard = _start_guard(self.folder)
        try:
            self._drive = MockDriveBackingStore()
            self.scratch = self.folder / "scratch"
            self.scratch.mkdir()
            self.scientist = self._client(scientist, owner=False, encryption=encryption)
            self.owners = [self._client(email, True, encryption) for email in owners]
            for owner in self.owners:
                self.scientist.add_peer(owner.email, sync=False)
                owner.load_peers()
                owner.approve_peer_request(scientist)
            self.scientist.load_peers()
        except BaseException:
            self.close()
            raise

    def _client(self, email: str, owner: bool, encryption: bool) -> Any:
        """Make a client and attach it to the drive.

        These are the steps of ``pair_with_mock_drive_service_connection``, which makes one owner
        and one scientist, for any number of owners.
        """
        from syft.sync.connections.drive.gdrive_transport import GDriveConnection
        from syft.sync.connections.drive.mock_drive_service import MockDriveService
        from syft_rds import SyftRDSClient, SyftRDSClientConfig

        config = SyftRDSClientConfig._base_config_for_testing(
            email=email, syftbox_folder=self.folder / email, has_do_role=owner,
            has_ds_role=not owner, use_in_memory_cache=False, write_files=True,
        )  # fmt: skip
        client = SyftRDSClient.from_config(config)
        engine = client.sync_engine
        service = MockDriveService(self._drive, email)
        engine._add_connection(GDriveConnection.from_service(email, service))
        if owner:
            handler = engine.job_file_change_handler._handle_file_change
            cache = engine.datasite_owner_syncer.event_cache
            cache.add_callback("on_event_local_write", handler)
        else:
            changed = engine.datasite_watcher_syncer.on_file_change
            engine.file_writer.add_callback("write_file", changed)
        engine.peer_manager.write_own_version()
        if encryption:
            engine._init_encrypted_peer_store()
        client.job_client._generate_python_run_script = _run_script
        return client

    def on_the_drive(self) -> bytes:
        """Return what lies on the drive, unpacked: what its operator can read."""
        return b"".join(_unpacked(file.content or b"") for file in self._drive.files.values())

    def close(self) -> None:
        """End the jobs that still run and remove the folder; a second call does nothing."""
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()
            self._guard.wait(timeout=60)

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def local_network(scientist: str, owners: Sequence[str], encryption: bool = False) -> Network:
    """Make a network of one data scientist and some data owners on this machine.

    All are peers that know each other, as after the e-mails of a real project. Jobs run with the
    current interpreter: PySyft's own ``run.sh`` would install an environment over the network.
    Nothing is synchronised but by ``sync()``, and PySyft's modules print nothing.

    Args:
        scientist: An e-mail address.
        owners: An e-mail address each, all different.
        encryption: Whether messages are encrypted from end to end.

    Raises:
        ValueError: An address is missing, comes twice, is none, or has more than 254 characters.
    """
    emails = [scientist, *owners]
    for email in emails:
        if len(email) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(email):
            raise ValueError(
                "scientist and owners must be e-mail addresses of at most "
                f"{_LONGEST_ADDRESS} characters, not {email[:300]!r}"
            )
    if not owners or len(set(emails)) < len(emails):
        raise ValueError(f"owners must be at least one address, all different, not {owners!r}")
    os.environ["PRE_SYNC"] = "false"
    _quiet()
    return Network(scientist, owners, encryption)


def _run_script(entrypoint: str, *unused: Any) -> str:
    """Return the ``run.sh`` of a Python job."""
    return f"#!/bin/bash\nset -euo pipefail\ncd code\nexec '{sys.executable}' {entrypoint}\n"


def _quiet() -> None:
    """Take ``print`` from PySyft's modules: it would fill the notebook."""
    import syft_rds  # noqa: F401  (and with it all of them)

    for name, module in list(sys.modules.items()):
        if name.startswith("syft"):
            module.print = _say_nothing


def _say_nothing(*values: object, **options: object) -> None:
    """Stand in for ``print``."""


def _unpacked(content: bytes) -> bytes:
    """Return the files of an archive; anything else as it is."""
    import io
    import tarfile

    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(content)) as files:
        return b"".join(files.extractfile(file).read() for file in files if file.isfile())
    return content


# ---- what an owner does ------------------------------------------------------------------------


def fingerprint(job: Any) -> str:
    """Return the SHA-256 of all that a job brings: ``code/``, ``run.sh`` and ``config.yaml``.

    PySyft approves the name of a job. Whoever takes the fingerprint when reading, and compares it
    right before the run, approves the text.

    Args:
        job: A ``syft_job.job.JobInfo`` on the owner's side.

    Raises:
        ValueError: A link is among the files: what it leads to can change.
    """
    return hashlib.sha256(repr(sorted(_brought(job).items())).encode()).hexdigest()


def review(job: Any, files: Mapping[str, str], entrypoint: str = "main.py") -> str:
    """Approve a job that is, byte for byte, one that was read before; nothing else.

    Args:
        job: A pending ``JobInfo`` on the owner's side.
        files: The text of each file in ``code/``, by its path relative to that folder.
        entrypoint: Which of them ``run.sh`` starts.

    Returns:
        The job's :func:`fingerprint`, for :func:`run_and_look`.

    Raises:
        ValueError: A file is missing, differs or is one too many; the message names it.
    """
    expected = {f"code/{path}": text.encode() for path, text in files.items()}
    expected["run.sh"] = _run_script(entrypoint).encode()
    found = _brought(job)
    found.pop("config.yaml", None)  # name and time; of it, only the entry point is ever shown
    differ = {
        path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)
    }
    if job.job_metadata.entrypoint != entrypoint:
        differ.add("config.yaml")
    if differ:
        raise ValueError(f"not the job that was read: {', '.join(sorted(differ))}")
    seen = fingerprint(job)
    job.approve()
    return seen


def run_and_look(
    net: Network, owner: Any, name: str, seen: str, policy: Callable[[Any], bool]
) -> bool:
    """Run an approved job; share its result if a policy lets it pass, and nothing else.

    Of all that the job changes in the owner's folder only ``outputs/result.json`` is read, once.
    Every file is then as it was before: logs, the exit code, files beside the code and rights that
    the job gave itself are gone. What is shared is written anew from the parsed result, so that
    spaces, twin keys and spellings of numbers carry nothing. That the job ended, when, and whether
    with an error is still seen.

    It does not hold against a process that outlives the job and writes later, or one that uses the
    network: jobs are not sandboxed. Run them in a container.

    Args:
        net: The network.
        owner: One of its owners.
        name: The job; other approved jobs wait.
        seen: Its :func:`fingerprint`, taken when it was read.
        policy: Gets the parsed JSON; the result passes if it returns True.

    Returns:
        Whether the result was shared.

    Raises:
        ValueError: The job is not approved, or is not the one that was read.
    """
    runner = owner.job_runner
    # Not owner.jobs and owner.process_approved_jobs: by default these synchronise.
    jobs = {each.name: each for each in owner.job_client.jobs}
    if name not in jobs or jobs[name].status != "approved":
        raise ValueError(f"name must be that of an approved job, not {name!r}")
    job, folder = jobs[name], net.folder / owner.email
    reference = runner.manager.find_submission_ref(owner.email, name)
    state = runner.manager.read_state(reference)
    before = _files(folder), _folders(folder)
    if fingerprint(job) != seen:
        raise ValueError(f"the job {name!r} has changed since it was read")
    try:
        runner.process_approved_jobs(False, skip_job_names=[each for each in jobs if each != name])
        done = runner.manager.read_state(reference).status == "done"
        result = _parsed(job.job_review_path / "outputs" / "result.json")
    finally:
        # Whatever ended the call, an interrupt too: no job may go on writing.
        _end(list(_jobs(net.folder)))
        _restore(folder, *before)
    ended = {"status": "done" if done else "failed", "return_code": int(not done)}
    ended["completed_at"] = datetime.now(UTC)
    runner.manager.write_state(reference, state.model_validate(state.model_dump() | ended))
    fine = done and result is not None and policy(result) is True
    if fine:
        outputs = job.job_review_path / "outputs"
        outputs.mkdir(exist_ok=True)
        (outputs / "result.json").write_text(json.dumps(result))
        runner.share_job_results(name, share_outputs=True, share_logs=False)
    owner.sync()
    net.scientist.sync()
    return fine


def result_of(net: Network, name: str) -> Any:
    """Return what the scientist got of a job: the only file in its outputs, parsed as JSON.

    Raises:
        ValueError: There is no such file, more than one, or it is no JSON.
    """
    (file,) = net.scientist.jobs[name].output_paths
    return json.loads(file.read_text())


def federated_round(
    net: Network, number: int, weights: Mapping[str, Any], code: str
) -> dict[str, list]:
    """Send one job to each owner and average what comes back: a round of federated averaging.

    After McMahan, Moore, Ramage, Hampson and Agüera y Arcas (2017), "Communication-efficient
    learning of deep networks from decentralized data", AISTATS. The policy of the owners looks at
    the form alone: finite weights, as many as were sent. Weights tell more than a mean.

    Args:
        net: The network; each owner runs the job of the same name.
        number: Of the round; names the jobs.
        weights: Nested lists of floats, by name.
        code: ``main.py``, which the owners have read. It finds the weights in ``weights.json`` and
            writes ``{"n": patients, "weights": trained}`` to ``outputs/result.json``.

    Returns:
        The mean of the trained weights, weighted by n.

    Raises:
        ValueError: A job was changed on its way, or its result has another form.
    """
    files = {"main.py": code, "weights.json": json.dumps(weights)}
    project = net.scratch / f"round {number}"
    project.mkdir()
    for path, text in files.items():
        (project / path).write_text(text)
    updates = []
    for owner in net.owners:
        name = f"round {number} at {owner.email}"
        net.scientist.submit_python_job(owner.email, str(project), name, entrypoint="main.py")
        owner.sync()
        seen = review(owner.jobs[name], files)
        if not run_and_look(net, owner, name, seen, lambda result: _is_update(result, weights)):
            raise ValueError(f"the job of {owner.email} gave no update of the agreed form")
        updates.append(result_of(net, name))
    sizes = [each["n"] for each in updates]
    return {
        key: np.average([each["weights"][key] for each in updates], axis=0, weights=sizes).tolist()
        for key in weights
    }


def _is_update(result: Any, weights: Mapping[str, Any]) -> bool:
    """Tell whether a result is a number of patients and finite weights of the shapes sent."""
    if type(result) is not dict or list(result) != ["n", "weights"]:
        return False
    if type(result["n"]) is not int or result["n"] < 1 or type(result["weights"]) is not dict:
        return False
    if list(result["weights"]) != list(weights):
        return False
    with contextlib.suppress(ValueError, TypeError):
        got = {key: np.array(value) for key, value in result["weights"].items()}
        return all(
            value.dtype == float and value.shape == np.shape(weights[key])
            and bool(np.isfinite(value).all())
            for key, value in got.items()
        )  # fmt: skip
    return False


def _brought(job: Any) -> dict[str, bytes]:
    """Return the files that a job brought, by their path relative to its folder."""
    folder = job.job_submission_path
    files = {path.relative_to(folder).as_posix(): read for path, read in _files(folder).items()}
    links = [path for path, content in files.items() if content is None]
    if links:
        raise ValueError(f"a job must bring plain files, not {', '.join(links)}")
    return files


def _files(folder: Path) -> dict[Path, bytes | None]:
    """Return the content of each file under a folder; None for what is no plain file.

    No link is followed.
    """
    found = {}
    for root, folders, names in os.walk(folder):
        for path in (Path(root, name) for name in [*folders, *names]):
            if path.is_symlink() or not path.is_dir():
                found[path] = _content(path)
    return found


def _content(path: Path) -> bytes | None:
    """Return what is in a plain file that can be read."""
    with contextlib.suppress(OSError):
        if path.is_file() and not path.is_symlink():
            return path.read_bytes()
    return None


def _parsed(path: Path) -> Any:
    """Return the JSON in a file, None where there is none."""
    content = None if path.parent.is_symlink() else _content(path)
    with contextlib.suppress(ValueError, RecursionError):
        return None if content is None else json.loads(content)
    return None


def _folders(folder: Path) -> set[Path]:
    """Return the folders under a folder; no link is followed."""
    return {Path(root) for root, *_ in os.walk(folder)}


def _restore(folder: Path, files: Mapping[Path, bytes | None], folders: set[Path]) -> None:
    """Make all that is under a folder what it was: see :func:`_files` and :func:`_folders`."""
    for path in sorted(_folders(folder)):  # a job may have locked them
        with contextlib.suppress(OSError):
            path.chmod(0o700)
    stuck = []
    for path, content in _files(folder).items():
        if content is None or files.get(path) != content:
            try:
                path.unlink()
            except OSError:
                stuck.append(path)
    for path in sorted(_folders(folder) - folders, reverse=True):  # the deepest first
        try:
            path.rmdir()
        except OSError:
            stuck.append(path)
    for path in sorted(folders):
        path.mkdir(exist_ok=True)
    for path, content in files.items():
        if content is not None and not path.exists():
            path.write_bytes(content)
    if stuck:
        raise RuntimeError(
            f"what a job wrote cannot be undone ({', '.join(map(str, stuck))}): do not synchronise"
        )


# ---- the guard ---------------------------------------------------------------------------------


def _start_guard(folder: Path) -> subprocess.Popen:
    """Start the process that removes the folder when this one closes the pipe, or ends."""
    command = [sys.executable, "-m", __name__, str(folder)]
    # A session of its own: an interrupt of the notebook, or the end of its group, spares it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip


def _jobs(folder: Path) -> Iterator[Any]:
    """Find the processes of the jobs that run in a folder."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_FOLDER, "").startswith(str(folder)):
                yield process


def _end(jobs: list[Any]) -> None:
    """Kill processes and wait for their end."""
    import psutil

    for job in jobs:
        with contextlib.suppress(psutil.Error):
            job.kill()
    psutil.wait_procs(jobs, timeout=10)


def _guard(folder: Path) -> None:
    """Wait until the pipe ends; then end the jobs and remove the folder."""
    sys.stdin.buffer.read()
    _end(list(_jobs(folder)))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
