"""What happens in the fleet, event by event, on the flat records of `state`.

Prefill: one FIFO queue in front of all workers; a worker serves one prompt at a time, for the
profile's TTFT at its length; the first token leaves with it.

Decode: continuous batching. Every sequence of a batch gains tokens at the same pace, so one number
per worker, its virtual time v (tokens gained by each), tells them all: a sequence that joins at v
with n tokens to go ends at v + n, and an event costs O(log n), however many run. The pace is the
profile's ITL at the batch's KV usage and mean context, looked up again whenever the batch changes or
has grown by a step. A request goes to the ready worker that holds the fewest KV tokens; where even
that one lacks room, requests wait in one FIFO queue. A batch that outgrows its KV loses its newest
sequence, as engines preempt; what it held must be prefilled again, before new prompts.

Agg: a worker does both. It takes the next prompt of the one queue when it serves none and holds the
fewest KV tokens, and serves it in chunks: each step of its batch then takes the ITL and one chunk's share
of the prompt's prefill time, so prompts slow the batch down and the batch slows prompts down.
"""

from __future__ import annotations

from math import ceil, inf, log

from slaplanner_lab.engine.compiled import kernel
from slaplanner_lab.engine.heaps_and_queues import (
    heap_push,
    heap_remove,
    queue_append,
    queue_pop,
    queue_put_first,
    tree_update,
)
from slaplanner_lab.engine.state import (
    AGG,
    DECODE,
    DRAINING,
    FREE,
    ISL_STEP,
    KV_STEP,
    LOG_CONTEXT_RATIO,
    MAX_KV,
    NONE,
    PREFILL,
    PREFILLED,
    READY,
    SHORTEST_CONTEXT,
    STARTING,
    Arena,
)

WATERMARK = 0.01
"""Share of the KV kept free at admission for the growth of what runs, as vLLM does."""

KV_GROWTH_STEP = 0.01
"""The ITL is looked up again when a batch has grown by this share of the KV..."""

CONTEXT_GROWTH_STEP = 0.1
"""...or its mean context by this share..."""

LEAST_STEP_TOKENS = 32.0
"""...but not more often than every so many tokens."""

CHUNK_TOKENS = 2048.0
"""Prompt tokens that a worker of both roles puts into one step, as engines with chunked prefill do."""

SAME_V = 1e-6
"""Sequences whose ends are nearer than this, in tokens, end together."""


@kernel
def prefill_seconds(a: Arena, tokens: float) -> float:
    """The profile's TTFT at *tokens*; at its largest ISL beyond it."""
    at = tokens / a.scales[ISL_STEP]
    last = a.ttft_s.size - 1
    i = int(at)
    if i >= last:
        return float(a.ttft_s[last])
    share = at - i
    return float(a.ttft_s[i] * (1.0 - share) + a.ttft_s[i + 1] * share)


@kernel
def seconds_per_token(a: Arena, kv_tokens: float, running: int) -> float:
    """The profile's ITL of a batch that holds *kv_tokens*; at its edge beyond it."""
    rows, columns = a.itl_s.shape
    y = log(kv_tokens / running / a.scales[SHORTEST_CONTEXT]) / a.scales[LOG_CONTEXT_RATIO]
    y = max(0.0, min(y, rows - 1.0))
    x = min(kv_tokens / a.scales[MAX_KV] / a.scales[KV_STEP], columns - 1.0)
    i = min(int(y), rows - 2)
    j = min(int(x), columns - 2)
    y -= i
    x -= j
    low = a.itl_s[i, j] * (1.0 - x) + a.itl_s[i, j + 1] * x
    high = a.itl_s[i + 1, j] * (1.0 - x) + a.itl_s[i + 1, j + 1] * x
    return float(low * (1.0 - y) + high * y)


@kernel
def record_gap(a: Arena, gap_s: float, tokens: float) -> None:
    """Count *tokens* that each came *gap_s* after the one before."""
    bucket = 0
    while bucket < a.gap_edges_s.size - 1 and gap_s > a.gap_edges_s[bucket]:
        bucket += 1
    a.gap_counts[bucket] += tokens


@kernel
def account(a: Arena, now_s: float) -> None:
    """Bring the worker-seconds up to *now_s*: every worker that exists, whatever it does."""
    elapsed_s = now_s - a.totals["present_since_s"][0]
    for role in range(a.worker_s.size):
        a.worker_s[role] += a.present[role] * elapsed_s
    a.totals["present_since_s"][0] = now_s


@kernel
def set_event(a: Arena, worker: int, event_s: float) -> None:
    a.workers["event_s"][worker] = event_s
    tree_update(a.tree, a.workers, worker)


@kernel
def retire(a: Arena, worker: int, now_s: float) -> None:
    """The worker is gone, its GPUs are free."""
    account(a, now_s)
    a.present[a.workers["role"][worker]] -= 1
    a.workers["phase"][worker] = FREE
    set_event(a, worker, inf)


@kernel
def reserved_tokens(a: Arena, worker: int) -> float:
    """KV of the prompt that an agg worker serves; 0 where it serves none."""
    serving = a.workers["serving"][worker]
    if a.workers["role"][worker] != AGG or serving == NONE:
        return 0.0
    return float(a.requests["context_tokens"][serving])


@kernel
def moves(a: Arena, worker: int) -> bool:
    """Whether the worker's virtual time goes on: it has a batch, or a prompt beside it."""
    workers = a.workers
    return bool(
        workers["running"][worker] > 0
        or (workers["role"][worker] == AGG and workers["serving"][worker] != NONE)
    )


@kernel
def kv_tokens(a: Arena, worker: int, now_s: float) -> float:
    """KV held by *worker* at *now_s*, between its events too; that of the prompt in service with it."""
    record = a.workers[worker]
    if record["running"] == 0:
        return reserved_tokens(a, worker)
    v = record["v"] + (now_s - record["v_s"]) / record["itl_s"]
    return float(record["base_tokens"] + record["running"] * v) + reserved_tokens(a, worker)


@kernel
def flow(a: Arena, worker: int, now_s: float, v: float) -> None:
    """Let the batch gain tokens until virtual time *v*, reached at *now_s*."""
    workers, totals = a.workers, a.totals
    running = workers["running"][worker]
    if running > 0:
        tokens = running * (v - workers["v"][worker])
        itl_s = workers["itl_s"][worker]
        totals["tokens"][0] += tokens
        totals["token_s"][0] += tokens * itl_s
        early = min(totals["counted_early"][0], tokens)
        totals["counted_early"][0] -= early
        record_gap(a, itl_s, tokens - early)
    workers["v"][worker] = v
    workers["v_s"][worker] = now_s


@kernel
def flow_until(a: Arena, worker: int, now_s: float) -> None:
    """Let the batch gain tokens until *now_s*."""
    if moves(a, worker):
        elapsed_s = now_s - a.workers["v_s"][worker]
        v = a.workers["v"][worker] + elapsed_s / a.workers["itl_s"][worker]
        flow(a, worker, now_s, min(v, a.workers["v_stop"][worker]))
    a.workers["v_s"][worker] = now_s


@kernel
def pace(a: Arena, worker: int, now_s: float) -> None:
    """Look the ITL up for the batch as it is, and when it must be looked up again."""
    workers = a.workers
    running = workers["running"][worker]
    if running == 0:
        workers["base_tokens"][worker] = 0.0
    if not moves(a, worker):
        workers["v"][worker] = 0.0
        set_event(a, worker, inf)
        return
    v = workers["v"][worker]
    stop = inf
    itl_s = 0.0
    if running > 0:
        held = workers["base_tokens"][worker] + running * v
        max_kv = a.scales[MAX_KV]
        itl_s = seconds_per_token(a, held, running)
        step = min(
            KV_GROWTH_STEP * max_kv / running,
            max(LEAST_STEP_TOKENS, CONTEXT_GROWTH_STEP * held / running),
        )
        stop = min(v + step, a.requests["finish_v"][workers["root"][worker]])
        if running > 1:
            stop = min(stop, v + max(0.0, max_kv - held - reserved_tokens(a, worker)) / running)
    if workers["role"][worker] == AGG and workers["serving"][worker] != NONE:
        itl_s += workers["chunk_s"][worker]
        stop = min(stop, workers["prefill_end_v"][worker])
    workers["itl_s"][worker] = itl_s
    workers["v_stop"][worker] = stop
    set_event(a, worker, now_s + (stop - v) * itl_s)


@kernel
def leave(a: Arena, worker: int, request: int) -> None:
    """Take *request* out of the batch and free its KV; `context_tokens` says what it held."""
    requests, workers = a.requests, a.workers
    v = workers["v"][worker]
    left = max(0.0, requests["finish_v"][request] - v)
    requests["context_tokens"][request] += requests["remaining_tokens"][request] - left
    requests["remaining_tokens"][request] = left
    workers["base_tokens"][worker] -= requests["context_tokens"][request] - v
    workers["running"][worker] -= 1
    workers["root"][worker] = heap_remove(requests, workers["root"][worker], request)
    before = requests["before"][request]
    after = requests["after"][request]
    if before != NONE:
        requests["after"][before] = after
    if after != NONE:
        requests["before"][after] = before
    else:
        workers["newest"][worker] = before


@kernel
def join(a: Arena, worker: int, request: int, now_s: float) -> None:
    """Admit *request* to the batch."""
    requests, workers, totals = a.requests, a.workers, a.totals
    flow_until(a, worker, now_s)
    v = workers["v"][worker]
    requests["finish_v"][request] = v + requests["remaining_tokens"][request]
    if requests["admitted_s"][request] != requests["admitted_s"][request]:
        requests["admitted_s"][request] = now_s
    workers["base_tokens"][worker] += requests["context_tokens"][request] - v
    workers["running"][worker] += 1
    workers["root"][worker] = heap_push(requests, workers["root"][worker], request)
    newest = workers["newest"][worker]
    requests["before"][request] = newest
    requests["after"][request] = NONE
    if newest != NONE:
        requests["after"][newest] = request
    workers["newest"][worker] = request
    pace(a, worker, now_s)
    waited_s = now_s - requests["paused_s"][request]
    if waited_s > 0.0:
        # The next token of this request comes after the wait: one gap, recorded now that it is known.
        totals["token_s"][0] += waited_s
        totals["counted_early"][0] += 1.0
        record_gap(a, waited_s + workers["itl_s"][worker], 1.0)


@kernel
def admit(a: Arena, now_s: float) -> None:
    """Give waiting requests, in order, to the worker that holds the fewest tokens."""
    workers, queues = a.workers, a.queues
    room = a.scales[MAX_KV] * (1.0 - WATERMARK)
    while queues["head"][DECODE] != NONE:
        best = NONE
        least = inf
        for worker in range(workers.size):
            if workers["phase"][worker] == READY and workers["role"][worker] == DECODE:
                held = kv_tokens(a, worker, now_s)
                if held < least:
                    least = held
                    best = worker
        if best == NONE:
            return
        running = workers["running"][best]
        need = a.requests["context_tokens"][queues["head"][DECODE]] + running + 1
        if running > 0 and least + need > room:
            return
        join(a, best, queue_pop(queues, DECODE, a.requests), now_s)


@kernel
def serve(a: Arena, worker: int, now_s: float) -> None:
    """Let an idle prefill worker take the next prompt."""
    request = queue_pop(a.queues, PREFILL, a.requests)
    a.workers["serving"][worker] = request
    if request == NONE:
        set_event(a, worker, inf)
        return
    if a.requests["prefill_start_s"][request] != a.requests["prefill_start_s"][request]:
        a.requests["prefill_start_s"][request] = now_s
    set_event(a, worker, now_s + prefill_seconds(a, a.requests["context_tokens"][request]))


@kernel
def serve_agg(a: Arena, now_s: float) -> None:
    """Give waiting prompts, in order, to the agg workers that serve none, the one with the fewest tokens first."""
    workers, queues, requests = a.workers, a.queues, a.requests
    room = a.scales[MAX_KV] * (1.0 - WATERMARK)
    while queues["head"][PREFILL] != NONE:
        best = NONE
        least = inf
        for worker in range(workers.size):
            if (
                workers["phase"][worker] == READY
                and workers["role"][worker] == AGG
                and workers["serving"][worker] == NONE
            ):
                held = kv_tokens(a, worker, now_s)
                if held < least:
                    least = held
                    best = worker
        if best == NONE:
            return
        running = workers["running"][best]
        tokens = requests["context_tokens"][queues["head"][PREFILL]]
        if running > 0 and least + tokens + running + 1 > room:
            return
        flow_until(a, best, now_s)
        request = queue_pop(queues, PREFILL, requests)
        if requests["prefill_start_s"][request] != requests["prefill_start_s"][request]:
            requests["prefill_start_s"][request] = now_s
        chunks = max(1.0, ceil(tokens / CHUNK_TOKENS))
        workers["serving"][best] = request
        workers["chunk_s"][best] = prefill_seconds(a, tokens) / chunks
        workers["prefill_end_v"][best] = workers["v"][best] + chunks
        pace(a, best, now_s)


@kernel
def serve_idle(a: Arena, now_s: float) -> None:
    """Let idle prefill workers, the oldest slot first, take what waits; then those that do both."""
    workers = a.workers
    if a.present[AGG] > 0:
        serve_agg(a, now_s)
    for worker in range(workers.size):
        if a.queues["head"][PREFILL] == NONE:
            return
        if (
            workers["phase"][worker] == READY
            and workers["role"][worker] == PREFILL
            and workers["serving"][worker] == NONE
        ):
            serve(a, worker, now_s)


@kernel
def finish(a: Arena, request: int, now_s: float) -> None:
    a.requests["last_token_s"][request] = now_s
    a.lasts[a.totals["lasts"][0]] = request
    a.totals["lasts"][0] += 1


@kernel
def first_token(a: Arena, request: int, now_s: float) -> None:
    """The prompt is done: its first token leaves, unless it left before a preemption."""
    requests, totals = a.requests, a.totals
    if requests["first_token_s"][request] != requests["first_token_s"][request]:
        requests["first_token_s"][request] = now_s
        requests["paused_s"][request] = now_s
        requests["context_tokens"][request] += 1.0
        a.firsts[totals["firsts"][0]] = request
        totals["firsts"][0] += 1


@kernel
def hand_over(a: Arena, request: int, now_s: float) -> None:
    """A prompt is done, the rest is decode's."""
    first_token(a, request, now_s)
    if a.requests["remaining_tokens"][request] <= 0.0:
        finish(a, request, now_s)
    else:
        queue_append(a.queues, DECODE, a.requests, request)
        admit(a, now_s)


@kernel
def end_prefill(a: Arena, worker: int, now_s: float) -> None:
    """A prefill worker is done with its prompt."""
    request = a.workers["serving"][worker]
    a.workers["serving"][worker] = NONE
    hand_over(a, request, now_s)
    if a.workers["phase"][worker] == DRAINING:
        retire(a, worker, now_s)
    else:
        serve(a, worker, now_s)


@kernel
def prefill_again(a: Arena, request: int, now_s: float) -> None:
    """A sequence lost its KV: what it held is prefilled again, before new prompts.

    Where prompts come with their prefill done, this one comes back at once.
    """
    a.requests["paused_s"][request] = now_s
    queue = DECODE if a.scales[PREFILLED] > 0.0 else PREFILL
    queue_put_first(a.queues, queue, a.requests, request)


@kernel
def step_decode(a: Arena, worker: int, now_s: float) -> None:
    """A batch reached its next event: ends, growth beyond the KV, the end of a prompt beside it, or a new pace."""
    requests, workers = a.requests, a.workers
    flow(a, worker, now_s, workers["v_stop"][worker])
    v = workers["v"][worker]
    freed = False
    while workers["root"][worker] != NONE and requests["finish_v"][workers["root"][worker]] <= v + SAME_V:
        request = workers["root"][worker]
        leave(a, worker, request)
        finish(a, request, now_s)
        freed = True
    reserved = reserved_tokens(a, worker)
    while (
        workers["running"][worker] > 1
        and workers["base_tokens"][worker] + workers["running"][worker] * (v + 1.0) + reserved
        > a.scales[MAX_KV]
    ):
        request = workers["newest"][worker]
        leave(a, worker, request)
        prefill_again(a, request, now_s)
        a.totals["preempted"][0] += 1
        freed = True
    serving = workers["serving"][worker]
    if workers["role"][worker] == AGG and serving != NONE and workers["prefill_end_v"][worker] <= v + SAME_V:
        workers["serving"][worker] = NONE
        first_token(a, serving, now_s)
        if requests["remaining_tokens"][serving] <= 0.0:
            finish(a, serving, now_s)
        else:
            join(a, worker, serving, now_s)
        freed = True
    pace(a, worker, now_s)
    if workers["phase"][worker] == DRAINING and not moves(a, worker):
        retire(a, worker, now_s)
    if freed:
        admit(a, now_s)
        serve_idle(a, now_s)


@kernel
def get_ready(a: Arena, worker: int, now_s: float) -> None:
    """A worker's start is over."""
    a.workers["phase"][worker] = READY
    set_event(a, worker, inf)
    if a.workers["role"][worker] == DECODE:
        admit(a, now_s)
    else:
        serve_idle(a, now_s)


@kernel
def add_worker(a: Arena, worker: int, role: int, startup_s: float, now_s: float) -> None:
    """Create a worker in the free slot *worker*; it costs from now and serves after *startup_s*."""
    workers = a.workers
    account(a, now_s)
    a.present[role] += 1
    a.totals["born"][0] += 1
    workers["role"][worker] = role
    workers["born"][worker] = a.totals["born"][0]
    workers["serving"][worker] = NONE
    workers["running"][worker] = 0
    workers["root"][worker] = NONE
    workers["newest"][worker] = NONE
    workers["base_tokens"][worker] = 0.0
    workers["v"][worker] = 0.0
    workers["v_s"][worker] = now_s
    if startup_s > 0.0:
        workers["phase"][worker] = STARTING
        set_event(a, worker, now_s + startup_s)
    else:
        get_ready(a, worker, now_s)


@kernel
def drain_worker(a: Arena, worker: int, now_s: float) -> None:
    """Take no more requests; go when those in flight are done, at once when there are none."""
    workers = a.workers
    idle = workers["serving"][worker] == NONE and workers["running"][worker] == 0
    if workers["phase"][worker] == STARTING or idle:
        retire(a, worker, now_s)
    else:
        workers["phase"][worker] = DRAINING


@kernel
def fail_worker(a: Arena, worker: int, now_s: float) -> None:
    """The worker is gone at once, with the KV of what it ran; its requests are prefilled again."""
    workers = a.workers
    flow_until(a, worker, now_s)
    request = workers["serving"][worker]
    if request != NONE:
        workers["serving"][worker] = NONE
        queue_put_first(a.queues, PREFILL, a.requests, request)
        a.totals["migrated"][0] += 1
    while workers["newest"][worker] != NONE:
        request = workers["newest"][worker]
        leave(a, worker, request)
        prefill_again(a, request, now_s)
        a.totals["migrated"][0] += 1
    retire(a, worker, now_s)
    admit(a, now_s)
    serve_idle(a, now_s)


@kernel
def arrive(a: Arena, request: int) -> None:
    """A request comes in: queued for prefill (decode, where that is done), or refused when no worker could hold it."""
    if a.requests["refused"][request]:
        a.totals["refused"][0] += 1
        return
    arrival_s = a.requests["arrival_s"][request]
    if a.scales[PREFILLED] > 0.0:
        hand_over(a, request, arrival_s)
    else:
        queue_append(a.queues, PREFILL, a.requests, request)
        serve_idle(a, arrival_s)


@kernel
def advance(a: Arena, until_s: float) -> None:
    """Play every event up to and including *until_s*; the clock then stands there."""
    totals, workers = a.totals, a.workers
    while True:
        worker = a.tree[1]
        event_s = workers["event_s"][worker]
        arrived = totals["arrived"][0]
        arrival_s = inf
        if arrived < totals["submitted"][0]:
            arrival_s = a.requests["arrival_s"][arrived]
        if min(arrival_s, event_s) > until_s:
            break
        if arrival_s <= event_s:
            totals["arrived"][0] += 1
            arrive(a, arrived)
        elif workers["phase"][worker] == STARTING:
            get_ready(a, worker, event_s)
        elif workers["role"][worker] == PREFILL:
            end_prefill(a, worker, event_s)
        else:
            step_decode(a, worker, event_s)
    for worker in range(workers.size):
        flow_until(a, worker, until_s)
    account(a, until_s)
    totals["clock_s"][0] = until_s
