"""A deployment that real Dynamo processes serve, its clients, and how its frontend is scraped."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slaplanner_lab.fleet.graph import Graph
from slaplanner_lab.fleet.options import Options
from tests.dynamo.client import Answer, Request, rise_and_fall
from tests.dynamo.engines import ProcessEngines
from tests.dynamo.parts import START_TIMEOUT_S, make_model, make_speeds
from tests.fleet_program import TABLES, FleetProgram, running_fleet
from tests.testbed import Target, wait_until
from tests.testbed.gomodule import Say, quiet
from tests.testbed.processes import loopback_session


class RealServing:
    """A fleet whose graphs have processes of their own."""

    def __init__(self, program: FleetProgram) -> None:
        self._program = program

    def replicas(self, key: str) -> dict[str, dict[str, int]]:
        """By component of the graph *key*: replicas that are wanted, that serve, that are present."""
        found: dict[str, dict[str, int]] = self._program.graphs()[key]["replicas"]
        return found

    def wait_served(self, key: str) -> str:
        """Wait until the frontend of the graph *key* (namespace/name) offers a model; its url."""
        with loopback_session() as http:

            def offered() -> str:
                url = self._program.graphs().get(key, {}).get("frontend", "")
                try:
                    return url if url and http.get(f"{url}/v1/models", timeout=1).json()["data"] else ""
                except OSError:
                    return ""

            wait_until(offered, what=f"the frontend of {key} to offer its model", timeout_s=START_TIMEOUT_S)
            return offered()


@contextmanager
def real_serving(
    kubeconfig: Path, directory: Path, *, namespace: str, model: str, profile: Path, say: Say = quiet
) -> Iterator[RealServing]:
    """Serve the graphs of *namespace* with real processes until the block ends.

    Args:
        kubeconfig: of Dynamo's operator, which the fleet plays.
        directory: for the model, logs, and where processes meet.
        namespace: the only one.
        model: what clients call it.
        profile: how fast workers are, as Dynamo's profiler writes it.
        say: takes progress.
    """
    directory.mkdir(parents=True)
    say("making a small model whose workers are as fast as the profile")
    speeds = make_speeds(directory, profile=profile, say=say)
    files = make_model(directory / "model", name=model, speeds=speeds)
    started: list[ProcessEngines] = []

    def engines(graph: Graph) -> ProcessEngines:
        started.append(ProcessEngines(graph, files, directory / graph.name))
        return started[-1]

    try:
        with running_fleet(
            kubeconfig, Options(tables=TABLES, namespace=namespace, engines=engines)
        ) as program:
            yield RealServing(program)
    finally:
        for one in started:
            one.stop()


def monitored(url: str, *, namespace: str, name: str) -> Target:
    """The frontend at *url*, scraped as the PodMonitor of Dynamo's chart has it.

    The deployment's namespace is a label of the target; what a series says itself wins.
    """
    labels = {"namespace": namespace, "pod": f"{name}-frontend-0", "dynamo_namespace": f"{namespace}-{name}"}
    return Target(
        job=f"{namespace}/{name}", address=url.removeprefix("http://"), labels=labels, honor_labels=True
    )


@contextmanager
def clients(
    url: str, model: str, request: Request, *, steps: Sequence[tuple[float, float]]
) -> Iterator[list[Answer]]:
    """Clients beside the block, in a thread: *steps* of (seconds since the start, requests/s until then).

    Gives the list of answers, which grows. At the block's end they stop sending and hang up.
    """
    answers: list[Answer] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(rise_and_fall(url, model, request, steps=steps, answers=answers))

    def body() -> None:
        try:
            loop.run_until_complete(asyncio.wait([task]))
        finally:
            loop.close()

    thread = threading.Thread(target=body, name="clients")
    thread.start()
    try:
        yield answers
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def slowed(profile: Path, directory: Path, *, factor: float) -> Path:
    """A copy of *profile* as a device that is *factor* times slower would have measured it."""
    directory.mkdir(parents=True)
    for name, scaled in {
        "prefill_raw_data.json": {"prefill_ttft": factor, "prefill_thpt_per_gpu": 1 / factor},
        "decode_raw_data.json": {"z_itl": factor, "z_thpt_per_gpu": 1 / factor},
    }.items():
        table = json.loads((profile / name).read_text())
        table |= {key: [by * value for value in table[key]] for key, by in scaled.items()}
        (directory / name).write_text(json.dumps(table))
    return directory
