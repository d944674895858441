"""A bed that stands in the background, between two commands at a terminal.

`up` starts a keeper, a process of its own session that owns the servers, and waits until it has
written the address book. The keeper holds a lock for as long as it lives, so a book without a
locked lock is of a bed that is gone.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.testbed.bed import Bed
from tests.testbed.errors import PartFailedError
from tests.testbed.gomodule import Say
from tests.testbed.processes import POLL_S, wait_until

DIRECTORY = Path(tempfile.gettempdir()) / f"slaplanner-testbed-{os.getuid()}"
LOG = DIRECTORY / "keeper.log"
_BOOK = DIRECTORY / "addresses.json"
_LOCK = DIRECTORY / "keeper.lock"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the standing bed is reached."""

    kubeconfig: str
    prometheus_url: str
    bin_directory: str
    """Holds the kubectl that fits, and nothing else: for PATH."""


def standing() -> Addresses | None:
    """The bed that stands now, None without one."""
    if not _keeper_alive() or not _BOOK.exists():
        return None
    return Addresses(**json.loads(_BOOK.read_text()))


def start(*, say: Say) -> Addresses:
    """The standing bed, started when there is none.

    Raises:
        PartFailedError: the keeper ended or took too long; with what it logged.
    """
    if already := standing():
        return already
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    _BOOK.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.testbed", "keep"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    said = 0
    deadline = time.monotonic() + START_TIMEOUT_S
    while (found := standing()) is None:
        lines = LOG.read_text(errors="replace").splitlines()
        for line in lines[said:]:
            say(line)
        said = len(lines)
        if keeper.poll() is not None or time.monotonic() > deadline:
            stop()
            raise PartFailedError(f"the bed did not come up:\n{LOG.read_text(errors='replace')}")
        time.sleep(POLL_S)
    # It is to outlive this process, so nobody will wait for it here.
    keeper.returncode = 0
    return found


def stop() -> bool:
    """End the keeper and with it all servers; False when none stood."""
    if not _keeper_alive():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(_LOCK.read_text()), signal.SIGTERM)
    wait_until(lambda: not _keeper_alive(), what="the bed to stop", timeout_s=STOP_TIMEOUT_S)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    return True


def keep(*, say: Say) -> None:
    """Be the keeper: start the parts, write the book, wait for SIGTERM."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda *_: sys.exit(0))
    with _LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with Bed(say=say) as bed:
            tools = bed.directory / "bin"
            tools.mkdir()
            (tools / "kubectl").symlink_to(bed.control_plane.kubectl_binary)
            book = Addresses(
                kubeconfig=str(bed.control_plane.kubeconfig),
                prometheus_url=bed.prometheus.url,
                bin_directory=str(tools),
            )
            draft = _BOOK.with_suffix(".draft")
            draft.write_text(json.dumps(asdict(book)))
            draft.replace(_BOOK)
            signal.pause()


def _keeper_alive() -> bool:
    try:
        lock = _LOCK.open("r")
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
