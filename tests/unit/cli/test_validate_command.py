"""`slaplanner validate`, as a shell sees it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.policy_corpus import policy

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.yaml"))

GOOD = yaml.safe_dump(policy())
BAD = yaml.safe_dump(policy(mode="agg", sla={"ttft": 0, "tttft": 1}))
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def _validate(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["validate", *arguments], input=stdin)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_good_and_earns_no_warning(example: Path) -> None:
    result = _validate(str(example))

    assert result.exit_code == 0
    assert "1 checked, 0 refused, 0 warnings" in result.stdout


def test_the_examples_are_numbered_and_the_minimal_one_is_first() -> None:
    assert [path.name[:3] for path in EXAMPLES] == [f"{number:02}-" for number in range(1, len(EXAMPLES) + 1)]
    assert EXAMPLES[0].name == "01-minimal.yaml"


def test_a_good_policy() -> None:
    result = _validate("-", stdin=GOOD)

    assert result.exit_code == 0
    assert result.stdout == "<stdin>:1: case: ok\n1 checked, 0 refused, 0 warnings\n"


def test_a_bad_policy_has_every_fault_on_a_line_with_its_path() -> None:
    result = _validate("-", stdin=BAD)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        '<stdin>:1: case: spec.sla.tttft: unknown field "spec.sla.tttft"; known here: attainment, isl, itl, osl, ttft',
        "<stdin>:1: case: spec.sla.ttft: Invalid value: 0: should be greater than 0",
    ]
    assert result.stdout == "1 checked, 1 refused, 0 warnings\n"


def test_documents_of_other_kinds_are_skipped_with_a_note() -> None:
    result = _validate("-", stdin=f"{CONFIG_MAP}---\n{GOOD}")

    assert result.exit_code == 0
    assert "<stdin>:1: skipped, not an SLAPolicy (ConfigMap)" in result.stdout
    assert "<stdin>:5: case: ok" in result.stdout


def test_a_list_as_kubectl_prints_it_is_looked_into() -> None:
    listing = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [policy(), policy(mode="x")]})

    result = _validate("-", stdin=listing)

    assert result.exit_code == 1
    assert "2 checked, 1 refused" in result.stdout


def test_a_directory_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "deep" / "b.yml").write_text(BAD)
    (tmp_path / "notes.txt").write_text("not looked at")

    result = _validate(str(tmp_path))

    assert result.exit_code == 1
    assert "2 checked, 1 refused" in result.stdout


def test_quiet_prints_faults_alone() -> None:
    result = _validate("-q", "-", stdin=f"{CONFIG_MAP}---\n{GOOD}---\n{BAD}")

    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2


def test_text_that_is_not_yaml_is_refused() -> None:
    result = _validate("-", stdin="a: [1")

    assert result.exit_code == 1
    assert "<stdin>: not YAML that Kubernetes reads: line 1" in result.stderr


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(
            {"apiVersion": "slaplanner.io/v9", "kind": "SLAPolicy"},
            "wanted slaplanner.io/v1alpha1",
            id="version",
        ),
        pytest.param(policy() | {"metadata": "x"}, "metadata: Invalid value", id="metadata-of-another-type"),
        pytest.param(policy() | {"spec": "x"}, "spec: Invalid value", id="spec-of-another-type"),
        pytest.param(policy() | {"metadata": None}, "name or generateName is required", id="no-metadata"),
    ],
)
def test_an_object_that_is_hardly_one(document: dict[str, object], said: str) -> None:
    result = _validate("-", stdin=yaml.safe_dump(document))

    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(
            policy(
                gpuBudget={"max": 3},
                roles=[{"name": "prefill", "gpusPerReplica": 4}, {"name": "decode", "gpusPerReplica": 2}],
            ),
            "spec.gpuBudget.max: 3 GPUs are fewer than the 6 that minReplicas need",
            id="a-budget-below-the-floors",
        ),
        pytest.param(
            policy(gpuBudget={"max": 1}),
            "1 GPUs are fewer than the at least 2",
            id="a-budget-below-two-floors-of-unknown-size",
        ),
        pytest.param(
            policy(roles=[{"name": "prefill", "maxReplicas": 2, "fallbackReplicas": 3}]),
            "fallbackReplicas 3 lies outside minReplicas 1 and maxReplicas 2",
            id="a-fallback-above-the-ceiling",
        ),
        pytest.param(
            policy(metrics={"windowSeconds": 60}),
            "60 s is shorter than the planning interval, 180 s",
            id="a-window-with-gaps",
        ),
        pytest.param(
            policy(metrics={"matchers": [{"label": "pod", "operator": "Matches", "value": "a("}]}),
            "does not look like a regular expression",
            id="a-broken-expression",
        ),
        pytest.param(
            policy() | {"metadata": {"name": "case", "annotations": {"slaplanner.io/paused": "in"}}},
            "pauses both directions: found 'in'",
            id="an-unknown-pause",
        ),
        pytest.param(policy() | {"status": {"sizing": "x"}}, "status: is ignored", id="a-status"),
    ],
)
def test_what_is_legal_and_unwise_earns_a_warning(document: dict[str, object], said: str) -> None:
    result = _validate("-", stdin=yaml.safe_dump(document))

    assert result.exit_code == 0
    assert said in result.stderr
    assert "1 checked, 0 refused, 1 warnings" in result.stdout


@pytest.mark.parametrize("arguments", [(), ("no-such-file.yaml",), ("--no-such-option", "-")], ids=str)
def test_wrong_usage_has_its_own_exit_code(arguments: tuple[str, ...]) -> None:
    assert _validate(*arguments).exit_code == 2


def test_an_empty_directory_is_wrong_usage(tmp_path: Path) -> None:
    assert _validate(str(tmp_path)).exit_code == 2


def test_a_file_that_is_not_text_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")

    assert _validate(str(tmp_path / "a.yaml")).exit_code == 2


def test_the_help_shows_examples() -> None:
    assert "slaplanner validate examples/01-minimal.yaml" in _validate("--help").stdout


def test_validating_does_not_load_the_operator() -> None:
    code = (
        "import sys, slaplanner.cli.validate\n"
        "heavy = ('kopf', 'kubernetes', 'scipy', 'statsmodels', 'numpy', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
