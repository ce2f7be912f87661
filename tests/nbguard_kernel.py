# Runs in each kernel that nbguard starts, before the first cell: IPython's start-up folder holds a
# copy. It notes in a file what nbval cannot see. IPython executes it in the notebook's own
# namespace, so everything happens in one function that leaves no name behind.


def _guard():
    import os
    import threading
    import time
    from pathlib import Path

    import ipykernel.zmqshell
    from IPython.core.getipython import get_ipython
    from IPython.utils import _process_common

    # Taken out of the environment, so that what the cells start is not guarded as well.
    log = Path(os.environ.pop("IPYTHONDIR")) / "incidents"

    def note(incident):
        with log.open("a", encoding="utf-8") as file:
            file.write(" ".join(incident.split()) + "\n")

    def note_exit(command, code):
        if code:
            note(f"the shell command {command!r} failed with exit code {code}")

    # `!command`, %pip. Patched below the shell's own methods, because those look the variables
    # for {name} up in the frame that called them.
    call = ipykernel.zmqshell.system

    def system(command):
        code = call(command)
        note_exit(command, code)
        return code

    ipykernel.zmqshell.system = system

    # `x = !command`: IPython itself throws the exit code away.
    handle = _process_common.process_handler

    def process_handler(command, callback, stderr=None):
        def noting(process):
            result = callback(process)
            note_exit(command, process.returncode)
            return result

        return handle(command, noting, stderr)

    _process_common.process_handler = process_handler

    hook = threading.excepthook

    def excepthook(args):
        if args.exc_type is not SystemExit:
            what = f"{args.exc_type.__name__}: {args.exc_value}"
            note(f"an exception in the thread {args.thread and args.thread.name}: {what}")
        hook(args)

    threading.excepthook = excepthook

    before = set(threading.enumerate())

    def settle(seconds):
        """Wait for the threads of the cells, but not for those that libraries keep for good."""
        deadline = time.monotonic() + seconds
        for thread in set(threading.enumerate()) - before:
            of_cells = type(thread).__module__ == "__main__"
            if of_cells or type(thread) in (threading.Thread, threading.Timer):
                thread.join(max(0, deadline - time.monotonic()))

    get_ipython().nbguard_settle = settle


_guard()
del _guard
