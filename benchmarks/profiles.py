"""How well each interpolation predicts a measurement that it was not shown.

Each interior point of the three measured profiles in `examples/profiles` is left out in turn, both
interpolations are built from the others, and what they say at that point is compared with what was
measured there. Interior means that the other points surround it, so that nobody has to
extrapolate: for prefill all but the shortest and the longest prompt; for decode the points inside
the convex hull of the others. The points on the edge of that hull are counted apart.

    python benchmarks/profiles.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.spatial import ConvexHull

from slaplanner.adapters.profiles import load_directory
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles import DecodeTable, PrefillTable, ProfileTables, build

PROFILES = Path(__file__).resolve().parent.parent / "examples" / "profiles"
MEASURED = (
    "h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1",
    "h100_sxm_vllm_Llama-3.3-70B-Instruct-FP8_tp8",
    "h100_sxm_vllm_Llama-3.3-70B-Instruct-FP8_tp4",
)
QUANTITIES = ("TTFT", "prefill throughput", "ITL", "decode throughput")
ON_THE_HULL = 1e-6
"""Distance, in shares of the axes, up to which a point counts as on the edge."""


@dataclass(frozen=True, slots=True)
class Miss:
    """One left-out point: the relative error of each interpolation."""

    quantity: str
    inside: bool
    """Surrounded by the other points; False: on the edge of their hull."""
    error: dict[Interpolation, float]


def leave_one_out(tables: ProfileTables, *, edges: bool = True) -> Iterator[Miss]:
    """Each point that the others surround, left out in turn; those on their hull too if *edges*."""
    if tables.prefill is not None:
        yield from _prefill(tables.prefill.by_isl())
    if tables.decode is not None:
        yield from _decode(tables.decode, edges=edges)


def mean_errors(misses: Iterable[Miss], quantity: str, *, inside: bool = True) -> dict[Interpolation, float]:
    """Mean relative error of each interpolation over all points of one quantity."""
    chosen = [miss for miss in misses if miss.quantity == quantity and miss.inside == inside]
    return {how: float(np.mean([miss.error[how] for miss in chosen])) for how in Interpolation}


def measured_profile(folder: str) -> ProfileTables:
    """The tables of one folder below `examples/profiles`."""
    return load_directory(PROFILES / folder, allowed=None, interpolation=Interpolation.MONOTONE).tables


def _prefill(table: PrefillTable) -> Iterator[Miss]:
    for i in range(1, len(table) - 1):
        shown = ProfileTables(prefill=table.take(_without(i, len(table))), decode=None)
        isl = float(table.isl_tokens[i])
        stages = {how: build(shown, how).prefill for how in Interpolation}
        yield Miss(
            QUANTITIES[0],
            True,
            {how: _error(stage.ttft_ms(isl), table.ttft_ms[i]) for how, stage in stages.items()},
        )
        yield Miss(
            QUANTITIES[1],
            True,
            {
                how: _error(stage.throughput_per_gpu(isl), table.throughput_per_gpu[i])
                for how, stage in stages.items()
            },
        )


def _decode(table: DecodeTable, *, edges: bool) -> Iterator[Miss]:
    for i in range(len(table)):
        others = _without(i, len(table))
        depth = _depth_in_hull(table, i, others)
        if depth < (-ON_THE_HULL if edges else ON_THE_HULL):
            continue
        shown = ProfileTables(prefill=None, decode=table.take(others))
        n, context = float(table.concurrency[i]), float(table.context_tokens[i])
        stages = {how: build(shown, how).decode for how in Interpolation}
        inside = depth > ON_THE_HULL
        yield Miss(
            QUANTITIES[2],
            inside,
            {
                how: _error(stage.itl_ms(concurrency=n, context_tokens=context), table.itl_ms[i])
                for how, stage in stages.items()
            },
        )
        yield Miss(
            QUANTITIES[3],
            inside,
            {
                how: _error(
                    stage.throughput_per_gpu(concurrency=n, context_tokens=context),
                    table.throughput_per_gpu[i],
                )
                for how, stage in stages.items()
            },
        )


def _depth_in_hull(table: DecodeTable, i: int, others: npt.NDArray[np.int64]) -> float:
    """How far inside the hull of the others point *i* lies, in shares of the axes; negative outside."""
    places = np.column_stack((table.kv_usage, table.context_tokens / table.context_tokens.max()))
    equations = ConvexHull(places[others]).equations
    return -float((equations[:, :2] @ places[i] + equations[:, 2]).max())


def _without(i: int, count: int) -> npt.NDArray[np.int64]:
    return np.array([j for j in range(count) if j != i])


def _error(found: float, wanted: float) -> float:
    return abs(found - wanted) / wanted


def main() -> None:
    """Print the errors per profile and over all points of the three together."""
    console = Console(width=120)
    misses = {folder: list(leave_one_out(measured_profile(folder))) for folder in MEASURED}
    together = [miss for of_one in misses.values() for miss in of_one]
    console.print(
        _table("mean relative error at left-out interior points, Cubic beside Monotone", misses, together)
    )
    console.print(
        _table(
            "the same at points on the edge of the measured area",
            misses,
            together,
            quantities=QUANTITIES[2:],
            inside=False,
        )
    )


def _table(
    title: str,
    misses: dict[str, list[Miss]],
    together: list[Miss],
    *,
    quantities: tuple[str, ...] = QUANTITIES,
    inside: bool = True,
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("profile", no_wrap=True)
    table.add_column("points", justify="right")
    for quantity in quantities:
        table.add_column(quantity, justify="right")
    rows: list[tuple[str, list[Miss]]] = [*misses.items(), ("the three together", together)]
    for name, of_one in rows:
        counts = [
            sum(miss.quantity == quantity and miss.inside == inside for miss in of_one)
            for quantity in quantities[::2]
        ]
        cells: list[str] = []
        for quantity in quantities:
            errors = mean_errors(of_one, quantity, inside=inside)
            cells.append(f"{errors[Interpolation.CUBIC]:.2%} | {errors[Interpolation.MONOTONE]:.2%}")
        table.add_row(
            name.rpartition("vllm_")[2],
            " + ".join(map(str, counts)),
            *cells,
            end_section=name == MEASURED[-1],
        )
    return table


if __name__ == "__main__":
    main()
