"""The laboratory's subcommands: there when it is installed, and named when an installation leaves it out."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from slaplanner.cli import main


def test_the_laboratory_adds_its_subcommands() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert {"dryrun", "forecast", "profile", "run", "simulate", "validate"} <= set(result.output.split())


def test_without_the_laboratory_only_the_operators_subcommands_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "slaplanner_lab", None)

    words = set(CliRunner().invoke(main, ["--help"]).output.split())

    assert {"run", "validate", "release"} <= words
    assert not {"simulate", "dryrun", "fleet"} & words


def test_without_the_laboratory_its_subcommands_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slaplanner_lab", None)

    result = CliRunner().invoke(main, ["simulate", "--help"])

    assert result.exit_code == 2
    assert "'simulate' is part of the laboratory, which this installation leaves out" in result.output
