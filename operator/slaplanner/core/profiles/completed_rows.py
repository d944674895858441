"""Rows of decode measurements made comparable: what one row lacks, its neighbours know.

Contexts are measured over different loads: where requests are long, few fit. Held at its last point,
such a row would pull the surface down between itself and a row that was measured further. So each
row is completed at both ends from the nearest rows on both sides that were measured there: one
request alone by their ITL over context; heavier loads by how much the excess over it grows in them
from there on, over 1 / context, in the proportion that the row's own excess has to theirs so far.
What is completed never leaves the range of the points that it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slaplanner.core.profiles.measured_row import MeasuredRow, room

ALONE = 1.5
"""Concurrency up to which a row's first point counts as one request alone."""

MOST_DIFFERENT = 2.0
"""How far a row's excess may differ from its neighbours' and still scale theirs; beyond it is noise."""

STEPS = 16
"""Equal steps of load, from 0 to 1, at which a row is continued, besides where others end."""


def completed(rows: Sequence[MeasuredRow], *, max_kv_tokens: float) -> list[MeasuredRow]:
    """*rows* (by rising context) completed at both ends, as far as their neighbours know."""
    started = [_started_alone(i, rows) for i in range(len(rows))]
    return [_continued(i, started, max_kv_tokens=max_kv_tokens) for i in range(len(started))]


def _started_alone(i: int, rows: Sequence[MeasuredRow]) -> MeasuredRow:
    row = rows[i]
    below = next((other for other in reversed(rows[:i]) if other.concurrency[0] <= ALONE), None)
    above = next((other for other in rows[i + 1 :] if other.concurrency[0] <= ALONE), None)
    if row.concurrency[0] <= ALONE or below is None or above is None:
        return row
    share = (row.context_tokens - below.context_tokens) / (above.context_tokens - below.context_tokens)
    itl = below.itl_ms[0] + share * (above.itl_ms[0] - below.itl_ms[0])
    throughput = below.throughput[0] + share * (above.throughput[0] - below.throughput[0])
    return replace(
        row,
        concurrency=np.concatenate(([1.0], row.concurrency)),
        load=np.concatenate(([0.0], row.load)),
        itl_ms=np.concatenate(([min(itl, row.itl_ms[0])], row.itl_ms)),
        throughput=np.concatenate(([throughput], row.throughput)),
    )


def _continued(i: int, rows: Sequence[MeasuredRow], *, max_kv_tokens: float) -> MeasuredRow:
    row = rows[i]
    ends = {other.last_measured_load for other in rows}
    steps = {step / STEPS for step in range(STEPS) if step / STEPS < max(ends)}
    knots = sorted(knot for knot in ends | steps if knot > row.load[-1])
    beside = room(row.context_tokens, max_kv_tokens=max_kv_tokens)
    load, itl, throughput = row.load.tolist(), row.itl_ms.tolist(), row.throughput.tolist()
    gpus = float(row.gpus[-1])
    for knot in knots:
        donors = _donors(i, rows, knot)
        if not donors:
            break
        here, before = (
            np.array([donor.itl_at(np.array([at]))[0] - donor.itl_ms[0] for donor in donors])
            for at in (knot, load[-1])
        )
        growth = _over_rate(row.context_tokens, donors, here - before)
        scale = _scale(own=itl[-1] - itl[0], theirs=_over_rate(row.context_tokens, donors, before))
        known = max(
            float(donor.itl_ms[0]) + excess for donor, excess in zip(donors, here.tolist(), strict=True)
        )
        next_itl = min(itl[-1] + scale * growth, max(itl[-1], known))
        carried = [float(donor.throughput_at(np.array([knot]))[0]) for donor in donors]
        concurrency = 1 + knot * beside
        next_throughput = min(
            max(1000 * concurrency / (next_itl * gpus), min(throughput[-1], *carried)),
            max(throughput[-1], *carried),
        )
        load.append(knot)
        itl.append(next_itl)
        throughput.append(next_throughput)
    return replace(
        row,
        concurrency=1 + np.array(load) * beside,
        load=np.array(load),
        itl_ms=np.array(itl),
        throughput=np.array(throughput),
    )


def _donors(i: int, rows: Sequence[MeasuredRow], load: float) -> list[MeasuredRow]:
    """The nearest row below and the nearest above row *i* that were measured up to *load*."""
    below = next((row for row in reversed(rows[:i]) if row.last_measured_load >= load), None)
    above = next((row for row in rows[i + 1 :] if row.last_measured_load >= load), None)
    return [row for row in (below, above) if row is not None]


def _over_rate(context: float, donors: Sequence[MeasuredRow], values: np.ndarray) -> float:
    """*values* of one or two donors at *context*, straight over 1 / context between two."""
    if len(donors) == 1:
        return float(values[0])
    low, high = (1 / donor.context_tokens for donor in donors)
    return float(values[0] + (low - 1 / context) / (low - high) * (values[1] - values[0]))


def _scale(*, own: float, theirs: float) -> float:
    if own <= 0 or theirs <= 0:
        return 1.0
    return min(max(own / theirs, 1 / MOST_DIFFERENT), MOST_DIFFERENT)
