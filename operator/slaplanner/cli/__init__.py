"""The command line: one group, each subcommand in a module of its own.

Subcommands are imported when they are called, so that `slaplanner validate` does not pay for
the operator's imports, and an extra that is not installed hurts only the command that needs it. `--help`
imports none of them: their one-line summaries stand here.
Other packages add subcommands by entry points of the group `slaplanner.commands`, with their summaries in
`SUMMARIES` of the package that holds them; the laboratory does.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

_COMMANDS = {
    "migrate": "slaplanner.cli.migrate:migrate",
    "release": "slaplanner.cli.release:release",
    "run": "slaplanner.cli.run:run",
    "validate": "slaplanner.cli.validate:validate",
    "virtual": "slaplanner.cli.virtual:virtual",
}

SUMMARIES = {
    "release": "Remove finalizers after the operator is gone.",
    "run": "Run the operator.",
    "validate": "Check policies as an API server would.",
    "virtual": "Follow and acknowledge published decisions.",
}


EXIT_INTERRUPTED = 130
"""As a shell tells it: 128 and SIGINT; tells Ctrl-C from bad input."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class _LazyGroup(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of `--help`, without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        added = (name for name, point in _added_commands().items() if _is_installed(point))
        return sorted({*_COMMANDS, *added})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, _, attribute = _COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        point = _added_commands().get(cmd_name)
        if point is None:
            return None
        if not _is_installed(point):
            raise click.UsageError(
                f"{cmd_name!r} is part of the laboratory, which this installation leaves out, as the operator's image "
                "does; `pip install slaplanner` has it",
                ctx,
            )
        added: click.Command = point.load()
        return added

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what ends it from outside is one message and an exit code of its own."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except MemoryError as error:
            raise click.ClickException("there is not enough memory for this") from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends silently: whoever read our output has seen enough
            if error.errno in _FULL and error.filename is None:
                _close_output()
                raise click.ClickException(f"the output cannot be written: {error.strerror}") from error
            named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise click.ClickException(named) from error
        return result


def _close_output() -> None:
    """Nothing more goes to an output that is full, also not what Python flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(name: str) -> str:
    """What one line of `--help` says."""
    if name in SUMMARIES:
        return SUMMARIES[name]
    package = importlib.import_module(_added_commands()[name].module.rpartition(".")[0])
    return str(getattr(package, "SUMMARIES", {}).get(name, ""))


def _added_commands() -> dict[str, EntryPoint]:
    """Subcommands that packages add, by name."""
    return {point.name: point for point in entry_points(group="slaplanner.commands")}


def _is_installed(point: EntryPoint) -> bool:
    """Whether the package of that entry point is here: the operator's image leaves the laboratory out."""
    return importlib.util.find_spec(point.module.partition(".")[0]) is not None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slaplanner")
def main() -> None:
    """Keep LLM serving inside its latency targets with the fewest GPUs."""
