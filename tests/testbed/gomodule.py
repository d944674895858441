"""Binaries that are compiled once from a pinned Go module and kept in the user's cache.

The key of a cached build is what went into it: go.mod, go.sum, the mains, the build flags and the
version of Go. So a changed pin rebuilds by itself, and switching back costs nothing.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed.errors import BuildFailedError, MachineLacksError

Say = Callable[[str], None]
"""Takes one line of progress, without a line break."""

PROGRESS_EVERY_S = 10.0
TAIL_LINES = 15


def quiet(_line: str) -> None:
    """Progress for nobody."""


def cache_directory() -> Path:
    """Where builds are kept; never in the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "slaplanner-testbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """A Go module of the repository and the commands built from it."""

    directory: Path
    packages: Mapping[str, str]
    """Binary name -> package path, as `go build` takes it."""
    ldflags: str = "-s -w"
    tags: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.directory.name

    def cached(self, binary: str) -> Path | None:
        """The built *binary*; without Go on the machine, of any Go version."""
        go = go_version(self.directory)
        candidates = (
            [self._home(go)] if go else sorted(cache_directory().glob(f"{self.name}-{self._sources()}-*"))
        )
        return next((home / binary for home in candidates if (home / binary).is_file()), None)

    def build(self, *binaries: str, say: Say = quiet) -> dict[str, Path]:
        """Compile those of *binaries* that the cache lacks; minutes when it is cold.

        Safe against a second process that wants the same: it waits and finds them done.

        Raises:
            MachineLacksError: there is no Go.
            BuildFailedError: the compiler, or the download of modules, failed.
        """
        go = go_version(self.directory)
        if go is None:
            wanted = ", ".join(binaries)
            raise MachineLacksError(f"{wanted} must be compiled, and there is no `go` on PATH")
        home = self._home(go)
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home.with_name(f"{home.name}.lock"), say=say):
            missing = [binary for binary in binaries if not (home / binary).is_file()]
            for number, binary in enumerate(missing, start=1):
                self._compile(binary, home, say=say, position=f"{number} of {len(missing)}")
        return {binary: home / binary for binary in binaries}

    def _compile(self, binary: str, home: Path, *, say: Say, position: str) -> None:
        say(f"compiling {binary} ({position}), once: it stays in {home}")
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            built = Path(scratch) / binary
            command = [
                *("go", "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"),
                *("-tags", ",".join(self.tags), "-ldflags", self.ldflags),
                *("-o", str(built), self.packages[binary]),
            ]
            _run_with_progress(command, self.directory, what=binary, say=say)
            built.replace(home / binary)

    def _home(self, go: str) -> Path:
        return cache_directory() / f"{self.name}-{self._sources()}-{go}"

    def _sources(self) -> str:
        digest = hashlib.sha256(repr((sorted(self.packages.items()), self.ldflags, self.tags)).encode())
        files = [self.directory / "go.mod", self.directory / "go.sum", *sorted(self.directory.rglob("*.go"))]
        for file in files:
            digest.update(str(file.relative_to(self.directory)).encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:12]


def go_version(directory: Path) -> str | None:
    """The version of the Go that would compile in *directory*, as in `go1.26.8`; None without one."""
    if shutil.which("go") is None:
        return None
    answer = subprocess.run(
        ["go", "env", "GOVERSION"], cwd=directory, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def module_directory(module: GoModule, path: str) -> Path:
    """Where the source of the Go module *path*, of the version that *module* pins, lies on this machine.

    Raises:
        MachineLacksError: there is no Go.
        BuildFailedError: it could not be downloaded.
    """
    if go_version(module.directory) is None:
        raise MachineLacksError(f"files of {path} are needed, and there is no `go` on PATH")
    answer = subprocess.run(
        ["go", "mod", "download", "-json", path],
        cwd=module.directory,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise BuildFailedError(
            f"`go mod download {path}` ended with code {answer.returncode}:\n{answer.stderr}"
        )
    return Path(json.loads(answer.stdout)["Dir"])


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


def _run_with_progress(command: list[str], directory: Path, *, what: str, say: Say) -> None:
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    packages = 0
    done = threading.Event()
    started = time.monotonic()

    def report() -> None:
        while not done.wait(PROGRESS_EVERY_S):
            say(f"compiling {what}: {packages} packages, {time.monotonic() - started:.0f} s")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                tail.append(line.rstrip())
                packages += not line.startswith("go: ")
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        done.set()
        reporter.join()
    if code != 0:
        raise BuildFailedError(f"`go build` of {what} ended with code {code}:\n" + "\n".join(tail))
    say(f"compiled {what} in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def _locked(path: Path, *, say: Say) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is compiling the same parts: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
