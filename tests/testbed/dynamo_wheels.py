"""Dynamo's own parts, from its wheels: each version in a virtual environment of its own.

They pin pydantic below what the Kubernetes client needs, so the two cannot share one. Made once, kept
in the user's cache. What goes in is pinned in `tests/dynamo/wheels/<version>.txt`.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.testbed.binaries import TESTS
from tests.testbed.errors import BuildFailedError
from tests.testbed.gomodule import Say, cache_directory, quiet

WHEELS = TESTS / "dynamo/wheels"
WORKERS_VERSION = "1.4.2"
"""The newest whose simulated workers have all they need on PyPI; frontends of other versions serve with them."""
FRONTEND_VERSIONS = ("1.2.1", "1.4.2", "1.6.1")
NEWEST = FRONTEND_VERSIONS[-1]


def find_dynamo(version: str, *, say: Say = quiet) -> Path:
    """The Python that has Dynamo *version*; installed when the cache lacks it.

    Raises:
        BuildFailedError: it cannot be installed; the message has the tail of the installer's output.
    """
    pins = WHEELS / f"{version}.txt"
    key = hashlib.sha256(pins.read_bytes()).hexdigest()[:8]
    home = cache_directory() / f"dynamo-{version}-{key}-py{sys.version_info.major}.{sys.version_info.minor}"
    interpreter, complete = home / "bin" / "python", home / "complete"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.is_file():
            shutil.rmtree(home, ignore_errors=True)
            say(f"installing ai-dynamo {version} and what it needs (once, about a minute)")
            _run([sys.executable, "-m", "venv", str(home)])
            # All is pinned, so nothing is left to resolve: 1.6.1 asks for a package that has no wheel here.
            install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-compile",
                "--requirement",
                str(pins),
            ]
            _run([str(interpreter), *install])
            _run([str(interpreter), "-c", "import dynamo._core"])
            complete.touch()
    return interpreter


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailedError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
