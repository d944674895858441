"""The test bed at a terminal: `python -m tests.testbed --help`."""

import shlex
import sys

import click

from tests.testbed import standing
from tests.testbed.binaries import find_argocd, find_control_plane, find_helm, find_prometheus
from tests.testbed.dynamo_wheels import NEWEST, WORKERS_VERSION, find_dynamo
from tests.testbed.errors import TestBedError
from tests.testbed.gomodule import cache_directory
from tests.testbed.packages import install_missing


def say(line: str) -> None:
    """Progress goes to stderr: stdout is for what a shell evaluates."""
    click.echo(line, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A real API server, etcd and Prometheus on this machine, without containers.

    \b
    Examples:
      python -m tests.testbed build        # once: minutes, when they must be compiled
      python -m tests.testbed up
      eval "$(python -m tests.testbed env)"
      kubectl get namespaces
      python -m tests.testbed down
    """


@main.command()
def build() -> None:
    """Find every part, install or compile what this machine lacks."""
    install_missing(say)
    parts = find_control_plane(say=say)
    for path in (parts.etcd, parts.kube_apiserver, parts.kube_controller_manager, parts.kubectl):
        click.echo(path)
    click.echo(find_prometheus(say=say))
    click.echo(find_argocd(say=say))
    click.echo(find_helm(say=say))
    for version in (WORKERS_VERSION, NEWEST):
        click.echo(find_dynamo(version, say=say))
    say(f"compiled parts are kept in {cache_directory()}")


@main.command()
@click.argument("program", type=click.Choice(["kubectl", "helm"]))
def path(program: str) -> None:
    """Print where PROGRAM of the test bed lies."""
    click.echo(find_helm(say=say) if program == "helm" else find_control_plane(say=say).kubectl)


@main.command()
def up() -> None:
    """Start a bed in the background; the one that stands already is kept."""
    find_control_plane(say=say)
    find_prometheus(say=say)
    addresses = standing.start(say=say)
    say(f"API server: KUBECONFIG={addresses.kubeconfig}")
    say(f"Prometheus: {addresses.prometheus_url}")
    say(
        '`eval "$(python -m tests.testbed env)"` points this shell at it, `python -m tests.testbed down` stops it'
    )


@main.command()
def down() -> None:
    """Stop the bed that stands, and delete its data."""
    say("stopped" if standing.stop() else "no bed stands")


@main.command()
def env() -> None:
    """Print the exports that point kubectl, the operator and the tests at the bed."""
    addresses = standing.standing()
    if addresses is None:
        raise click.ClickException("no bed stands: start one with `python -m tests.testbed up`")
    for name, value in {
        "KUBECONFIG": addresses.kubeconfig,
        "SLAPLANNER_TEST_KUBECONFIG": addresses.kubeconfig,
        "PROMETHEUS_ENDPOINT": addresses.prometheus_url,
    }.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo(f'export PATH={shlex.quote(addresses.bin_directory)}:"$PATH"')


@main.command(hidden=True)
def keep() -> None:
    """Own the servers until SIGTERM; `up` runs this in the background."""
    standing.keep(say=say)


if __name__ == "__main__":
    try:
        main()
    except TestBedError as error:
        say(f"error: {error}")
        sys.exit(1)
