"""The parsers: what each may raise, and an input that it takes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.leases import _lease
from slaplanner.adapters.profiles import load_config_map
from slaplanner.adapters.prometheus import (
    Deadline,
    Scope,
    discover_model,
    observe,
    read_attainment,
    read_history,
)
from slaplanner.adapters.prometheus.answers import read_samples, read_tracks
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import SeriesError, read_series
from slaplanner.adapters.traces.trace import parse_trace
from slaplanner.api.annotations import pause_request, plan_request
from slaplanner.api.policy import SLAPolicy
from slaplanner.api.validation import judge
from slaplanner.controller.restoring import restored
from slaplanner.controller.warmup import config_map_bytes
from slaplanner.core.errors import MetricsError, PlanningError
from slaplanner.core.model import Interpolation
from slaplanner.settings import parse_settings
from slaplanner.settings_reading import SettingsError
from slaplanner.virtual.etcd_json import document_of, entries_of
from slaplanner.virtual.policy_document import ROLES, head_of, memory_of
from slaplanner.yaml_documents import DocumentError, read_documents
from tests.fakes import FakePrometheus
from tests.scene import graph, policy, small_profile

CORPUS = Path(__file__).parent / "corpus"
SCOPE = Scope(model="llama", dynamo_namespace="serving-llama")


class NotMeantError(Exception):
    """The input is none that could reach the parser: the API server or JSON refuses it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser."""

    name: str
    parse: Callable[[bytes], object]
    refuses_with: tuple[type[Exception], ...] = ()
    """What it raises for an input that is none of its kind; anything else is a defect."""
    seed: bytes
    """An input that it takes."""

    def corpus(self) -> list[bytes]:
        """The seed, and what was found."""
        folder = CORPUS / self.name
        return [self.seed, *(file.read_bytes() for file in sorted(folder.glob("*")))]

    def attempt(self, content: bytes) -> None:
        """Parse; a refusal of its own kind is fine. Raises whatever else the parser raises."""
        try:
            self.parse(content)
        except (*self.refuses_with, NotMeantError):
            return


def text(content: bytes) -> str:
    return content.decode(errors="replace")


def json_of(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotMeantError from error


def object_of(content: bytes) -> dict[str, Any]:
    found = json_of(content)
    if not isinstance(found, dict):
        raise NotMeantError
    return found


def judged(content: bytes) -> None:
    document = object_of(content)
    if judge(document).accepted:
        SLAPolicy.parse(document).to_core()


def profile(content: bytes) -> None:
    load_config_map({"prefill_raw_data.json": text(content)}, interpolation=Interpolation.MONOTONE)


def decode_profile(content: bytes) -> None:
    load_config_map({"decode_raw_data.json": text(content)}, interpolation=Interpolation.MONOTONE)


def npz_profile(content: bytes) -> None:
    import base64  # noqa: PLC0415 - of this target alone

    load_config_map(
        {}, {"profile.npz": base64.b64encode(content).decode()}, interpolation=Interpolation.MONOTONE
    )


def series(content: bytes) -> None:
    file = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / "slaplanner-fuzz.csv"
    file.write_bytes(content)
    read_series(file)


def figures(content: bytes) -> FakePrometheus:
    """A Prometheus that answers a number for each figure that the JSON object names."""
    named = {name: value for name, value in object_of(content).items() if type(value) in (int, float)}
    try:
        return FakePrometheus({name: float(value) for name, value in named.items()})
    except OverflowError as error:
        raise NotMeantError from error


def observed(content: bytes) -> None:
    observe(figures(content), SCOPE, at_s=1e9, window_s=60.0, interval_s=60.0, deadline=Deadline.after(60.0))


def tracked(content: bytes) -> None:
    points = [
        {float(at): float(value) for at, value in one.items()}
        for one in object_of(content).values()
        if isinstance(one, dict)
        and all(type(value) in (int, float) and abs(value) < 1e308 for value in one.values())
        and all(at.isdecimal() and len(at) < 12 for at in one)
    ]
    names = ("requests", "isl", "osl")
    prometheus = FakePrometheus(tracks=dict.fromkeys(names, points))
    read_history(
        prometheus, SCOPE, end_s=1_000_000_000, interval_s=60, points=60, deadline=Deadline.after(60.0)
    )


def attained(content: bytes) -> None:
    read_attainment(
        figures(content), SCOPE, at_s=1e9, ttft_ms=500.0, itl_ms=30.0, deadline=Deadline.after(60.0)
    )


def discovered(content: bytes) -> None:
    discover_model(
        figures(content), "serving-llama", worker_namespaces=(), prefix="dynamo_frontend_", at_s=1e9,
        deadline=Deadline.after(60.0),
    )  # fmt: skip


def etcd(content: bytes) -> None:
    entries_of(document_of(content))


def annotated(content: bytes) -> None:
    found = object_of(content)
    annotations = {name: str(value) for name, value in found.items()}
    pause_request(annotations)
    plan_request(annotations)
    head_of({"metadata": {"annotations": annotations}, "status": found})
    memory_of({"metadata": {"annotations": annotations}, "status": found}, roles=ROLES)


def warm_up(content: bytes) -> None:
    config_map_bytes("monday", None, {"trace.gz": text(content)})


def trace(content: bytes) -> None:
    parse_trace(io.BytesIO(content), name="trace", most_bytes=1 << 20, most_dropped=1000)


def planner_state(content: bytes) -> None:
    restored(text(content), uid="u", interval_s=60.0, now_s=1e9)


def lease(content: bytes) -> None:
    _lease(object_of(content))


VECTOR = [{"metric": {"figure": "requests"}, "value": [1e9, "42"]}]
MATRIX = [{"metric": {"figure": "requests"}, "values": [[1e9, "42"], [1e9 + 60, "43"]]}]
PREFILL = small_profile()["data"]["prefill_raw_data.json"].encode()
DECODE = small_profile()["data"]["decode_raw_data.json"].encode()
FIGURES = json.dumps(
    {"requests": 900.0, "isl_sum": 9e5, "isl_count": 900.0, "up": 1.0, "samples": 4.0}
).encode()


def packed(content: bytes) -> bytes:
    """A table as the profiler's NPZ."""
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.asarray(column) for name, column in json.loads(content).items()})
    return file.getvalue()


NPZ = packed(PREFILL)
POLICY = json.dumps(policy() | {"metadata": {"name": "llama", "namespace": "serving"}}).encode()

TARGETS = [
    Target(name="policy-text", parse=lambda b: list(read_documents(text(b))), refuses_with=(DocumentError,), seed=POLICY),
    Target(name="policy-document", parse=judged, seed=POLICY),
    Target(name="settings", parse=lambda b: parse_settings(text(b)), refuses_with=(SettingsError,),
           seed=b"heartbeatSeconds: 2\nprometheus: {default: {url: 'http://p'}}\n"),
    Target(name="profile-prefill", parse=profile, refuses_with=(PlanningError,), seed=PREFILL),
    Target(name="profile-decode", parse=decode_profile, refuses_with=(PlanningError,), seed=DECODE),
    Target(name="profile-npz", parse=npz_profile, refuses_with=(PlanningError,), seed=NPZ),
    Target(name="trace", parse=trace, refuses_with=(TraceError,),
           seed=b'{"timestamp": 7, "input_length": 10, "output_length": 1}\n' * 4),
    Target(name="series", parse=series, refuses_with=(SeriesError, TraceError),
           seed=b"t_s,req_per_s\n0,1\n60,2\n120,3\n"),
    Target(name="prometheus-vector", parse=lambda b: read_samples(json_of(b)), refuses_with=(MetricsError,),
           seed=json.dumps(VECTOR).encode()),
    Target(name="prometheus-matrix", parse=lambda b: read_tracks(json_of(b)), refuses_with=(MetricsError,),
           seed=json.dumps(MATRIX).encode()),
    Target(name="observation", parse=observed, refuses_with=(MetricsError,), seed=FIGURES),
    Target(name="history", parse=tracked, refuses_with=(MetricsError,),
           seed=json.dumps({"a": {"999999940": 3, "1000000000": 5}}).encode()),
    Target(name="attainment", parse=attained, refuses_with=(MetricsError,), seed=FIGURES),
    Target(name="discovery", parse=discovered, refuses_with=(MetricsError,), seed=FIGURES),
    Target(name="etcd", parse=etcd, refuses_with=(ValueError,),
           seed=b'{"responses": [{"response_range": {"kvs": [{"key": "aw==", "value": "NQ=="}]}}]}'),
    Target(name="annotations", parse=annotated,
           seed=b'{"slaplanner.io/paused": "true", "slaplanner.io/scaled-decision-id": "7"}'),
    Target(name="planner-state", parse=planner_state, seed=b'{"v": 1, "n": 3, "at": 999999999}'),
    Target(name="deployment", parse=lambda b: parse_graph(json_of(b)), refuses_with=(PlanningError,),
           seed=json.dumps(graph()).encode()),
    Target(name="warm-up", parse=warm_up, refuses_with=(PlanningError,), seed=b"H4sIAAAA"),
    Target(name="lease", parse=lease,
           seed=b'{"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 12}}'),
]  # fmt: skip
