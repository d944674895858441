"""A user's folder with a policy and a trace, and one of the offline commands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.profile_data import LLAMA_8B, PROFILES

PROFILE = PROFILES / LLAMA_8B


def policy_document(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "slaplanner.io/v1alpha1",
        "kind": "SLAPolicy",
        "metadata": {"name": "llama-8b", "namespace": "serving"},
        "spec": {
            "targetRef": {"name": "llama-8b"},
            "sla": {"ttft": 1000, "itl": 30},
            "profile": {"configMapRef": {"name": "planner-profile-data"}},
            **spec,
        },
    }


class Desk:
    """Runs `slaplanner COMMAND` on the folder's files."""

    def __init__(
        self,
        folder: Path,
        command: str,
        *,
        policy: dict[str, Any],
        trace: str,
        unless_given: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self._command = command
        self._unless_given = {"--profile": PROFILE, **(unless_given or {})}
        self.policy = self.write("policy.yaml", yaml.safe_dump(policy))
        self.trace = self.write("trace.jsonl", trace)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, *arguments: object, policy: Path | None = None, trace: Path | None = None) -> Result:
        """With the folder's policy and trace, and an example's profile, unless *arguments* say otherwise."""
        given = [*map(str, arguments)]
        for option, value in self._unless_given.items():
            if option not in given:
                given += [option, str(value)]
        files = ["-f", str(policy or self.policy), "--trace", str(trace or self.trace)]
        return CliRunner().invoke(main, [self._command, *files, *given])

    def json(self, *arguments: object, **files: Path) -> dict[str, Any]:
        result = self.run(*arguments, "--output", "json", **files)
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def plans(self, *arguments: object, **files: Path) -> list[dict[str, str]]:
        """The CSV, one row per plan."""
        result = self.run(*arguments, "--output", "csv", **files)
        assert result.exit_code == 0, result.stderr
        return list(csv.DictReader(io.StringIO(result.stdout)))
