"""The command line: one group, each subcommand in a module of its own.

Subcommands are imported when they are called, so that `slaplanner validate` does not pay for
the operator's imports, and an extra that is not installed hurts only the command that needs it.
"""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "dryrun": "slaplanner.cli.dryrun:dryrun",
    "fleet": "slaplanner.cli.fleet:fleet",
    "forecast": "slaplanner.cli.forecast:forecast",
    "profile": "slaplanner.cli.profile:profile",
    "release": "slaplanner.cli.release:release",
    "run": "slaplanner.cli.run:run",
    "simulate": "slaplanner.cli.simulate:simulate",
    "validate": "slaplanner.cli.validate:validate",
    "virtual": "slaplanner.cli.virtual:virtual",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slaplanner")
def main() -> None:
    """Keep LLM serving inside its latency targets with the fewest GPUs."""
