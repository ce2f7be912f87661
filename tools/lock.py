"""Write requirements/lab.txt anew from pyproject.toml: ``make lock`` runs this.

Versions that the file names already are kept where they still fit; ``--upgrade`` takes the
newest. pip-tools does the work, in an environment that is thrown away.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lab.txt"
HEADER = (
    "# Every version of the `lab` environment, compiled from pyproject.toml by `make lock`: edit "
    "that\n# file, not this one.\n"
)
OPTIONS = (
    *(f"--extra={name}" for name in ("lessons", "flower", "pysyft", "encryption", "lab", "test")),
    "--strip-extras",
    *("--annotation-style", "line", "--no-header", "--quiet"),
    # The file must not say from where this computer fetches its packages.
    *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
)


def main() -> None:
    """Compile into a draft and put it in place of the old file when all went well."""
    if sys.version_info[:2] != (3, 11):
        sys.exit("make lock needs Python 3.11, the version that the course is tested with.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-tools"], check=True)
        draft = Path(folder) / LOCK.name
        draft.write_bytes(LOCK.read_bytes())
        subprocess.run(
            [
                *(python, "-m", "piptools", "compile", *OPTIONS, *sys.argv[1:]),
                *("--output-file", str(draft), "pyproject.toml"),
            ],
            cwd=ROOT,
            check=True,
        )
        new = LOCK.with_suffix(".new")
        # A build label ("+cpu") belongs to the place where this computer found the file.
        pins = re.sub(r"^(\S+==[^\s+]+)\+\S+", r"\1", draft.read_text(), flags=re.MULTILINE)
        new.write_text(HEADER + pins)
        os.replace(new, LOCK)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"make lock failed: {' '.join(error.cmd[1:4])} … ended with {error.returncode}.")
