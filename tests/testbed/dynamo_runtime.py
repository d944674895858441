"""Dynamo's own runtime, to speak with: its wheel in a virtual environment of its own.

It pins pydantic below what the Kubernetes client needs, so the two cannot share one. Made once, kept
in the user's cache.
"""

import contextlib
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.testbed.errors import BuildFailedError
from tests.testbed.gomodule import Say, cache_directory, quiet

VERSION = "1.6.1"
_CHECK = "from dynamo._core import VirtualConnectorClient, VirtualConnectorCoordinator"


def find_dynamo_runtime(*, say: Say = quiet) -> Path:
    """The Python that has the wheel `ai-dynamo-runtime`; installed when the cache lacks it.

    Raises:
        BuildFailedError: it cannot be installed; the message has the tail of the installer's output.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = cache_directory() / f"dynamo-runtime-{VERSION}-py{python}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        interpreter = home / "bin" / "python"
        if _works(interpreter):
            return interpreter
        shutil.rmtree(home, ignore_errors=True)
        say(f"installing ai-dynamo-runtime {VERSION} (once, about half a minute)")
        _run([sys.executable, "-m", "venv", str(home)])
        _run([str(interpreter), "-m", "pip", "install", "--quiet", f"ai-dynamo-runtime=={VERSION}"])
        if not _works(interpreter):
            raise BuildFailedError(f"ai-dynamo-runtime {VERSION} was installed and does not import")
    return interpreter


def _works(interpreter: Path) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run([interpreter, "-c", _CHECK], capture_output=True, check=False).returncode == 0
    return False


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailedError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
