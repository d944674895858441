"""`slaplanner migrate`: the SLAPolicy that does what another autoscaler's configuration says."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import click
import yaml

from slaplanner.adapters.migration.draft import MigrationError
from slaplanner.adapters.migration.sources import migrate as migrated
from slaplanner.api.validation import judge
from slaplanner.yaml_documents import DocumentError, read_documents

_WIDTH = 100


@click.command(
    epilog="""\b
Examples:
  kubectl get dgd llama -o yaml | slaplanner migrate -
  slaplanner migrate dgd.yaml planner_config.json > policy.yaml
  slaplanner migrate request.yaml --target llama --namespace serving
  slaplanner migrate dgd.yaml hpa-prefill.yaml hpa-decode.yaml
"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--target", metavar="NAME", help="The DynamoGraphDeployment, where no file names it.")
@click.option("-n", "--namespace", help="Of the policy, where no file names it.")
def migrate(files: tuple[str, ...], *, target: str | None, namespace: str | None) -> None:
    """Print the SLAPolicy for a planner, HPA or ScaledObject that is in use.

    FILE is YAML or JSON, or - for standard input: Dynamo's planner configuration (alone or in a ConfigMap), a
    DynamoGraphDeployment with a planner inside, a DynamoGraphDeploymentRequest, an HPA or a ScaledObject
    with the deployment that it scales. What has no equal stands in comments above the policy. The policy
    only observes: compare, then set actuation: Enforce.

    Exit code 0: printed; 1: nothing to migrate, or a value that a policy refuses; 2: usage.
    """
    try:
        documents = [document.content for name in files for document in read_documents(_text(name))]
        result = migrated(documents, target=target, namespace=namespace)
    except (MigrationError, DocumentError) as error:
        raise click.ClickException(str(error)) from error
    faults = judge(result.policy).faults
    if faults:
        raise click.ClickException("; ".join(f"{fault.path}: {fault.message}" for fault in faults))
    for note in result.notes:
        click.echo(textwrap.fill(note, _WIDTH, initial_indent="# - ", subsequent_indent="#   "))
    click.echo(yaml.safe_dump(result.policy, sort_keys=False), nl=False)


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name}: cannot be read: {error}") from error
