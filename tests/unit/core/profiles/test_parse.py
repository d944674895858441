"""Profiles from bytes: what is read, and how everything else is refused."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.errors import ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles import ProfileTables, build
from slaplanner.core.profiles.parse import MAX_ARRAYS, MAX_FILE_BYTES, decode_table, prefill_table
from slaplanner.core.reasons import Reason
from tests.profile_data import MEASURED, MODELLED, PROFILES

PREFILL = {
    "prefill_isl": [100, 200, 300, 400],
    "prefill_ttft": [10.0, 20.0, 30.0, 40.0],
    "prefill_thpt_per_gpu": [5000.0, 5000.0, 5000.0, 5000.0],
}
DECODE = {
    "x_kv_usage": [0.1, 0.2, 0.1, 0.2],
    "y_context_length": [100, 100, 200, 200],
    "z_itl": [10.0, 20.0, 10.0, 20.0],
    "z_thpt_per_gpu": [50.0, 60.0, 50.0, 60.0],
    "max_kv_tokens": 10_000,
}


def _json(table: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**table, **changes}).encode()


def _npz(table: dict[str, Any], **changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{key: np.atleast_1d(value) for key, value in {**table, **changes}.items()})
    return file.getvalue()


def _npz_with_member(key: str, content: bytes) -> bytes:
    """PREFILL as NPZ, one member replaced by raw bytes."""
    file = io.BytesIO(_npz({name: value for name, value in PREFILL.items() if name != key}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"{key}.npy", content)
    return file.getvalue()


def _npy_header(shape: str, *, descr: str = "<f8") -> bytes:
    """The start of an NPY file that claims this shape, and no data."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize("folder", [*MEASURED, *MODELLED])
def test_npz_and_json_of_one_profile_read_alike(folder: str) -> None:
    for name, parse in (("prefill_raw_data.json", prefill_table), ("decode_raw_data.json", decode_table)):
        text = (PROFILES / folder / name).read_bytes()
        from_json = parse(text, source=name)
        from_npz = parse(_npz(json.loads(text)), source="raw_data.npz")
        for field in from_json.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(from_json, field), getattr(from_npz, field))


def test_further_keys_are_ignored() -> None:
    assert len(prefill_table(_json(PREFILL, comment="measured on a Tuesday"), source="p")) == 4
    assert len(prefill_table(_npz(PREFILL, comment=[1]), source="p")) == 4


def test_max_kv_tokens_may_be_a_number_or_the_first_of_a_list() -> None:
    assert decode_table(_json(DECODE), source="d").max_kv_tokens == 10_000
    assert decode_table(_json(DECODE, max_kv_tokens=[10_000]), source="d").max_kv_tokens == 10_000
    assert decode_table(_npz(DECODE), source="d").max_kv_tokens == 10_000


BAD_PREFILL = {
    "empty": (b"", "found nothing in it"),
    "blank": (b" \n", "found nothing in it"),
    "text": (b"TTFT was fine", "found text that is no JSON"),
    "binary": (b"\x80\x81\xff", "found text that is no JSON"),
    "a-list": (b"[1, 2]", "found a JSON list, wanted an object"),
    "nested-without-end": (b"[" * 100_000, "found text that is no JSON"),
    "a-key-missing": (_json({"prefill_isl": [1]}), "found no prefill_ttft, prefill_thpt_per_gpu, wanted"),
    "nan": (_json(PREFILL, prefill_ttft=[10, float("nan"), 30, 40]), "prefill_ttft: found nan at index 1"),
    "infinity": (_json(PREFILL, prefill_ttft=[10, 20, float("inf"), 40]), "found inf at index 2"),
    "beyond-doubles": (
        _json(PREFILL, prefill_isl=[1, 2, 3, 4]).replace(b"[1,", b"[1" + b"0" * 400 + b","),
        "found a number beyond",
    ),
    "huge": (_json(PREFILL, prefill_isl=[1, 2, 3, 1e300]), "found 1e+300, wanted at most 1e+12"),
    "negative": (_json(PREFILL, prefill_ttft=[10, -20, 30, 40]), "found -20 at index 1, wanted more than 0"),
    "zero-throughput": (_json(PREFILL, prefill_thpt_per_gpu=[0, 1, 1, 1]), "found 0 at index 0"),
    "unequal-lengths": (_json(PREFILL, prefill_ttft=[10, 20, 30]), "prefill_isl 4, prefill_ttft 3"),
    "empty-columns": (_json({key: [] for key in PREFILL}), "found 0 points, wanted 1 to 2000"),
    "too-many-points": (_json({key: [1.0] * 3000 for key in PREFILL}), "found 3000 points"),
    "text-for-numbers": (_json(PREFILL, prefill_isl=["100", "200", "300", "400"]), "found a str"),
    "booleans": (_json(PREFILL, prefill_isl=[True, True, True, True]), "found a bool"),
    "nested-lists": (
        _json(PREFILL, prefill_isl=[[1], [2], [3], [4]]),
        "found a list, wanted a list of numbers",
    ),
    "an-object": (_json(PREFILL, prefill_isl={"a": 1}), "found a dict"),
    "a-number": (_json(PREFILL, prefill_isl=100), "found a int, wanted a list of numbers"),
    "null": (_json(PREFILL, prefill_isl=None), "found a NoneType"),
    "too-big": (b" " * MAX_FILE_BYTES + _json(PREFILL), "found more than 4 MiB"),
    "npz-cut": (_npz(PREFILL)[:200], "found a broken archive"),
    "npz-without-arrays": (_npz({"other": [1]}), "found no prefill_isl"),
    "npz-nan": (_npz(PREFILL, prefill_ttft=[10, np.nan, 30, 40]), "found nan at index 1"),
    "npz-pickle": (
        _npz(PREFILL, prefill_isl=np.array([{"a": 1}, 2, 3, 4], dtype=object)),
        "prefill_isl: found elements of type object, wanted plain numbers",
    ),
    "npz-bare-pickle": (_npz_with_member("prefill_isl", pickle.dumps([1])), "found no NumPy array in it"),
    "npz-text": (_npz(PREFILL, prefill_isl=["a", "b", "c", "d"]), "found elements of type <U1"),
    "npz-complex": (_npz(PREFILL, prefill_isl=[1j, 2, 3, 4]), "found elements of type complex128"),
    "npz-two-dimensions": (
        _npz(PREFILL, prefill_isl=[[1, 2], [3, 4]]),
        "arrays of different shapes (prefill_isl (2, 2)",
    ),
    "npz-claims-terabytes": (
        _npz_with_member("prefill_isl", _npy_header("(1000000000000,)")),
        "found an array of shape (1000000000000,)",
    ),
    "npz-claims-less-than-nothing": (
        _npz_with_member("prefill_isl", _npy_header("(-4,)")),
        "prefill_isl",
    ),
    "npz-claims-more-than-it-holds": (
        _npz_with_member("prefill_isl", _npy_header("(4,)")),
        "found fewer numbers than the 4 its header says",
    ),
    "npz-unpacks-without-end": (
        _npz_with_member("prefill_isl", b"\0" * (2 << 20)),
        "found no NumPy array in it",
    ),
    "npz-of-many-arrays": (
        _npz({f"a{index}": [1] for index in range(MAX_ARRAYS + 1)}),
        "found 65 arrays, wanted at most 64",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_PREFILL.values(), ids=BAD_PREFILL.keys())
def test_what_is_no_prefill_table_is_refused_with_what_was_found(data: bytes, message: str) -> None:
    with pytest.raises(ProfileFormatError) as refusal:
        prefill_table(data, source="file.x")
    assert str(refusal.value).startswith("file.x: ")
    assert message in str(refusal.value)
    assert refusal.value.reason is Reason.PROFILE_INVALID


BAD_DECODE = {
    "usage-above-one": (_json(DECODE, x_kv_usage=[0.1, 0.2, 0.1, 20.0]), "found 20, wanted shares"),
    "usage-of-nothing": (_json(DECODE, x_kv_usage=[0.0, 0.2, 0.1, 0.2]), "found 0 at index 0"),
    "context-zero": (_json(DECODE, y_context_length=[0, 1, 1, 1]), "y_context_length: found 0 at index 0"),
    "cache-of-nothing": (_json(DECODE, max_kv_tokens=0), "max_kv_tokens: found 0"),
    "cache-nan": (_json(DECODE, max_kv_tokens=float("nan")), "max_kv_tokens: found nan"),
    "cache-empty": (_json(DECODE, max_kv_tokens=[]), "max_kv_tokens: found an empty list"),
    "cache-text": (_json(DECODE, max_kv_tokens="10000"), "max_kv_tokens: found a str"),
    "cache-missing": (_json({key: DECODE[key] for key in list(DECODE)[:4]}), "found no max_kv_tokens"),
}


@pytest.mark.parametrize(("data", "message"), BAD_DECODE.values(), ids=BAD_DECODE.keys())
def test_what_is_no_decode_table_is_refused_with_what_was_found(data: bytes, message: str) -> None:
    with pytest.raises(ProfileFormatError) as refusal:
        decode_table(data, source="file.x")
    assert message in str(refusal.value)


@pytest.mark.parametrize("parse", [prefill_table, decode_table])
@given(
    data=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail))
)
def test_any_bytes_are_a_table_or_a_refusal(parse: Callable[..., object], data: bytes) -> None:
    with pytest.raises(ProfileFormatError):
        parse(data, source="noise")


@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), to=st.integers(0, 255))
def test_a_damaged_archive_is_a_table_or_a_refusal(cut: int, flip: int, to: int) -> None:
    data = bytearray(_npz(PREFILL))
    data[flip % len(data)] = to
    with contextlib.suppress(ProfileFormatError):
        prefill_table(bytes(data[: len(data) - cut]), source="damaged")


def test_unsorted_points_are_read_as_sorted() -> None:
    shuffled = {key: [values[i] for i in (2, 0, 3, 1)] for key, values in PREFILL.items()}
    for interpolation in Interpolation:
        profiles = [
            build(
                ProfileTables(prefill=prefill_table(_json(table), source="p"), decode=None), interpolation
            ).prefill
            for table in (PREFILL, shuffled)
        ]
        assert profiles[0].ttft_ms(250) == profiles[1].ttft_ms(250)


def test_cubic_names_monotone_where_three_points_are_too_few() -> None:
    three = {key: values[:3] for key, values in PREFILL.items()}
    tables = ProfileTables(prefill=prefill_table(_json(three), source="p"), decode=None)
    with pytest.raises(ProfileFormatError, match=r"found 3 prefill points, wanted at least 4.*Monotone"):
        build(tables, Interpolation.CUBIC)
    assert build(tables, Interpolation.MONOTONE).prefill.ttft_ms(150) == pytest.approx(15)


def test_cubic_refuses_a_length_that_was_measured_twice_and_monotone_takes_the_mean() -> None:
    twice = {
        "prefill_isl": [100, 200, 200, 300, 400],
        "prefill_ttft": [10, 19, 21, 30, 40],
        "prefill_thpt_per_gpu": [5000, 4900, 5100, 5000, 5000],
    }
    tables = ProfileTables(prefill=prefill_table(_json(twice), source="p"), decode=None)
    with pytest.raises(ProfileFormatError, match="two prefill points of the same prefill_isl"):
        build(tables, Interpolation.CUBIC)
    assert build(tables, Interpolation.MONOTONE).prefill.ttft_ms(200) == 20


def test_cubic_needs_several_contexts_and_monotone_works_with_one() -> None:
    line = {
        **DECODE,
        "y_context_length": [100] * 4,
        "x_kv_usage": [0.1, 0.2, 0.3, 0.4],
        "z_itl": [10, 20, 30, 40],
    }
    tables = ProfileTables(prefill=None, decode=decode_table(_json(line), source="d"))
    with pytest.raises(ProfileFormatError, match=r"4 decode points that span no area.*Monotone"):
        build(tables, Interpolation.CUBIC)
    assert build(tables).decode.itl_ms(concurrency=15, context_tokens=100) == pytest.approx(15)


def test_a_stage_that_was_not_profiled_is_named_when_it_is_asked_for() -> None:
    tables = ProfileTables(prefill=prefill_table(_json(PREFILL), source="p"), decode=None)
    with pytest.raises(ProfileFormatError, match="neither stage"):
        ProfileTables(prefill=None, decode=None)
    with pytest.raises(ProfileNotFound, match="wanted its decode stage"):
        _ = build(tables).decode


def test_latencies_too_long_for_seconds_are_milliseconds_whatever_the_throughput_says() -> None:
    """A wrong throughput is a fault that is told, and no reason to refuse the profile."""
    wrong = decode_table(
        _json(DECODE, z_itl=[13.3, 36.7, 14.0, 36.0], z_thpt_per_gpu=[0.5, 0.5, 0.5, 0.5]), source="decode"
    )

    assert wrong.itl_ms.max() == 36.7
