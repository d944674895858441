"""`slaplanner forecast`: tables, documents, pictures, and clear words for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from slaplanner.cli import main

OWN = """
class LastValue:
    def forecast(self, values, horizon):
        return [float(values[-1])] * horizon

class NotOne:
    pass
"""


@pytest.fixture
def load(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    rows = [f"{minute},{1000 + 50 * rng.normal():.0f},800,90" for minute in range(80)]
    path = tmp_path / "load.csv"
    path.write_text("\n".join(["minute,request_count,avg_isl,avg_osl", *rows]), encoding="utf-8")
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["forecast", *map(str, arguments)])


def test_the_document_has_the_documented_shape(load: Path) -> None:
    result = _run(load, "--methods", "Constant,Kalman", "--output", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["series"] == "load.csv"
    assert document["interval"] == 60
    assert [method["name"] for method in document["methods"]] == ["Constant", "Kalman"]
    for method in document["methods"]:
        assert {"wape", "wapeHorizon", "pinball", "coverage", "msMedian", "msP99"} <= method.keys()
        assert 0 <= method["coverage"] <= 1
        assert method["wape"] > 0


def test_a_trace_is_summed_up_per_interval(tmp_path: Path) -> None:
    lines = (
        {"timestamp": 1000 * second, "input_length": 800 + second % 7, "output_length": 90}
        for second in range(1200)
    )
    trace = tmp_path / "load.jsonl"
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = _run(trace, "--interval", "30", "--methods", "Constant", "--output", "json")
    document = json.loads(result.stdout)
    assert (document["series"], document["interval"], document["points"]) == ("load.jsonl", 30, 39)
    assert document["methods"][0]["wape"] == 0.0


def test_without_lengths_the_bound_is_that_of_the_requests(load: Path) -> None:
    """As of a prefill rate whose length never changes."""
    bare = load.with_name("bare.csv")
    bare.write_text("\n".join(",".join(row.split(",")[:2]) for row in load.read_text().splitlines()))
    both = [
        json.loads(_run(path, "--methods", "Constant", "--output", "json").stdout)["methods"][0]
        for path in (load, bare)
    ]
    for figure in ("wape", "wapeHorizon", "pinball", "coverage"):
        assert both[0][figure] == pytest.approx(both[1][figure], rel=1e-5)


def test_the_table_names_each_method(load: Path) -> None:
    result = _run(load, "--methods", "auto,constant")
    assert result.exit_code == 0, result.output
    assert "Auto" in result.stdout
    assert "Constant" in result.stdout
    assert "WAPE 3 steps" in result.stdout


def test_the_horizon_is_interval_and_startup_unless_it_is_given(load: Path) -> None:
    asked = ("--methods", "Constant", "--output", "json")
    assert json.loads(_run(load, *asked).stdout)["horizon"] == 3
    assert json.loads(_run(load, *asked, "--startup", "600").stdout)["horizon"] == 11
    assert json.loads(_run(load, *asked, "--horizon", "5").stdout)["horizon"] == 5
    assert json.loads(_run(load, *asked, "--interval", "120").stdout)["horizon"] == 2


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_is_drawn(load: Path, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"forecast{suffix}"
    result = _run(load, "--methods", "Constant", "--plot", picture)
    assert result.exit_code == 0, result.output
    head = picture.read_bytes()[:8]
    assert head.startswith(b"\x89PNG") if suffix == ".png" else head.startswith(b"<?xml")


def test_a_forecaster_of_ones_own_stands_beside_the_built_in_ones(
    load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_forecasters.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = _run(load, "--methods", "Constant", "--method", "own_forecasters:LastValue", "--output", "json")
    assert result.exit_code == 0, result.output
    constant, own = json.loads(result.stdout)["methods"]
    assert own["name"] == "LastValue"
    assert own["wape"] == pytest.approx(constant["wape"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--methods", "Oracle"], 2, "found 'Oracle', wanted any of Auto", id="unknown-method"),
        pytest.param(["--plot", "x.gif"], 2, "ends in .png, .svg or .pdf", id="unknown-format"),
        pytest.param(["--method", "nothing"], 2, "wanted MODULE:CLASS", id="no-colon"),
        pytest.param(["--method", "json:Gone"], 1, "json:Gone: cannot be made", id="no-such-class"),
        pytest.param(["--method", "json:JSONDecoder"], 1, "no method forecast", id="not-a-forecaster"),
        pytest.param(["--interval", "45"], 1, "wanted an interval that is a multiple", id="odd-interval"),
        pytest.param(["--horizon", "79"], 1, "wanted more than the horizon", id="horizon-too-long"),
    ],
)
def test_bad_usage_and_bad_input_have_one_clear_message(
    load: Path, arguments: list[str], code: int, message: str
) -> None:
    chosen = [] if "--methods" in arguments else ["--methods", "Constant"]
    result = _run(load, *chosen, *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    result = _run(tmp_path / "gone.jsonl", "--methods", "Constant")
    assert result.exit_code == 1
    assert "found no such file" in result.output
