"""`slaplanner validate`: policies checked against the CRD, and their surroundings, without a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from slaplanner.api.policy import SLAPolicy
from slaplanner.api.validation import is_policy, judge
from slaplanner.cli.manifest import Placed
from slaplanner.core.errors import PolicyError
from slaplanner.yaml_documents import DocumentError, read_documents

EXIT_INVALID = 1

_SUFFIXES = (".yaml", ".yml")


@dataclass(slots=True)
class _Count:
    policies: int = 0
    refused: int = 0
    warnings: int = 0
    objects: list[Placed] = field(default_factory=list)
    accepted: list[tuple[Placed, SLAPolicy]] = field(default_factory=list)


@click.command(
    epilog="""\b
Examples:
  slaplanner validate examples/01-minimal.yaml
  slaplanner validate policies/            # every .yaml and .yml below
  kustomize build overlays/prod | slaplanner validate -
  slaplanner validate --strict .           # in a pipeline: warnings fail it too
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-q", "--quiet", is_flag=True, help="Print faults only.")
@click.option("--strict", is_flag=True, help="Exit with 1 also for warnings.")
def validate(files: tuple[str, ...], *, quiet: bool, strict: bool) -> None:
    """Check SLAPolicies as an API server would, CEL rules and strict fields included, without one.

    FILE may hold several documents, be a directory, or be - for standard input. Documents of
    other kinds are searched for what will fight with a policy over replicas: manifests that set
    them, Argo CD Applications that do not ignore them, autoscalers. That is warned of.

    Exit code 0: all fine; 1: something would be refused, or with --strict warned of; 2: usage.
    """
    count = _Count()
    for name, text in _texts(files):
        _check_text(name, text, count, quiet=quiet)
    if len(count.objects) > count.policies:
        _check_together(count, quiet=quiet)
    if not quiet:
        click.echo(f"{count.policies} checked, {count.refused} refused, {count.warnings} warnings")
    if count.refused or (strict and count.warnings):
        sys.exit(EXIT_INVALID)


def _texts(files: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in files:
        if name == "-":
            yield "<stdin>", sys.stdin.read()
            continue
        path = Path(name)
        if not path.exists():
            raise click.UsageError(f"{name}: no such file or directory")
        found = [path]
        if path.is_dir():
            found = sorted(
                child for child in path.rglob("*") if child.suffix in _SUFFIXES and child.is_file()
            )
            if not found:
                raise click.UsageError(f"{name}: no {', '.join(_SUFFIXES)} below this directory")
        for child in found:
            try:
                yield str(child), child.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise click.UsageError(f"{child}: cannot be read: {error}") from error


def _check_text(name: str, text: str, count: _Count, *, quiet: bool) -> None:
    try:
        for document in read_documents(text):
            for content in _objects(document.content):
                if isinstance(content, dict):
                    count.objects.append(Placed(file=name, line=document.line, content=content))
                _check_object(f"{name}:{document.line}", content, count, quiet=quiet)
    except DocumentError as error:
        count.refused += 1
        click.echo(f"{name}: not YAML that Kubernetes reads: {error}", err=True)


def _check_together(count: _Count, *, quiet: bool) -> None:
    # It reads deployments as the operator does, with the cluster client that policies alone need not wait for.
    from slaplanner.cli.replica_conflicts import fights  # noqa: PLC0415

    for fight in fights(count.objects, count.accepted):
        count.warnings += 1
        if not quiet:
            click.echo(f"{fight.where}: warning: {fight.message}", err=True)


def _objects(content: Any) -> Iterator[Any]:
    """The document itself, or the members of a list as `kubectl get -o yaml` writes it."""
    members = content.get("items") if isinstance(content, dict) else None
    if isinstance(members, list) and str(content.get("kind", "")).endswith("List"):
        yield from members
    else:
        yield content


def _check_object(where: str, content: Any, count: _Count, *, quiet: bool) -> None:
    if not is_policy(content):
        if not quiet:
            kind = content.get("kind", "no kind") if isinstance(content, dict) else type(content).__name__
            from slaplanner.adapters.migration.sources import is_migratable  # noqa: PLC0415 - as in _check_together

            hint = "; slaplanner migrate turns it into one" if is_migratable(content) else ""
            click.echo(f"{where}: skipped, not an SLAPolicy ({kind}){hint}")
        return
    metadata = content.get("metadata")
    label = f"{where}: {(metadata.get('name') if isinstance(metadata, dict) else None) or '(no name)'}"
    verdict = judge(content)
    count.policies += 1
    for fault in verdict.faults:
        click.echo(f"{label}: {fault.path}: {fault.message}", err=True)
    for warning in verdict.warnings:
        count.warnings += 1
        if not quiet:
            click.echo(f"{label}: warning: {warning.path}: {warning.message}", err=True)
    if not verdict.accepted:
        count.refused += 1
        return
    try:
        count.accepted.append((count.objects[-1], SLAPolicy.parse(content)))
    except PolicyError as error:
        count.refused += 1
        click.echo(f"{label}: {error}", err=True)
        return
    if not quiet:
        click.echo(f"{label}: ok")
