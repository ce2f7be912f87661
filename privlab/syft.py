"""A network of PySyft clients on one machine: a data scientist, data owners, and the drive between.

PySyft 0.10 (``syft`` and ``syft-rds``) sends files through Google Drive. Its wheel brings a mock
Drive that keeps them in memory, and here that one stands in; clients, folders, messages, encryption
and jobs, which run as processes, are the library's own.

:func:`local_network` makes the network in a temporary folder. A small process of its own guards it:
when the network is closed, and when the notebook's process ends in whatever way, the guard ends the
jobs that still run and removes the folder.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Where a job finds the folder of the owner that runs it; PySyft sets it for each job.
_FOLDER = "SYFTBOX_FOLDER"


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
        ValueError: An address is missing, comes twice, or is none.
    """
    emails = [scientist, *owners]
    for email in emails:
        # An address names a folder: one with a slash in it could lie anywhere on this machine.
        if not re.fullmatch(r"[\w.+-]+@[\w.-]+", email):
            raise ValueError(f"scientist and owners must be e-mail addresses, not {email!r}")
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


def _guard(folder: Path) -> None:
    """Wait until the pipe ends; then end the jobs and remove the folder."""
    import psutil

    sys.stdin.buffer.read()
    jobs = list(_jobs(folder))
    for job in jobs:
        with contextlib.suppress(psutil.Error):
            job.kill()
    psutil.wait_procs(jobs, timeout=10)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
