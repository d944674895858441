"""What the offline commands read: a policy, profiles, a target, a trace; each fault one clear message."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from slaplanner.adapters.deployment.manifests import graph_among
from slaplanner.adapters.deployment.roles import resolve_roles
from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.times import FLAG, TimeUnit
from slaplanner.adapters.traces.trace import Trace, read_trace
from slaplanner.api.files import policy_from_text
from slaplanner.api.policy import SLAPolicy
from slaplanner.core.errors import PlanningError
from slaplanner.core.model import Policy, Role
from slaplanner.yaml_documents import DocumentError, read_documents

PAUSED = "the policy is paused; this shows what it would do if it were not"


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Bad input ends with one message and exit code 1."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    except (PlanningError, TraceError, DocumentError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error


def read_policy(path: str) -> SLAPolicy:
    """The one SLAPolicy of a YAML file, or of standard input (-), refused where an API server would."""
    return policy_from_text(read_text(path), source=path)


def read_profile(directory: str | None, policy: SLAPolicy, *, tp: int | None = None) -> LoadedProfile:
    """The profile of *directory*, else of the policy's own path; *tp* chooses among pre-swept rows."""
    path = directory or policy.spec.profile.path
    if path is None:
        raise click.UsageError("the policy names a ConfigMap; give the profile's directory with --profile")
    return load_directory(path, allowed=None, interpolation=policy.spec.profile.interpolation, tp=tp)


def with_gpus(written: SLAPolicy, target: str | None) -> Policy:
    """The policy with GPUs per replica from the target's manifest, else its own, else 1, said on stderr."""
    policy = written.to_core()
    known = {entry.role: entry.gpus_per_replica for entry in policy.roles}
    if target is not None:
        known = _gpus_in(target, written, policy)
    for role, gpus in known.items():
        if gpus is None:
            click.echo(f"GPUs per {role.value} replica are unknown: 1 is assumed", err=True)
            known[role] = 1
    roles = tuple(replace(entry, gpus_per_replica=known[entry.role]) for entry in policy.roles)
    return replace(policy, roles=roles)


def _gpus_in(target: str, written: SLAPolicy, policy: Policy) -> dict[Role, int | None]:
    try:
        found = graph_among(
            [document.content for document in read_documents(read_text(target))],
            name=written.spec.target_ref.name,
            namespace=written.metadata.namespace,
        )
        roles = resolve_roles(found.graph, policy.mode, policy.roles, claim=found.claim)
    except (PlanningError, DocumentError) as error:
        raise click.ClickException(f"{target}: {error}") from error
    return {entry.role: entry.gpus_per_replica for entry in roles}


def read_text(path: str) -> str:
    """The text of a file, or of standard input (-).

    Raises:
        DocumentError: it is not UTF-8.
        OSError: it cannot be read.
    """
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{path}: is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}"
        ) from error


policy_option = click.option(
    "-f",
    "--filename",
    "policy_file",
    required=True,
    metavar="POLICY.yaml",
    help="The SLAPolicy; - for standard input.",
)
target_option = click.option(
    "--target",
    metavar="DGD.yaml",
    help="The DynamoGraphDeployment, for GPUs per replica; else the policy's, else 1.",
)
trace_option = click.option(
    "--trace",
    "trace_file",
    required=True,
    type=click.Path(path_type=Path),
    help="Requests: mooncake JSON lines, Dynamo's request trace, AIPerf, vLLM, Azure, BurstGPT; .gz too.",
)
tp_option = click.option(
    "--tp",
    type=click.IntRange(1),
    help="Which tensor parallelism to read, where the profile has rows of several.",
)
time_unit = click.option(
    FLAG,
    "unit",
    type=click.Choice([unit.value for unit in TimeUnit]),
    callback=lambda _context, _parameter, value: value and TimeUnit(value),
    help="Of the trace's times, where its format does not settle it.",
)
"""For commands that read a trace."""


def read_requests(path: Path, unit: TimeUnit | None = None) -> Trace:
    """The trace of *path*; what a user should know of it is said on stderr."""
    trace = read_trace(path, time_unit=unit)
    for note in trace.notes:
        click.echo(f"{path.name}: {note}", err=True)
    return trace


def check_writable(path: Path) -> None:
    """Refuse a place that cannot be written, before the work whose result should go there."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise click.ClickException(f"{path}: cannot be written: found no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise click.ClickException(f"{path}: cannot be written: found a directory, or no permission to write")


def check_drawable(path: Path, *, option: str, formats: tuple[str, ...]) -> None:
    """Refuse at once what would only be found out after minutes of work."""
    if path.suffix.lower() not in formats:
        raise click.BadParameter(
            f"found {path.name}, wanted a name that ends in {_either(formats)}", param_hint=option
        )
    check_writable(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException(f"{option} needs matplotlib: pip install 'slaplanner[plot]'")


def _either(words: tuple[str, ...]) -> str:
    """`.png, .svg or .pdf`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
