"""`slaplanner release`: lets go of policies after the operator is gone.

The operator's finalizer keeps a deleted policy until the operator has cleaned up behind it. Without
an operator nobody does, and the policy, its namespace and its CRD hang in deletion.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click
import urllib3
from kubernetes import client

from slaplanner.adapters.kubeconfig import UNREADABLE, NoContextError, credentials, namespace_of
from slaplanner.api.policy import FINALIZER, GROUP, PLURAL, VERSION

EXIT_FAILED = 1

_TIMEOUT_S = 30
_PAGE = 200
_ATTEMPTS = 5


@click.command(
    epilog=f"""\b
Examples:
  slaplanner release --all-namespaces --dry-run   # what would be let go
  slaplanner release -n serving

\b
The same for one policy by kubectl, when {FINALIZER} is its only finalizer:
  kubectl patch slap NAME -n serving --type=merge -p '{{"metadata":{{"finalizers":null}}}}'
"""
)
@click.option("-n", "--namespace", help="Namespace; without it, the kubeconfig context's.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Policies of all namespaces.")
@click.option("--dry-run", is_flag=True, help="Only print what would be let go.")
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Kubeconfig file."
)
@click.option("--context", help="Context of the kubeconfig.")
def release(
    *,
    namespace: str | None,
    all_namespaces: bool,
    dry_run: bool,
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    """Remove the operator's finalizer from SLAPolicies, once the operator is gone.

    An operator that still runs puts the finalizer back. Other finalizers stay. Replicas are not
    touched. Exit code 0: all are free; 1: some are not, or the API server refused; 2: usage.
    """
    if namespace and all_namespaces:
        raise click.UsageError("give either --namespace or --all-namespaces")
    try:
        api, default_namespace = _connect(kubeconfig, context)
    except UNREADABLE as error:
        file = f"{kubeconfig}: " if kubeconfig else ""
        raise click.UsageError(f"{file}no cluster is configured: {error}") from error
    try:
        where = None if all_namespaces else namespace or default_namespace
        failed = _release_all(api, where, dry_run=dry_run)
    except client.ApiException as error:
        click.echo(f"the API server refused to list {PLURAL}.{GROUP}: {_why(error)}", err=True)
        failed = True
    except urllib3.exceptions.HTTPError as error:
        click.echo(f"the API server cannot be reached: {error}", err=True)
        failed = True
    if failed:
        sys.exit(EXIT_FAILED)


def _connect(kubeconfig: Path | None, context: str | None) -> tuple[client.CustomObjectsApi, str]:
    """The API and the namespace that the context names."""
    try:
        namespace = namespace_of(kubeconfig=kubeconfig, context=context)
    except NoContextError as error:
        raise click.UsageError(str(error)) from error
    configuration = credentials(kubeconfig=kubeconfig, context=context)
    return client.CustomObjectsApi(client.ApiClient(configuration)), namespace


def _release_all(api: client.CustomObjectsApi, namespace: str | None, *, dry_run: bool) -> bool:
    """Let go of every policy; returns whether one could not be."""
    found = released = 0
    failed = False
    for policy in _policies(api, namespace):
        metadata = policy["metadata"]
        if FINALIZER not in metadata.get("finalizers", ()):
            continue
        found += 1
        name = f"{metadata['namespace']}/{metadata['name']}"
        if dry_run:
            click.echo(f"{name}: would be released")
            continue
        try:
            _release_one(api, metadata)
        except client.ApiException as error:
            click.echo(f"{name}: not released: {_why(error)}", err=True)
            failed = True
            continue
        released += 1
        click.echo(f"{name}: released")
    scope = f"namespace {namespace}" if namespace else "all namespaces"
    outcome = "dry run, nothing was changed" if dry_run else f"{released} released"
    click.echo(f"{found} with {FINALIZER} in {scope}, {outcome}")
    return failed


def _policies(api: client.CustomObjectsApi, namespace: str | None) -> Iterator[Mapping[str, Any]]:
    """All policies, page by page; none when the cluster does not know them."""
    token = ""
    while True:
        try:
            page = _page(api, namespace, token)
        except client.ApiException as error:
            if error.status == 404 and not token:
                return
            raise
        yield from page["items"]
        token = page["metadata"].get("continue", "")
        if not token:
            return


def _page(api: client.CustomObjectsApi, namespace: str | None, token: str) -> dict[str, Any]:
    if namespace is None:
        page = api.list_cluster_custom_object(
            GROUP, VERSION, PLURAL, limit=_PAGE, _continue=token, _request_timeout=_TIMEOUT_S
        )
    else:
        page = api.list_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, limit=_PAGE, _continue=token, _request_timeout=_TIMEOUT_S
        )
    return cast("dict[str, Any]", page)


def _release_one(api: client.CustomObjectsApi, metadata: Mapping[str, Any]) -> None:
    """Take our finalizer out, and no other: on fresh data, again when somebody else wrote meanwhile."""
    namespace, name = metadata["namespace"], metadata["name"]
    for attempt in range(_ATTEMPTS):
        remaining = [entry for entry in metadata.get("finalizers", ()) if entry != FINALIZER]
        patch = {"metadata": {"finalizers": remaining, "resourceVersion": metadata["resourceVersion"]}}
        try:
            api.patch_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, patch, _request_timeout=_TIMEOUT_S
            )
        except client.ApiException as error:
            if error.status == 404:
                return
            if error.status != 409 or attempt == _ATTEMPTS - 1:
                raise
        else:
            return
        try:
            fresh = api.get_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, _request_timeout=_TIMEOUT_S
            )
            metadata = cast("dict[str, Any]", fresh)["metadata"]
        except client.ApiException as error:
            if error.status == 404:
                return
            raise


def _why(error: client.ApiException) -> str:
    """The server's own message where it sent one."""
    body = str(error.body or "")
    marker = '"message":"'
    if marker in body:
        return body.partition(marker)[2].partition('","')[0].replace('\\"', '"')
    return f"{error.status} {error.reason}"
