"""Profiles that somebody wrote or cut: a ProfileFormatError, or figures for every look-up."""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import _interpnd

from slaplanner.adapters.profiles import LoadedProfile, load_config_map
from slaplanner.core.errors import ProfileError, ProfileFormatError
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles.parse import decode_table, prefill_table

PREFILL: dict[str, Any] = {
    "prefill_isl": [100, 200, 500, 1000],
    "prefill_ttft": [10, 20, 30, 40],
    "prefill_thpt_per_gpu": [5000, 9000, 9500, 8000],
}
DECODE: dict[str, Any] = {
    "x_kv_usage": [0.1, 0.5, 0.1, 0.5],
    "y_context_length": [1000, 1000, 4000, 8000],
    "z_itl": [5, 8, 6, 10],
    "z_thpt_per_gpu": [1000, 3000, 200, 700],
    "max_kv_tokens": 100,
}


@contextmanager
def rough_surfaces() -> Iterator[None]:
    """scipy warns of surfaces through points of wild magnitudes; they are read all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _interpnd.GradientEstimationWarning)
        yield


def loaded(stage: dict[str, Any], interpolation: Interpolation) -> LoadedProfile:
    name = "prefill_raw_data.json" if "prefill_isl" in stage else "decode_raw_data.json"
    with rough_surfaces():
        return load_config_map({name: json.dumps(stage)}, interpolation=interpolation)


def look_up_everything(found: LoadedProfile) -> None:
    """Every figure is finite, whatever is asked."""
    found.faults_on(2)
    asked = (-5.0, 0.0, 1e-9, 1.0, 150.5, 700.0, 1e6, 1e13)
    prefill = found.profile.prefill if found.tables.prefill is not None else None
    decode = found.profile.decode if found.tables.decode is not None else None
    figures: list[float] = []
    for one in asked:
        if prefill is not None:
            figures += [
                prefill.ttft_ms(one),
                prefill.throughput_per_gpu(one),
                *prefill.ttft_row_ms(np.array([one])),
            ]
        for other in asked[2:] if decode is not None else ():
            assert decode is not None
            at = {"concurrency": one, "context_tokens": other}
            figures += [decode.itl_ms(**at), decode.throughput_per_gpu(**at), decode.lowest_itl_ms(other)]
            best = decode.best(itl_ms=one, context_tokens=other)
            figures += [best.throughput_per_gpu, best.itl_ms, best.kv_usage, best.concurrency]
            figures += [*decode.itl_row_ms(np.array([one]), context_tokens=other)]
    assert all(math.isfinite(figure) for figure in figures)


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(PREFILL | {"prefill_isl": [100, 200], "prefill_ttft": [10, 20],
                                "prefill_thpt_per_gpu": [1e-320, 9000]}, id="P2-throughput-of-nothing"),
        pytest.param(DECODE | {"y_context_length": [1000, 1000, 5e-324, 8000]}, id="P3-context-of-nothing"),
        pytest.param(PREFILL | {"prefill_isl": [None, "x", 1, 2]}, id="null-before-text"),
        pytest.param(DECODE | {"max_kv_tokens": 1e-300}, id="a-cache-of-nothing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_figures_below_any_measurement_are_refused(
    stage: dict[str, Any], interpolation: Interpolation
) -> None:
    with pytest.raises(ProfileFormatError):
        loaded(stage, interpolation)


def test_a_spline_that_overshoots_below_zero_is_a_named_fault() -> None:
    """P5: -33,788 tokens/s/GPU at ISL 700, and no word of it."""
    stage = {
        "prefill_isl": [100, 200, 500, 1000, 2000],
        "prefill_ttft": [10, 20, 30, 40, 50],
        "prefill_thpt_per_gpu": [5000, 9000, 9500, 1e7, 8000],
    }
    kinds = [fault.kind.value for fault in loaded(stage, Interpolation.CUBIC).faults]
    assert "CubicOvershoots" in kinds
    assert "CubicOvershoots" not in [f.kind.value for f in loaded(stage, Interpolation.MONOTONE).faults]
    assert "CubicOvershoots" not in [f.kind.value for f in loaded(PREFILL, Interpolation.CUBIC).faults]


MAGNITUDES = st.floats(-7, 13).map(lambda power: 10.0**power)
ODD = st.sampled_from([0, -1, 1e-320, 1e300, math.nan, math.inf, None, "x", True, [1], {}, 10**400, 0.5, 1e6])


@st.composite
def stages(draw: st.DrawFn) -> dict[str, Any]:
    stage = json.loads(json.dumps(draw(st.sampled_from([PREFILL, DECODE]))))
    for name in draw(st.lists(st.sampled_from(sorted(stage)), max_size=3)):
        column = stage[name]
        if not isinstance(column, list) or not column or draw(st.booleans()):
            stage[name] = draw(ODD | st.lists(MAGNITUDES | ODD, max_size=6) | MAGNITUDES)
        else:
            column[draw(st.integers(0, len(column) - 1))] = draw(MAGNITUDES | ODD)
    return stage


@given(stages(), st.sampled_from(Interpolation))
def test_any_columns_are_refused_or_answer_every_look_up(
    stage: dict[str, Any], interpolation: Interpolation
) -> None:
    try:
        found = loaded(stage, interpolation)
    except ProfileError:
        return
    look_up_everything(found)


def npz(stage: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, values in stage.items():
            member = io.BytesIO()
            np.save(member, np.array(values, dtype=np.float64))
            archive.writestr(f"{name}.npy", member.getvalue())
    return file.getvalue()


ARCHIVES = [npz(PREFILL), npz(DECODE), npz(PREFILL, zipfile.ZIP_DEFLATED), npz(DECODE, zipfile.ZIP_LZMA)]


@pytest.mark.parametrize("archive", ARCHIVES, ids=["prefill", "decode", "deflated", "lzma"])
@pytest.mark.parametrize("lost", [1, 6, 20, 100])
def test_an_archive_without_its_first_or_last_bytes_is_refused(archive: bytes, lost: int) -> None:
    """P1: a ValueError, and so no condition that named the profile."""
    for cut in (archive[lost:], archive[:-lost]):
        for table in (prefill_table, decode_table):
            with pytest.raises(ProfileFormatError):
                table(cut, source="raw_data.npz")


@given(
    archive=st.sampled_from(ARCHIVES),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=5,
    ),
)
def test_archives_with_any_bytes_changed_are_read_or_refused(
    archive: bytes, edits: list[tuple[float, int, bytes]]
) -> None:
    data = bytearray(archive)
    for share, removed, inserted in edits:
        at = int(share * len(data))
        data[at : at + removed * len(inserted)] = inserted
    for table in (prefill_table, decode_table):
        try:
            table(bytes(data), source="raw_data.npz")
        except ProfileFormatError:
            continue


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_refused_as_a_profile(data: bytes) -> None:
    for table in (prefill_table, decode_table):
        with pytest.raises(ProfileFormatError):
            table(data, source="s")
