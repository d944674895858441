"""`kubectl slap`: policies at three in the morning. A program of this name on PATH is a plugin of kubectl.

It asks kubectl, which knows the cluster, the context and the credentials.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from slaplanner.cli import policy_text

RESOURCE = "slapolicies.slaplanner.io"
PAUSED = "slaplanner.io/paused"
PLAN_REQUESTED = "slaplanner.io/plan-requested-at"

CommandT = TypeVar("CommandT", bound=Callable[..., None])


def where(command: CommandT) -> CommandT:
    """Which cluster and namespace; the words are kubectl's."""
    for option in (
        click.option("--context", help="Context of the kubeconfig."),
        click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Kubeconfig to use."),
        click.option("-n", "--namespace", help="Namespace of the policy; default: that of the context."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slaplanner")
def main() -> None:
    """See and steer SLAPolicies.

    \b
    Examples:
      kubectl slap status -A
      kubectl slap why llama-70b -n serving
      kubectl slap pause llama-70b -n serving --scale-in
      kubectl slap simulate llama-70b -n serving --trace day.jsonl.gz --report day.html
    """  # noqa: D301 - click wants the character


@main.command(short_help="One line per policy.")
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="Policies of all namespaces.")
@where
def status(*, name: str | None, all_namespaces: bool, **at: str | None) -> None:
    """One line per policy: ready, share in time, replicas, GPUs, and why.

    IN TIME is the share of the last hour that surely met its target, over the share that is promised.
    """
    found = _get(*([name] if name else []), *(["--all-namespaces"] if all_namespaces else []), at=at)
    policies = found.get("items", [found])
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else policy_text.WIDTH
    click.echo(policy_text.table(policies, width=width) if policies else "no policies")


@main.command(short_help="The last decisions as a story.")
@click.argument("name")
@where
def why(*, name: str, **at: str | None) -> None:
    """Why it has these replicas: what was promised and seen, the last decisions, and what would change them."""
    click.echo(policy_text.why(_get(name, at=at), now=datetime.now(tz=UTC)))


@main.command(short_help="The kept decisions, newest first.")
@click.argument("name")
@where
def history(*, name: str, **at: str | None) -> None:
    """The decisions that the status keeps, newest first, each with its message."""
    click.echo(policy_text.history(_get(name, at=at)))


@main.command(short_help="Stop scaling, wholly or in one direction.")
@click.argument("name")
@click.option("--scale-in", "direction", flag_value="scale-in", help="Only stop shrinking.")
@click.option("--scale-out", "direction", flag_value="scale-out", help="Only stop growing.")
@where
def pause(*, name: str, direction: str | None, **at: str | None) -> None:
    """Stop scaling. Plans go on and are reported; replicas may be changed by hand meanwhile."""
    _kubectl("annotate", "--overwrite", RESOURCE, name, f"{PAUSED}={direction or 'true'}", at=at)
    click.echo(f"{name} is paused" + (f" ({direction})" if direction else ""))


@main.command(short_help="Scale again.")
@click.argument("name")
@where
def resume(*, name: str, **at: str | None) -> None:
    """Scale again, from the replicas that are there."""
    _kubectl("annotate", RESOURCE, name, f"{PAUSED}-", at=at)
    click.echo(f"{name} is resumed")


@main.command(short_help="Plan at once.")
@click.argument("name")
@where
def plan(*, name: str, **at: str | None) -> None:
    """Plan at once instead of at the end of the interval."""
    now = datetime.now(tz=UTC).isoformat()
    _kubectl("annotate", "--overwrite", RESOURCE, name, f"{PLAN_REQUESTED}={now}", at=at)
    click.echo(f"a plan of {name} is requested; `kubectl slap why {name}` shows it")


@main.command(
    short_help="What the policy would do to a trace.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("name")
@click.option(
    "--trace",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Requests to play; every format that `slaplanner simulate` reads.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@where
def simulate(*, name: str, trace: str, options: tuple[str, ...], **at: str | None) -> None:
    """Play a trace through the policy as it is in the cluster, with its profile and its deployment.

    Nothing in the cluster is changed. Further options go to `slaplanner simulate`, such as --report day.html.
    """
    policy = _get(name, at=at)
    policy.pop("status", None)
    profile, target = policy["spec"]["profile"], policy["spec"]["targetRef"]
    with tempfile.TemporaryDirectory(prefix="kubectl-slap-") as scratch:
        folder = Path(scratch)
        words = ["--filename", _written(folder / "policy.json", policy), "--trace", trace]
        if "configMapRef" in profile and not _named("--profile", options):
            stored = _get_any("configmap", profile["configMapRef"]["name"], at=at)
            words += ["--profile", _unpacked(folder / "profile", stored)]
        if "name" in target and not _named("--target", options):
            graph = _get_any("dynamographdeployments.nvidia.com", target["name"], at=at)
            words += ["--target", _written(folder / "target.json", graph)]
        played = subprocess.run(  # noqa: S603 - this very program, and no shell
            [sys.executable, "-m", "slaplanner", "simulate", *words, *options], check=False
        )
    raise SystemExit(played.returncode)


def _named(option: str, options: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == option for word in options)


def _written(file: Path, document: dict[str, Any]) -> str:
    """JSON is YAML too."""
    file.write_text(json.dumps(document), encoding="utf-8")
    return str(file)


def _unpacked(folder: Path, config_map: dict[str, Any]) -> str:
    """The entries of a ConfigMap as files of a directory; its keys cannot have a slash."""
    folder.mkdir()
    for key, text in (config_map.get("data") or {}).items():
        (folder / key).write_text(text, encoding="utf-8")
    for key, text in (config_map.get("binaryData") or {}).items():
        (folder / key).write_bytes(base64.b64decode(text))
    return str(folder)


def _get(*words: str, at: dict[str, str | None]) -> dict[str, Any]:
    return _get_any(RESOURCE, *words, at=at)


def _get_any(*words: str, at: dict[str, str | None]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_kubectl("get", *words, "--output=json", at=at))
    return found


def _kubectl(*words: str, at: dict[str, str | None]) -> str:
    """What kubectl answers.

    Raises:
        click.ClickException: it is absent, or says no; with its own words.
    """
    flags: Sequence[str] = [f"--{name}={value}" for name, value in at.items() if value is not None]
    try:
        answer = subprocess.run(  # noqa: S603 - words of the one who typed them, and no shell
            ["kubectl", *flags, *words],  # noqa: S607 - the one that called this plugin
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise click.ClickException("found no kubectl on PATH") from error
    if answer.returncode != 0:
        raise click.ClickException(answer.stderr.strip())
    return answer.stdout
