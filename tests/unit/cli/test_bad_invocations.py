"""Wrong invocations and bad input: one message that names the file or the option, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.profile_data import LLAMA_8B, PROFILES

PROFILE = str(PROFILES / LLAMA_8B)
POLICY = {
    "apiVersion": "slaplanner.io/v1alpha1",
    "kind": "SLAPolicy",
    "metadata": {"name": "llama"},
    "spec": {
        "targetRef": {"name": "llama"},
        "sla": {"ttft": 500, "itl": 30},
        "profile": {"configMapRef": {"name": "profile"}},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def lines(*times_ms: float) -> str:
        requests = ({"timestamp": at, "input_length": 1000, "output_length": 100} for at in times_ms)
        return "\n".join(map(json.dumps, requests))

    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (tmp_path / "trace.jsonl").write_text(lines(*range(0, 1_000_000, 1000)))
    (tmp_path / "clocks.jsonl").write_text(lines(0, 1_700_000_000_000))
    (tmp_path / "span.csv").write_text("t_s,req_per_s\n0,1\n1,1\n1e300,1\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


DRYRUN = ("dryrun", "-f", "policy.yaml", "--profile", PROFILE, "--trace", "trace.jsonl")
SIMULATE = ("simulate", "-f", "policy.yaml", "--profile", PROFILE, "--trace")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param((*DRYRUN, "--amplify", "100000000000"), 1, "trace.jsonl: found 1,000 requests to be taken",
                     id="dryrun-amplified-beyond-memory"),
        pytest.param((*SIMULATE, "trace.jsonl", "--amplify", "1000000000"), 1, "trace.jsonl: found 1,000 requests to be",
                     id="simulate-amplified-beyond-memory"),
        pytest.param((*SIMULATE, "clocks.jsonl"), 1, "clocks.jsonl: found requests over", id="two-clocks"),
        pytest.param(("forecast", "span.csv"), 1, "span.csv: found a span of 1e+300 intervals", id="span"),
        pytest.param(("forecast", "trace.jsonl", "--interval", "nan"), 2, "'--interval'", id="forecast-nan"),
        pytest.param(("forecast", "trace.jsonl", "--startup", "1e308"), 2, "'--startup'", id="forecast-startup"),
        pytest.param((*DRYRUN, "--interval", "nan"), 2, "'--interval'", id="dryrun-nan"),
        pytest.param((*DRYRUN, "--interval", "1e-300"), 2, "'--interval'", id="dryrun-interval-of-nothing"),
        pytest.param((*DRYRUN, "--correction", "nan", "1"), 2, "'--correction'", id="correction-nan"),
        pytest.param((*DRYRUN, "--start-prefill", "1" + "0" * 20), 2, "'--start-prefill'", id="replicas-without-end"),
        pytest.param((*SIMULATE, "trace.jsonl", "--unscored", "nan"), 2, "'--unscored'", id="unscored-nan"),
        pytest.param((*SIMULATE, "trace.jsonl", "--silence", "inf"), 2, "'--silence'", id="silence-inf"),
        pytest.param((*SIMULATE, "trace.jsonl", "--lose", "decode@nan"), 2, "decode@nan", id="lose-nan"),
        pytest.param((*DRYRUN, "--target", "policy.yaml"), 1, "policy.yaml: found SLAPolicy, wanted a Dynamo",
                     id="target-of-another-kind"),
        pytest.param((*DRYRUN, "--target", "binary"), 1, "binary: is not UTF-8 text", id="target-no-text"),
        pytest.param(("dryrun", "-f", "binary", *DRYRUN[3:]), 1, "binary: is not UTF-8 text", id="policy-no-text"),
        pytest.param(("profile", "check", "binary"), 1, "binary: found no YAML", id="profile-no-text"),
        pytest.param(("forecast", "trace.jsonl", "--plot", "nowhere/a.png"), 1, "nowhere/a.png: cannot be written",
                     id="forecast-plot-nowhere"),
        pytest.param(("forecast", "trace.jsonl", "--plot", "folder.png"), 1, "folder.png: cannot be written",
                     id="forecast-plot-over-a-folder"),
        pytest.param(("profile", "show", PROFILE, "--plot", "nowhere/a.png"), 1, "nowhere/a.png: cannot be written",
                     id="profile-plot-nowhere"),
        pytest.param(("release", "--kubeconfig", "binary"), 2, "binary: no cluster is configured", id="release-binary"),
        pytest.param(("release", "--kubeconfig", "list.yaml"), 2, "list.yaml: no cluster", id="release-list"),
        pytest.param(("run", "--kubeconfig", "binary"), 1, "binary: found no way to an API server", id="run-binary"),
        pytest.param(("run", "--kubeconfig", "list.yaml"), 1, "list.yaml: found no way", id="run-list"),
        pytest.param(("run", "--settings", "list.yaml"), 1, "settings", id="run-settings"),
        pytest.param(("validate", "binary"), 2, "binary: cannot be read", id="validate-binary"),
        pytest.param(("validate", "nowhere.yaml"), 2, "nowhere.yaml: no such file", id="validate-nothing"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_one_message_says_what_was_wrong(arguments: tuple[str, ...], code: int, said: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == code
    assert result.stdout == ""
    assert said in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert len(errors[0]) < 400


def ending(error: BaseException) -> Result:
    """The command line when a command is ended by *error*."""

    @click.command()
    def fails() -> None:
        raise error

    class Group(type(main)):
        def get_command(self, *_: object) -> click.Command:
            return fails

    return CliRunner().invoke(Group(), ["fails"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(KeyboardInterrupt(), 130, "interrupted", id="ctrl-c"),
        pytest.param(MemoryError(), 1, "Error: there is not enough memory for this", id="memory"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), 1,
                     "Error: the output cannot be written: No space left on device", id="output-full"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device", "report.html"), 1,
                     "Error: report.html: No space left on device", id="file-full"),
        pytest.param(PermissionError(errno.EACCES, "Permission denied", "trace.jsonl"), 1,
                     "Error: trace.jsonl: Permission denied", id="permission"),
    ],
)  # fmt: skip
def test_what_ends_a_command_from_outside_has_its_exit_code(
    error: BaseException, code: int, said: str
) -> None:
    result = ending(error)
    assert (result.exit_code, result.stderr.strip()) == (code, said)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")  # noqa: PTH110 - before any test
def test_a_full_disk_is_said_and_no_traceback_follows(folder: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [sys.executable, "-c", "from slaplanner.cli import main; main()", "validate", "policy.yaml"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, check=False,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "Error: the output cannot be written: No space left on device\n"
