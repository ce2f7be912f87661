"""Open JupyterLab on the first notebook: ``make lab`` runs this in the lab environment.

What is written after the script's name goes to JupyterLab: ``make lab LAB_ARGS="--ip=0.0.0.0"``.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST = "notebooks/00_start_here.ipynb"


def has_browser(environ: Mapping[str, str], platform: str, in_container: bool) -> bool:
    """Whether a browser that JupyterLab opens would appear in front of the person.

    Args:
        environ: The environment variables.
        platform: What ``sys.platform`` says.
        in_container: Whether this runs in Docker, Podman or the like.
    """
    if in_container or "SSH_CONNECTION" in environ:
        return False
    return platform != "linux" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def command(browser: bool, root: bool, extra: list[str]) -> list[str]:
    """Return the command line that starts JupyterLab.

    Args:
        browser: Whether to open a browser; without one JupyterLab prints the address only.
        root: Whether this is the root user, whom JupyterLab refuses unless told otherwise.
        extra: Further arguments, which win over the ones given here.
    """
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{FIRST}",
        *([] if browser else ["--no-browser"]),
        *(["--allow-root"] if root else []),
        *extra,
    ]


def main() -> None:
    """Replace this process by JupyterLab, so that Ctrl-C reaches it and nothing else."""
    in_container = (
        "container" in os.environ
        or Path("/.dockerenv").exists()
        or Path("/run/.containerenv").exists()
    )
    browser = has_browser(os.environ, sys.platform, in_container)
    if not browser:
        print(
            "No browser can be opened from here. Open the address with the token that JupyterLab\n"
            "prints below. Over SSH, forward its port first: ssh -L 8888:localhost:8888 HOST.\n"
            'In a container, publish the port and start with: make lab LAB_ARGS="--ip=0.0.0.0"',
            flush=True,
        )
    # JupyterLab's terminals and `!` cells then find `privlab` and the right `python`.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = command(browser, os.geteuid() == 0, sys.argv[1:])
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    main()
