"""NVIDIA's own frontend and simulated workers (the mocker) as processes on loopback.

They find each other through a directory (`DYN_FILE_KV`), as in a cluster they do through its API, and are
told their namespaces as Dynamo's operator tells them: a worker's has the suffix of its revision, a
frontend serves all that begin with its deployment's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import Server, free_port
from tests.testbed.dynamo_wheels import WORKERS_VERSION, find_dynamo
from tests.testbed.errors import PartFailedError
from tests.testbed.gomodule import Say, quiet
from tests.testbed.processes import loopback_session

MODEL_FILES = Path(__file__).with_name("model_files.py")
CONVERTER = "dynamo.mocker.utils.planner_profiler_perf_data_converter"
ALL_WORDS = 1000
"""So many different tokens does a simulated worker answer with."""
ANSWER_TIMEOUT_S = 5.0
HEALTH_TIMEOUT_S = 0.5
"""Who does not answer so soon is asked again."""
START_TIMEOUT_S = 300.0
"""A worker needs about five seconds of a core; several start at once on a machine that has two."""

PLANES = ("--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as workers register it."""

    name: str
    directory: Path
    speeds: Path
    """How fast a worker is, in the mocker's own format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One deployment's processes: where they meet, write and log."""

    directory: Path
    namespace: str
    """`{k8s namespace}-{name of the deployment}`."""

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "DYN_FILE_KV": str(self.directory / "discovery"),
            "DYN_LOG": "warn",
            "DYN_TCP_RPC_HOST": "127.0.0.1",
            # Frontends keep copies of models there.
            "HOME": str(self.directory),
            **more,
        }


def make_speeds(directory: Path, *, profile: Path, say: Say = quiet) -> Path:
    """How fast workers are that *profile* measured (a directory as Dynamo's profiler writes it), read by Dynamo."""
    convert = ["-m", CONVERTER, "--profile_results_dir", str(profile), "--output_dir", str(directory)]
    _run([str(find_dynamo(WORKERS_VERSION, say=say)), *convert])
    return directory / "perf_data.npz"


def make_model(
    directory: Path, *, name: str, speeds: Path, words: int = ALL_WORDS, say: Say = quiet
) -> Model:
    """A small model that clients call *name*.

    Args:
        directory: where its files shall lie.
        name: what clients call it.
        speeds: how fast its workers are.
        words: of the thousand tokens that answers consist of, so many decode to text.
        say: takes progress.
    """
    _run([str(find_dynamo(WORKERS_VERSION, say=say)), str(MODEL_FILES), str(directory), str(words)])
    return Model(name=name, directory=directory, speeds=speeds)


class Frontend:
    """Dynamo's HTTP frontend with its KV router."""

    def __init__(
        self,
        site: Site,
        *,
        version: str = WORKERS_VERSION,
        router_mode: str = "kv",
        environment: Mapping[str, str] | None = None,
        say: Say = quiet,
    ) -> None:
        site.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = loopback_session()
        self._server = Server(
            "frontend",
            [
                *(find_dynamo(version, say=say), "-m", "dynamo.frontend", "--http-host", "127.0.0.1"),
                *("--http-port", str(self.port), "--router-mode", router_mode, *PLANES),
            ],
            log=site.directory / f"frontend-{self.port}.log",
            env=site.environment(DYN_NAMESPACE_PREFIX=site.namespace, **(environment or {})),
        )

    @property
    def address(self) -> str:
        """What Prometheus scrapes."""
        return self.url.removeprefix("http://")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self._server.wait_ready(self.answers, timeout_s=START_TIMEOUT_S)

    def launch(self) -> None:
        self._server.start()

    def answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/health", timeout=HEALTH_TIMEOUT_S).ok
        except OSError:
            return False

    def stop(self, *, grace_s: float = 5) -> None:
        self._server.stop(grace_s=grace_s)

    def metrics(self) -> str:
        return self._http.get(f"{self.url}/metrics", timeout=ANSWER_TIMEOUT_S).text

    def models(self) -> list[str]:
        """The models that it can serve now."""
        answer = self._http.get(f"{self.url}/v1/models", timeout=ANSWER_TIMEOUT_S)
        return [one["id"] for one in answer.json()["data"]]

    def wait_for_model(self, name: str) -> None:
        self._server.wait_ready(lambda: name in self.models(), timeout_s=START_TIMEOUT_S)

    def tail(self) -> str:
        return self._server.tail()


class Worker:
    """One simulated worker, as a replica of a deployment is."""

    def __init__(self, site: Site, model: Model, *, mode: str, revision: str = "", say: Say = quiet) -> None:
        site.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._http = loopback_session()
        self._server = Server(
            f"{mode} worker",
            [
                *(find_dynamo(WORKERS_VERSION, say=say), "-m", "dynamo.mocker"),
                *("--model-path", model.directory, "--model-name", model.name, "--disaggregation-mode", mode),
                *("--planner-profile-data", model.speeds, *PLANES),
            ],
            log=site.directory / f"{mode}-{self.port}.log",
            env=site.environment(
                DYN_NAMESPACE=site.namespace,
                # Without a port of its own, a frontend asks for the model's files elsewhere.
                DYN_SYSTEM_PORT=str(self.port),
                **({"DYN_NAMESPACE_WORKER_SUFFIX": revision} if revision else {}),
            ),
        )

    @property
    def running(self) -> bool:
        return self._server.running

    def start(self) -> None:
        self._server.start()

    def ready(self) -> bool:
        """Whether it has registered itself."""
        try:
            answer = self._http.get(f"http://127.0.0.1:{self.port}/health", timeout=HEALTH_TIMEOUT_S).json()
        except OSError:
            return False
        return bool(answer["endpoints"].get("generate") == "ready")

    def wait_ready(self) -> None:
        self._server.wait_ready(self.ready, timeout_s=START_TIMEOUT_S)

    def stop(self, *, grace_s: float = 5) -> None:
        self._server.stop(grace_s=grace_s)

    def tail(self) -> str:
        return self._server.tail()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PartFailedError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
