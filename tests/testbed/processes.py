"""Starting, watching and stopping a server as a child process.

Each server gets a process group of its own (Ctrl-C in the terminal reaches its owner, not the
server, so that shutting down keeps its order) and a log file. Readiness is polled against a
deadline; a server that dies meanwhile is reported at once, with the tail of its log.
"""

import atexit
import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests

from tests.testbed.errors import PartFailedError

LOG_TAIL_LINES = 25
POLL_S = 0.05
# Below Linux's range of ports for outgoing connections (32768 and up): a server that is down for a
# while finds its port free when it returns.
PORT_RANGE = range(20_000, 32_000)
PORT_LOCKS = Path(tempfile.gettempdir()) / f"slaplanner-testbed-ports-{os.getuid()}"


def loopback_session() -> requests.Session:
    """HTTP to a server of this machine, whatever proxies and CA bundles the environment names."""
    session = requests.Session()
    session.trust_env = False
    return session


def free_port() -> int:
    """A TCP port that nobody listens on now, and that no other bed is given while this process lives."""
    PORT_LOCKS.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(PORT_RANGE, k=200):
        # Between the choice and the server's start lie seconds, and several beds look for ports at once.
        lock = os.open(PORT_LOCKS / str(port), os.O_CREAT | os.O_RDWR, 0o600)
        with socket.socket() as probe, contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
        os.close(lock)
    raise PartFailedError(f"no free TCP port among 200 tried in {PORT_RANGE}")


def wait_until(
    probe: Callable[[], object], *, what: str, timeout_s: float = 60, poll_s: float = POLL_S
) -> None:
    """Poll *probe* until it answers something true.

    Raises:
        PartFailedError: *timeout_s* passed; the message names *what* and the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise PartFailedError(f"waited {timeout_s:g} s for {what}; the last answer was {answer!r}")
        time.sleep(poll_s)


class _Reaper:
    """This process's line to its reaper (see `tests.testbed.reaper`), started with the first server."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def tell(self, sign: str, group: int) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-E", "-S", str(Path(__file__).with_name("reaper.py"))],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            atexit.register(self._close)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{sign}{group}\n")
            self._process.stdin.flush()

    def _close(self) -> None:
        if self._process is not None:
            self._process.communicate()


_reaper = _Reaper()


class Server:
    """One server process: its command, its log, its life."""

    def __init__(
        self, name: str, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
    ):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process; a no-op when it runs. A restart appends to the same log."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        _reaper.tell("+", self._process.pid)

    def wait_ready(self, probe: Callable[[], bool], *, timeout_s: float = 60) -> None:
        """Poll *probe* (which may raise `requests.RequestException` while nobody listens yet).

        Raises:
            PartFailedError: the process ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                code = self._process.returncode if self._process is not None else None
                raise PartFailedError(
                    f"{self.name} ended with code {code} before it was ready\n{self.tail()}"
                )
            try:
                if probe():
                    return
                answer = "it answers that it is not"
            except requests.RequestException as error:
                answer = str(error)
            if time.monotonic() > deadline:
                raise PartFailedError(
                    f"{self.name} was not ready after {timeout_s:g} s: {answer}\n{self.tail()}"
                )
            time.sleep(POLL_S)

    def stop(self, *, grace_s: float = 5) -> None:
        """SIGTERM, then SIGKILL to the group after *grace_s*; 0 kills at once."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            if grace_s > 0:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=grace_s)
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        _reaper.tell("-", process.pid)

    def tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last *lines* of the log, under a line that says where the rest is."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        shown = "\n".join(text.splitlines()[-lines:]) or "(nothing was logged)"
        return f"--- {self.name}, end of {self.log}\n{shown}"
