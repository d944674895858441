"""What the frontends of Dynamo's versions expose, recorded from running ones as plain facts.

`python -m tests.dynamo.record` starts the frontend of each version with simulated workers, looks at its
metrics in five situations, and prints how they differ from what `tests/dynamo/facts` holds; `--write`
stores what was seen. A new version of Dynamo: add its pins to `tests/dynamo/wheels`, its number to
`FRONTEND_VERSIONS`, and run this.

For each metric: its type, the situation since which it is there, its labels with all values seen (of
those that differ from run to run only their kind), a histogram's edges, what a gauge of requests shows
while four are being decoded, and by how much one request of each kind makes it grow. Besides, how a
request is answered and counted that no worker can serve. "silent" is a model whose tokens decode to no
text; its worker is aggregated, the other model's are one for prefill and one for decode.
"""

from __future__ import annotations

import asyncio
import difflib
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.dynamo.client import ALL_KINDS, Answer, Request, play
from tests.dynamo.facts import FACTS
from tests.dynamo.parts import Frontend, Model, Site, Worker, make_model, make_speeds
from tests.testbed.dynamo_wheels import FRONTEND_VERSIONS
from tests.testbed.processes import wait_until

PROFILE = Path(__file__).parents[2] / "examples/profiles/h100_vllm_Qwen3-32B_bf16_tp2"
SPOKEN, SILENT = "Acme/Big-7B", "Acme/Silent-7B"
SITUATIONS = ("no worker", "idle", "busy", "after the first requests", "after a worker left")
PREFIXES = ("dynamo_frontend_", "dynamo_component_router_")
"""Of what a planner may read; the others tell of the process itself."""

_VOLATILE = {
    "worker_id": "hexadecimal or decimal",
    "router_id": "decimal",
    "router_worker_id": "decimal",
    "publisher_id": "decimal",
    "instance_id": "decimal",
}
_PER_REQUEST = re.compile(
    r"_(requests(_started)?_total|failures_total|time_to_first_token_seconds|inter_token_latency_seconds"
    r"|(input|output)_sequence_tokens|request_duration_seconds|output_tokens_total|cached_tokens|kv_transfer_estimated_latency_seconds)$"
)

_OF_REQUESTS = re.compile(r"^dynamo_frontend_\w+_requests$|^dynamo_frontend_model_ready$")

Facts = dict[str, Any]
Values = dict[tuple[str, str], float]
"""Of counters and of histograms' counts and sums, over all labels, by metric and part."""


class Recorder:
    """Collects the facts of one frontend's expositions."""

    def __init__(self) -> None:
        self.metrics: dict[str, Facts] = {}
        self.refusals: dict[str, Facts] = {}
        self._labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def look(self, text: str, situation: str) -> None:
        """Take what *text* shows in *situation*."""
        for name, kind, samples in _metrics(text):
            fact = self.metrics.setdefault(name, {"type": kind, "since": situation})
            for sample in samples:
                for label, value in sample.labels.items():
                    if label != "le":
                        self._labels[name][label].add(value)
            if kind == "histogram":
                edges = {float(s.labels["le"]) for s in samples if s.name.endswith("_bucket")}
                fact["edges"] = sorted(edges)[:-1]

    def hold(self, text: str) -> None:
        """Note what gauges of requests show while one of each kind runs."""
        for name, kind, samples in _metrics(text):
            if kind == "gauge" and _OF_REQUESTS.search(name):
                shown = {
                    ",".join(f"{k}={v}" for k, v in s.labels.items()): int(s.value)
                    for s in samples
                    if s.value
                }
                self.metrics[name]["holds"] = shown

    def grow(self, kind: str, before: str, after: str) -> None:
        """Note by how much one request of *kind* raised what counts requests."""
        for (name, part), change in _changes(before, after).items():
            self.metrics[name].setdefault("grows", {}).setdefault(kind, {})[part] = change

    def refuse(self, situation: str, status: int, before: str, after: str) -> None:
        """Note how a request was answered that no worker could serve, and where it was counted."""
        counted = sorted(name for (name, part) in _changes(before, after) if part in {"value", "count"})
        ready = [
            int(sample.value)
            for name, _, samples in _metrics(after)
            for sample in samples
            if name.endswith("_model_ready") and sample.labels["model"] == SPOKEN
        ]
        self.refusals[situation] = {"status": status, "counted": counted} | (
            {"model_ready": min(ready)} if ready else {}
        )

    def facts(self, version: str) -> Facts:
        """All of it, in an order that stays."""
        for name, labels in self._labels.items():
            self.metrics[name]["labels"] = {
                label: _VOLATILE.get(label) or sorted(values) for label, values in sorted(labels.items())
            }
        return {"version": version, "refusals": self.refusals, "metrics": dict(sorted(self.metrics.items()))}


def record(version: str, directory: Path, *, say: Callable[[str], None]) -> Facts:
    """Start a frontend of *version* with workers, and look at it."""
    speeds = make_speeds(directory, profile=PROFILE, say=say)
    models = {
        name: make_model(directory / str(words), name=name, speeds=speeds, words=words, say=say)
        for name, words in ((SPOKEN, 1000), (SILENT, 0))
    }
    recorder = Recorder()
    with ExitStack() as running:
        site = Site(directory=directory, namespace="serving")
        frontend = Frontend(site, version=version, say=say)
        running.callback(frontend.stop)
        frontend.start()
        recorder.look(frontend.metrics(), "no worker")
        workers = {
            "prefill": Worker(_deployment(site, "spoken"), models[SPOKEN], mode="prefill", revision="5f3a"),
            "decode": Worker(_deployment(site, "spoken"), models[SPOKEN], mode="decode", revision="5f3a"),
            "silent": Worker(_deployment(site, "silent"), models[SILENT], mode="agg", revision="77b0"),
        }
        # One model after the other: the router's series bear the name of the first.
        for roles, name in ((("prefill", "decode"), SPOKEN), (("silent",), SILENT)):
            for role in roles:
                running.callback(workers[role].stop)
                workers[role].start()
            frontend.wait_for_model(name)
        recorder.look(frontend.metrics(), "idle")
        asyncio.run(_look_busy(frontend, recorder))
        recorder.look(frontend.metrics(), "after the first requests")
        for model in models.values():
            _look_at_each(frontend, model, recorder)
        for role in ("decode", "prefill"):
            workers[role].stop()
            wait_until(lambda: SPOKEN not in frontend.models(), what="the model to go with its worker")
            _look_at_refusal(frontend, recorder, "no worker" if role == "prefill" else f"no {role} worker")
            recorder.look(frontend.metrics(), "after a worker left")
    return recorder.facts(version)


async def _look_busy(frontend: Frontend, recorder: Recorder) -> None:
    """Look while one request of each kind runs, past its first token."""
    load = asyncio.create_task(play(frontend.url, SPOKEN, [_longer(kind) for kind in ALL_KINDS], pace_s=0.0))
    await asyncio.sleep(1.5)
    text = await asyncio.to_thread(frontend.metrics)
    recorder.look(text, "busy")
    recorder.hold(text)
    await load


def _look_at_each(frontend: Frontend, model: Model, recorder: Recorder) -> None:
    spoken = "" if model.name == SPOKEN else "silent "
    for request in ALL_KINDS:
        before = frontend.metrics()
        _send(frontend, model.name, request)
        kind = f"{spoken}{request.endpoint.value} {'stream' if request.stream else 'unary'}"
        recorder.grow(kind, before, frontend.metrics())


def _look_at_refusal(frontend: Frontend, recorder: Recorder, situation: str) -> None:
    before = frontend.metrics()
    answer = _send(frontend, SPOKEN, Request())
    recorder.refuse(situation, answer.status, before, frontend.metrics())


def _send(frontend: Frontend, model: str, request: Request) -> Answer:
    """One request, and a moment for the frontend to count its end."""
    (answer,) = asyncio.run(play(frontend.url, model, [request], pace_s=0.0))
    settled: list[str] = []

    def quiet() -> bool:
        settled.append(str(_values(frontend.metrics())))
        return len(settled) > 2 and settled[-1] == settled[-2] == settled[-3]

    wait_until(quiet, what="the frontend to have counted a request", poll_s=0.1)
    return answer


def _longer(request: Request) -> Request:
    return Request(endpoint=request.endpoint, stream=request.stream, osl_tokens=400)


def _deployment(site: Site, name: str) -> Site:
    return Site(directory=site.directory, namespace=f"{site.namespace}-{name}")


def _metrics(text: str) -> Iterator[tuple[str, str, list[Any]]]:
    """Name as exposed, type and samples of each metric that may be read."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    for family in text_string_to_metric_families(text):
        name = next(name for name in (family.name, f"{family.name}_total") if name in types)
        if name.startswith(PREFIXES) and family.samples:
            yield name, types[name], family.samples


def _values(text: str) -> Values:
    values: Values = defaultdict(float)
    for name, kind, samples in _metrics(text):
        if kind == "gauge" or not _PER_REQUEST.search(name):
            continue
        for sample in samples:
            part = sample.name.removeprefix(name).removeprefix("_") if kind == "histogram" else "value"
            if part != "bucket":
                values[name, part] += sample.value
    return values


def _changes(before: str, after: str) -> dict[tuple[str, str], int]:
    """What grew between two expositions; of sums those of tokens, because seconds differ from run to run."""
    old, new = _values(before), _values(after)
    changes = {key: value - old.get(key, 0.0) for key, value in new.items()}
    return {
        (name, part): int(change)
        for (name, part), change in changes.items()
        if change and (part != "sum" or name.endswith("_tokens"))
    }


def as_text(facts: Mapping[str, Any]) -> str:
    """As it is stored: a line per metric's property."""
    return yaml.dump(dict(facts), sort_keys=False, default_flow_style=None, width=10_000)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("versions", nargs=-1)
@click.option("--write", is_flag=True, help="Store what was seen.")
def main(versions: tuple[str, ...], write: bool) -> None:
    """Show how the frontends of VERSIONS (default: all known) differ from the stored facts."""
    different = False
    for version in versions or FRONTEND_VERSIONS:
        with tempfile.TemporaryDirectory(prefix="slaplanner-dynamo-") as directory:
            seen = as_text(record(version, Path(directory), say=lambda line: click.echo(line, err=True)))
        file = FACTS / f"{version}.yaml"
        known = file.read_text() if file.is_file() else ""
        changes = list(
            difflib.unified_diff(known.splitlines(), seen.splitlines(), "stored", "seen", lineterm="", n=1)
        )
        click.echo("\n".join([f"Dynamo {version}: " + ("differs" if changes else "as stored"), *changes]))
        different = different or bool(changes)
        if write:
            FACTS.mkdir(exist_ok=True)
            file.write_text(seen)
    sys.exit(different and not write)


if __name__ == "__main__":
    main()
