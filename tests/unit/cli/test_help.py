"""`--help` answers at once and says what each command is for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from slaplanner.cli import SUMMARIES, main
from slaplanner_lab.cli import SUMMARIES as OF_THE_LABORATORY

HEAVY = {
    "kopf",
    "kubernetes",
    "numpy",
    "scipy",
    "statsmodels",
    "pandas",
    "yaml",
    "rich",
    "matplotlib",
    "pydantic",
}


def test_each_command_has_a_summary_that_is_not_cut() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    summaries = SUMMARIES | OF_THE_LABORATORY
    assert set(main.list_commands(None)) == set(summaries)  # type: ignore[arg-type]  # it needs no context
    for name, summary in summaries.items():
        assert len(summary) <= 50
        assert summary in shown, name
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize("words", [["-m", "slaplanner", "--help"], ["-m", "slaplanner.cli.kubectl_slap"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Imports are what took two seconds; a measured time would depend on the machine."""
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert "click" in imported
    assert imported & HEAVY == set()


def test_python_dash_m_is_the_same_program() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "slaplanner", "--help"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("Usage: slaplanner [OPTIONS] COMMAND")
