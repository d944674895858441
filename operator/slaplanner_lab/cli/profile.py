"""`slaplanner profile`: look at a profile before a policy relies on it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from slaplanner.adapters.profiles import (
    DECODE_JSON,
    PREFILL_JSON,
    LoadedProfile,
    load_config_map,
    load_directory,
    load_file,
)
from slaplanner.core.errors import ProfileError, ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles.checks import Fault
from slaplanner.core.profiles.parse import MAX_FILE_BYTES
from slaplanner.yaml_documents import DocumentError, read_documents
from slaplanner_lab.cli.inputs import check_writable
from slaplanner_lab.cli.profile_tables import print_profile, profile_document

EXIT_UNUSABLE = 1

_source = click.argument("source", metavar="DIR|FILE")
_tp = click.option(
    "--tp",
    type=click.IntRange(min=1),
    help="Tensor parallelism: chooses among pre-swept results; the GPUs of a replica of the mocker's perf_data.npz.",
)
_interpolation = click.option(
    "--interpolation",
    type=click.Choice([choice.value for choice in Interpolation]),
    default=Interpolation.MONOTONE.value,
    show_default=True,
    help="How the profile is read between its points.",
)
_gpus = click.option(
    "--gpus-per-replica",
    type=click.IntRange(min=1),
    help="GPUs of one replica, to compare with those that the profile implies; else those of meta.json.",
)


@click.group()
def profile() -> None:
    """Check and show profiles: a directory as Dynamo's profiler leaves it, or a ConfigMap's YAML."""


@profile.command(
    name="check",
    epilog="""\b
Examples:
  slaplanner profile check examples/profiles/h100_vllm_Llama-3.1-70B-FP8_tp4
  kubectl get configmap planner-profile-data -o yaml | slaplanner profile check -
  slaplanner profile check profiles/llama-70b --gpus-per-replica 4 --output json
""",
)
@_source
@_interpolation
@_tp
@_gpus
@click.option("--strict", is_flag=True, help="Exit with 1 on any fault, not only when it cannot be used.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check_profile(
    *,
    source: str,
    interpolation: str,
    tp: int | None,
    gpus_per_replica: int | None,
    strict: bool,
    output: str,
) -> None:
    """List the faults of a profile.

    A profile says the same thing several times over; where its sayings differ, one is wrong. Faults
    leave it usable; what cannot be used at all is an error.

    Exit code 0: usable; 1: not usable, or faults with --strict; 2: usage.
    """
    try:
        loaded = _load(source, interpolation, tp)
    except ProfileError as error:
        if output == "json":
            click.echo(json.dumps({"usable": False, "error": str(error), "faults": []}, indent=2))
            sys.exit(EXIT_UNUSABLE)
        raise _unusable(error) from error
    faults = _faults(loaded, gpus_per_replica)
    if output == "json":
        document = {"usable": True, "summary": loaded.summary, "faults": [_fault(fault) for fault in faults]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(loaded.summary)
        for fault in faults:
            click.echo(f"  {fault}")
        click.echo(f"usable, {len(faults)} {'fault' if len(faults) == 1 else 'faults'}")
    if strict and faults:
        sys.exit(EXIT_UNUSABLE)


@profile.command(
    name="show",
    epilog="""\b
Examples:
  slaplanner profile show examples/profiles/h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1
  slaplanner profile show profiles/llama-70b --plot llama-70b.png
  slaplanner profile show configmap.yaml --interpolation Cubic --output json
""",
)
@_source
@_interpolation
@_tp
@_gpus
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw both stages into this file (PNG, SVG or PDF).",
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show_profile(
    *,
    source: str,
    interpolation: str,
    tp: int | None,
    gpus_per_replica: int | None,
    plot: Path | None,
    output: str,
) -> None:
    """Show a profile: what was measured, and what the planner reads from it.

    Exit code 0: shown; 1: not usable; 2: usage.
    """
    if plot is not None:
        check_writable(plot)
    try:
        loaded = _load(source, interpolation, tp)
    except ProfileError as error:
        raise _unusable(error) from error
    loaded = replace(loaded, faults=_faults(loaded, gpus_per_replica))
    if output == "json":
        document: dict[str, Any] = profile_document(loaded)
        document["faults"] = [_fault(fault) for fault in loaded.faults]
        click.echo(json.dumps(document, indent=2))
    else:
        print_profile(loaded)
    if plot is not None:
        _draw(loaded, plot, title=Path(source).resolve().name if source != "-" else "profile")


def _load(source: str, interpolation: str, tp: int | None) -> LoadedProfile:
    """The profile of a directory, of a file, of ConfigMaps in YAML, or of standard input (-).

    Raises:
        ProfileError: it cannot be used.
    """
    how = Interpolation(interpolation)
    path = Path(source)
    if source != "-" and path.is_dir():
        return load_directory(path, allowed=None, interpolation=how, tp=tp)
    try:
        raw = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if source == "-" else _read(path)
    except FileNotFoundError as exc:
        raise ProfileNotFound(
            f"{source}: found no such file or directory, wanted a profile's directory or a ConfigMap"
        ) from exc
    except OSError as exc:
        raise ProfileError(f"{source}: cannot be read: {exc.strerror or exc}") from exc
    if raw.startswith(b"PK"):
        return load_file(source, raw, interpolation=how, tp=tp)
    documents = _documents(raw, source=source)
    if len(documents) == 1 and isinstance(documents[0], dict) and "kind" not in documents[0]:
        return load_file(source, raw, interpolation=how, tp=tp)
    maps = _profile_maps(documents, source=source)
    return load_config_map(*maps, interpolation=how, tp=tp)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _documents(raw: bytes, *, source: str) -> list[Any]:
    if len(raw) > MAX_FILE_BYTES:
        raise ProfileFormatError(f"{source}: found more than {MAX_FILE_BYTES >> 20} MiB, wanted a ConfigMap")
    try:
        return [document.content for document in read_documents(raw.decode())]
    except (DocumentError, UnicodeDecodeError) as exc:
        raise ProfileFormatError(f"{source}: found no YAML ({exc}), wanted a ConfigMap") from exc


def _profile_maps(documents: list[Any], *, source: str) -> tuple[dict[str, str], dict[str, str]]:
    """`data` and `binaryData` of the ConfigMap that holds a profile.

    Dynamo's profiler writes it beside the planner's configuration, which is a ConfigMap too.
    """
    kinds = [each.get("kind") if isinstance(each, dict) else type(each).__name__ for each in documents]
    maps = [each for each, kind in zip(documents, kinds, strict=True) if kind == "ConfigMap"]
    if len(maps) > 1:
        keys = {PREFILL_JSON, DECODE_JSON}
        maps = [each for each in maps if keys & _texts(each, "data").keys() or _texts(each, "binaryData")]
    if len(maps) != 1:
        found = ", ".join(str(kind) for kind in kinds) or "nothing"
        raise ProfileFormatError(
            f"{source}: found {found}, wanted one ConfigMap with {PREFILL_JSON} and {DECODE_JSON}, "
            f"found {len(maps) or 'none'}"
        )
    data, binary = _texts(maps[0], "data"), _texts(maps[0], "binaryData")
    if not data and not binary:
        raise ProfileFormatError(f"{source}: found a ConfigMap without data, wanted the profile's keys in it")
    return data, binary


def _texts(config_map: dict[str, Any], field: str) -> dict[str, str]:
    values = config_map.get(field)
    if not isinstance(values, dict):
        return {}
    return {str(key): value for key, value in values.items() if isinstance(value, str)}


def _faults(loaded: LoadedProfile, gpus_per_replica: int | None) -> tuple[Fault, ...]:
    return loaded.faults if gpus_per_replica is None else loaded.faults_on(gpus_per_replica)


def _fault(fault: Fault) -> dict[str, str]:
    return {"kind": fault.kind.value, "stage": fault.stage.value, "message": fault.message}


def _unusable(error: ProfileError) -> click.ClickException:
    return click.ClickException(f"{error.reason}: {error}")


def _draw(loaded: LoadedProfile, path: Path, *, title: str) -> None:
    try:
        from slaplanner_lab.drawing.profile_plot import draw_profile  # noqa: PLC0415 - the extra may be absent
    except ImportError as exc:
        raise click.ClickException(
            f"--plot needs matplotlib ({exc}); install it with: pip install 'slaplanner[plot]'"
        ) from exc
    try:
        draw_profile(loaded.profile, loaded.tables, path=path, title=title, faults=len(loaded.faults))
    except (OSError, ValueError) as exc:
        raise click.ClickException(f"{path}: cannot be drawn: {exc}") from exc
    click.echo(f"drawn into {path}", err=True)
