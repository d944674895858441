"""Every `slaplanner` command that README and docs show can be typed as it stands: its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from slaplanner.cli import main
from tests.profile_data import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh", "console")


def _commands() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if language not in _SHELL:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                typed = re.split(r"[|#;]|&&", line.removeprefix("$ "))[0].strip()
                if typed.startswith("slaplanner "):
                    yield page, typed


COMMANDS = list(_commands())


def test_there_are_some() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(
    ("page", "typed"), COMMANDS, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(COMMANDS)]
)
def test_it_can_be_typed(page: Path, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root of the checkout, where the pages' paths lead somewhere."""
    monkeypatch.chdir(ROOT)
    command: click.Command = main
    context = click.Context(main)
    for word in shlex.split(typed)[1:]:
        found = command.get_command(context, word) if isinstance(command, click.Group) else None
        if found is not None:
            command, context = found, click.Context(found, parent=context)
        elif word.startswith("-") and word != "-":
            assert word.partition("=")[0] in _options(command), f"{page.name}: {typed}"
    assert not isinstance(command, click.Group) or "--help" in typed, f"{page.name}: {typed}"


def _options(command: click.Command) -> set[str]:
    options = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    return options | {"-h", "--help", "--version"}
