"""`slaplanner run`: the operator itself."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

import click


@click.command()
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Settings file; else the one that SLAPLANNER_SETTINGS names, else /etc/slaplanner/settings.yaml.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="KUBECONFIG",
    help="How to reach the API server outside of a cluster. Default: KUBECONFIG, else the pod's own account.",
)
@click.option("--context", help="Context of the kubeconfig. Default: its current one.")
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    multiple=True,
    help="Serve the policies of this namespace only; may be repeated. Default: the settings', else all.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log kopf's and the watches' details too.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def run(
    *,
    settings_file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    verbose: bool,
    log_format: str,
) -> None:
    """Run the operator until SIGTERM or SIGINT.

    It starts anew by itself when the settings file is edited; a file that cannot be read is refused
    with a line in the log, and the operator goes on as before.

    In a cluster it is started by its Deployment and needs no option. Outside, for a first look at a
    cluster without writing anything to it, set `observe: true` in the settings.

    \b
    Examples:
      slaplanner run
      PROMETHEUS_ENDPOINT=http://localhost:9090 slaplanner run --kubeconfig ~/.kube/config --log-format text
      slaplanner run --settings settings.yaml --namespace serving
    """  # noqa: D301 - click wants the character
    from slaplanner.controller.process import (  # noqa: PLC0415 - kopf is heavy, --help is not
        LeadershipLostError,
        NoClusterError,
        run_operator,
    )
    from slaplanner.settings import SettingsError, load_settings  # noqa: PLC0415

    try:
        settings = load_settings(settings_file)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    try:
        was_edited = run_operator(
            settings,
            reload=partial(load_settings, settings_file),
            kubeconfig=kubeconfig,
            context=context,
            namespaces=namespaces or settings.watched_namespaces,
            verbose=verbose,
            json_logs=log_format == "json",
        )
    except (NoClusterError, LeadershipLostError) as error:
        raise click.ClickException(str(error)) from error
    _end(start_anew=was_edited)


def _end(*, start_anew: bool) -> NoReturn:
    """End without waiting for threads whose requests still hang, nor taking libraries away under them."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if start_anew:
        # The same process, so that neither a container's restart count nor its back-off moves.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same command again
    os._exit(0)
