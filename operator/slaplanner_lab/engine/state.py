"""The engine's memory: flat records, so that compiled and plain code share it.

Lists and heaps of requests are woven through the requests' own records (indices instead of
pointers): a request is in one place at a time, so each record carries one set of links, and no
list ever needs a capacity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats

Integers = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

NONE = -1
"""No request, no worker."""

PREFILL = 0
DECODE = 1
AGG = 2
ROLES = 3

FREE = 0
STARTING = 1
READY = 2
DRAINING = 3

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("isl_tokens", np.int32),
        ("osl_tokens", np.int32),
        ("prefill_start_s", np.float64),
        ("first_token_s", np.float64),
        ("admitted_s", np.float64),
        ("last_token_s", np.float64),
        ("context_tokens", np.float64),  # what its KV holds, or must hold when it is admitted
        ("remaining_tokens", np.float64),  # still to be decoded when it is admitted
        ("paused_s", np.float64),  # when its last token came, while it waits for a decode worker
        ("finish_v", np.float64),  # its worker's virtual time at its last token: the heap's key
        ("left", np.int32),
        ("right", np.int32),
        ("up", np.int32),
        ("before", np.int32),
        ("after", np.int32),
        ("refused", np.bool_),
    ],
    align=True,
)

WORKER = np.dtype(
    [
        ("role", np.int8),
        ("phase", np.int8),
        ("born", np.int64),  # order of creation
        ("event_s", np.float64),  # when something happens here next; infinite when nothing does
        ("serving", np.int32),  # prefill, agg: the request whose prompt is in service
        ("chunk_s", np.float64),  # agg: what a chunk of that prompt adds to a step
        ("prefill_end_v", np.float64),  # agg: v at the end of that prompt
        ("running", np.int32),  # decode: sequences in the batch
        ("root", np.int32),  # decode: heap of the batch by finish_v
        ("newest", np.int32),  # decode: end of the batch's list in order of admission
        ("base_tokens", np.float64),  # decode: KV = base + running x v
        ("v", np.float64),  # decode: tokens that each sequence has gained, the virtual time
        ("v_s", np.float64),  # decode: the clock at which v was right
        ("v_stop", np.float64),  # decode: v at the next event
        ("itl_s", np.float64),  # decode: seconds per token until then
    ],
    align=True,
)

QUEUE = np.dtype([("head", np.int32), ("tail", np.int32), ("length", np.int64)], align=True)

TOTALS = np.dtype(
    [
        ("clock_s", np.float64),
        ("submitted", np.int64),
        ("arrived", np.int64),
        ("firsts", np.int64),
        ("lasts", np.int64),
        ("refused", np.int64),
        ("preempted", np.int64),
        ("migrated", np.int64),
        ("born", np.int64),  # workers so far
        ("tokens", np.float64),  # decoded
        ("token_s", np.float64),  # sum of the gaps that these tokens saw
        ("counted_early", np.float64),  # tokens whose gap was recorded before they flowed
        ("present_since_s", np.float64),
    ],
    align=True,
)


class Arena(NamedTuple):
    """All of it. Times in seconds, lengths in tokens; `totals` has one record, roles index from 0 on.

    There are two queues, for prefill and for decode; a worker of both takes from the first.
    """

    requests: Records
    workers: Records
    queues: Records
    totals: Records
    tree: Integers
    firsts: Integers
    lasts: Integers
    present: Integers
    worker_s: Floats
    gap_edges_s: Floats
    gap_counts: Floats
    ttft_s: Floats
    itl_s: Floats
    scales: Floats


ISL_STEP, SHORTEST_CONTEXT, LOG_CONTEXT_RATIO, KV_STEP, MAX_KV, PREFILLED = range(6)
"""What stands where in `Arena.scales`; `PREFILLED` is 1 where prompts come with their prefill done, else 0."""


def empty_requests(count: int) -> Records:
    """*count* unused request records."""
    return np.zeros(count, REQUEST)


def empty_workers(count: int) -> Records:
    """*count* free worker slots, in none of which anything happens."""
    workers = np.zeros(count, WORKER)
    workers["event_s"] = np.inf
    for link in ("serving", "root", "newest"):
        workers[link] = NONE
    return workers
