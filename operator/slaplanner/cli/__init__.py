"""The command line: one group, each subcommand in a module of its own.

Subcommands are imported when they are called, so that `slaplanner validate` does not pay for
the operator's imports, and an extra that is not installed hurts only the command that needs it.
Other packages add subcommands by entry points of the group `slaplanner.commands`; the laboratory does.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import EntryPoint, entry_points

import click

_COMMANDS = {
    "migrate": "slaplanner.cli.migrate:migrate",
    "release": "slaplanner.cli.release:release",
    "run": "slaplanner.cli.run:run",
    "validate": "slaplanner.cli.validate:validate",
    "virtual": "slaplanner.cli.virtual:virtual",
}


class _LazyGroup(click.Group):
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
