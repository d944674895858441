"""A warm-up trace from where users keep it: what is read, what is refused, and what a plan makes of it."""

from __future__ import annotations

import base64
import gzip
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slaplanner.controller import warmup
from slaplanner.controller.warmup import WarmUps, config_map_bytes, file_bytes
from slaplanner.core.errors import WarmUpError
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

MINUTES = 10


def trace(*counts: int, start_s: float = 0.0) -> bytes:
    """So many requests in each minute."""
    lines = (
        {"timestamp": 1000 * (start_s + 60 * minute + at), "input_length": 100, "output_length": 10}
        for minute, count in enumerate(counts)
        for at in range(count)
    )
    return "\n".join(json.dumps(line) for line in lines).encode()


PLAIN = trace(*range(1, MINUTES + 1))


class TestOneVersionOfATrace:
    def test_becomes_points_on_the_planning_grid_without_its_unfinished_last_one(self) -> None:
        series = WarmUps().of(PLAIN, name="t", interval_s=60.0)
        assert series.requests == tuple(float(count) for count in range(1, MINUTES))
        assert set(series.isl_tokens) == {100.0}

    def test_may_be_gzipped(self) -> None:
        both = [WarmUps().of(data, name="t", interval_s=60.0) for data in (PLAIN, gzip.compress(PLAIN))]
        assert both[0] == both[1]

    def test_may_count_its_time_from_1970(self) -> None:
        late = trace(*range(1, MINUTES + 1), start_s=1_700_000_040.0)
        assert WarmUps().of(late, name="t", interval_s=60.0).requests == tuple(
            float(count) for count in range(1, MINUTES)
        )

    def test_is_read_once_for_each_interval(self) -> None:
        kept = WarmUps()
        assert kept.of(PLAIN, name="t", interval_s=60.0) is kept.of(PLAIN, name="t", interval_s=60.0)
        assert kept.of(PLAIN, name="t", interval_s=120.0).step_s == 120.0

    def test_keeps_no_more_points_than_are_learnt_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warmup, "MOST_POINTS", 3)
        assert WarmUps().of(PLAIN, name="t", interval_s=60.0).requests == (7.0, 8.0, 9.0)

    def test_gives_way_to_newer_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warmup, "KEPT", 1)
        kept = WarmUps()
        first = kept.of(PLAIN, name="t", interval_s=60.0)
        kept.of(PLAIN, name="t", interval_s=120.0)
        again = kept.of(PLAIN, name="t", interval_s=60.0)
        assert again == first
        assert again is not first

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            pytest.param(b"", "found 0 lines and none of them valid, wanted lines like", id="empty"),
            pytest.param(b"hello\n", "none of them valid", id="no-trace"),
            pytest.param(trace(5), "wanted at least two", id="a-single-interval"),
            pytest.param(trace(5, 5), "found 2 intervals of 60 s, wanted at least 3", id="too-short"),
            pytest.param(gzip.compress(PLAIN)[:-20], "found a broken gzip file", id="half-a-gzip-file"),
            pytest.param(
                trace(5) + b"\n" + trace(5, start_s=1_700_000_000.0), "found a span of", id="two-clocks"
            ),
        ],
    )
    def test_that_cannot_be_used_says_what_was_found(self, data: bytes, message: str) -> None:
        with pytest.raises(WarmUpError, match=message) as caught:
            WarmUps().of(data, name="t", interval_s=60.0)
        assert caught.value.reason is Reason.WARMUP_TRACE_UNUSABLE

    def test_that_unpacks_without_end_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warmup, "MAX_TEXT_BYTES", 1 << 20)
        with pytest.raises(WarmUpError, match="more than 1 MiB of text"):
            WarmUps().of(gzip.compress(b"\n" * (4 << 20)), name="t", interval_s=60.0)


class TestAConfigMap:
    def test_holds_the_trace_under_any_key(self) -> None:
        assert config_map_bytes("monday", {"load.jsonl": "x"}, None) == b"x"

    def test_holds_a_packed_trace_as_binary_data(self) -> None:
        packed = gzip.compress(PLAIN)
        text = base64.b64encode(packed).decode()
        assert config_map_bytes("monday", None, {"load.jsonl.gz": text}) == packed

    @pytest.mark.parametrize(
        ("data", "binary", "message"),
        [
            pytest.param(None, None, "has no entries, wanted one", id="empty"),
            pytest.param({"a": "", "b": ""}, None, "has a, b, wanted one", id="two-entries"),
            pytest.param({"b": ""}, {"a": ""}, "has a, b, wanted one", id="one-of-each-kind"),
            pytest.param(None, {"a": "%"}, "a of ConfigMap 'monday' is not base64", id="no-base64"),
        ],
    )
    def test_with_anything_else_is_refused(
        self, data: dict[str, str] | None, binary: dict[str, str] | None, message: str
    ) -> None:
        with pytest.raises(WarmUpError, match=message):
            config_map_bytes("monday", data, binary)


class TestAMountedFile:
    def test_is_read_below_an_allowed_directory(self, tmp_path: Path) -> None:
        (tmp_path / "t.jsonl").write_bytes(PLAIN)
        assert file_bytes(str(tmp_path / "t.jsonl"), allowed=[tmp_path]) == PLAIN

    def test_is_refused_anywhere_else(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/etc/hostname")
        for path in ("/etc/hostname", str(tmp_path / "link"), f"{tmp_path}/../x"):
            with pytest.raises(WarmUpError, match="wanted a path below an allowed") as caught:
                file_bytes(path, allowed=[tmp_path])
            assert caught.value.reason is Reason.PROFILE_PATH_NOT_ALLOWED

    def test_that_is_absent_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WarmUpError, match=r"gone\.jsonl: found no such file"):
            file_bytes(str(tmp_path / "gone.jsonl"), allowed=[tmp_path])

    def test_that_is_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(WarmUpError, match="something other than a file"):
            file_bytes(str(tmp_path / "pipe"), allowed=[tmp_path])

    def test_that_is_too_big_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warmup, "MAX_FILE_BYTES", 1 << 20)
        (tmp_path / "big").write_bytes(bytes((1 << 20) + 1))
        with pytest.raises(WarmUpError, match="more than 1 MiB"):
            file_bytes(str(tmp_path / "big"), allowed=[tmp_path])


@dataclass(slots=True)
class WarmWorld(FakeWorld):
    """Holds a trace, or the reason why there is none."""

    answers: list[Series | WarmUpError] = field(default_factory=list)
    """Of the coming plans; the last one stays."""

    async def warm_up(self, policy: object) -> Series | None:  # noqa: ARG002
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, WarmUpError):
            raise answer
        return answer


GONE = WarmUpError("warm-up trace: ConfigMap 'monday' does not exist in namespace 'serving'")
EARLIER = Series(
    end_s=0.0, step_s=3600.0, requests=(900.0,) * 30, isl_tokens=(100.0,) * 30, osl_tokens=(10.0,) * 30
)


def with_trace(*answers: Series | WarmUpError) -> OnePolicy:
    planning = {
        "intervalSeconds": 3600,
        "sizing": "Throughput",
        "predictor": {"warmupTrace": {"configMapRef": {"name": "monday"}}},
    }
    return one_policy(WarmWorld(target(), answers=list(answers)), document(planning=planning))


def forecast_condition(one: OnePolicy) -> tuple[str, str, str]:
    status = one.record.report.status
    assert status is not None
    (found,) = [entry for entry in status["conditions"] if entry["type"] == "ForecastAvailable"]
    return found["status"], found["reason"], found["message"]


class TestAPlan:
    async def test_forecasts_at_once_from_the_trace(self) -> None:
        one = with_trace(EARLIER)
        await one.tick()
        assert forecast_condition(one)[:2] == ("True", "Forecast")

    async def test_goes_on_without_a_trace_and_says_why(self) -> None:
        one = with_trace(GONE)
        await one.tick()
        status, reason, message = forecast_condition(one)
        assert (status, reason) == ("False", "WarmupTraceUnusable")
        assert message == f"1 of 5 points of history; the last value stands in; {GONE}"
        assert len(one.world.orders) == 1

    async def test_follows_at_once_when_the_trace_changes(self) -> None:
        one = with_trace(GONE, EARLIER)
        await one.tick()
        await one.tick()
        assert forecast_condition(one)[0] == "False"
        one.world.versions["warm-up"] = "2"
        await one.tick()
        assert forecast_condition(one)[:2] == ("True", "Forecast")

    async def test_keeps_what_it_learnt_of_a_trace_that_went(self) -> None:
        one = with_trace(EARLIER, GONE)
        await one.tick()
        one.world.versions["warm-up"] = ""
        await one.tick()
        status, reason, message = forecast_condition(one)
        assert (status, reason) == ("True", "WarmupTraceUnusable")
        assert message.endswith(str(GONE))

    async def test_fits_on_the_trace_after_it(self) -> None:
        one = with_trace(EARLIER)
        await one.tick()
        assert one.record.memory.state is not None
        learnt = one.record.memory.state.forecast
        assert learnt is not None
        assert learnt.complete
        assert learnt.learner.points == 30, "the trace: the load of now only stands in for a point"
