"""`sizing: Attainment`: the fewest replicas that keep the promised share of requests in time.

Both targets are promises to each request, so each role is sized by the share of requests that it
would make late, and not by means:

    prefill   the TTFT target less the prompt's own time is what it may wait; the queue is loaded by
              the forecast's upper levels, its variance by the spread of ISL and the burstiness
    decode    the batch whose ITL is at the target, or that fills the KV, must hold the swings of the
              number of sequences in flight, at the forecast's upper levels

The levels are held to what the history supports (see `seen`) and weighed by how likely they are for a
fleet that shrinks slowly (see `coverage`), and the misses that the promise allows are shared by the
roles. New replicas serve only after their start, so the end of the horizon (interval + start-up) decides
on growth, and of the prompts that wait now only those count there that will still wait. Shrinking acts
at once, and a replica that is missed comes back only after a start-up: so every step of the horizon must
let the survivors carry the load, with so many fewer misses as a mistake lasts longer than an interval,
and hits more of the requests the fewer the survivors are. What is needed only before the end of the
horizon keeps what runs for as long, and is not remembered.

Where bursts are rare, the misses fall off so slowly with the replicas that keeping the promise would take
a fleet that idles nearly always. There the last replicas are left out (see `_worthwhile`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slaplanner.core.correction import Correction
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Known, Observation, Reading
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import throughput
from slaplanner.core.sizing.arrays import Floats
from slaplanner.core.sizing.batch import Batch, mean_context_tokens
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.coverage import LEVELS, Coverage, tokens_per_s
from slaplanner.core.sizing.inflow import coming_sequences
from slaplanner.core.sizing.lengths import Lengths, lengths
from slaplanner.core.sizing.model import Demand, Sized, SizedRole
from slaplanner.core.sizing.queueing import lateness
from slaplanner.core.sizing.seen import SeenLoads, held_to
from slaplanner.core.sizing.service import prefill_seconds
from slaplanner.core.wording import figure

HOPELESS = 0.9
"""A prompt that alone takes this share of the TTFT target is late or not by chance, whatever the fleet's
size: no profile is better known than to a tenth. Replicas are not bought for it."""

WORTH = 0.7
"""GPUs for bursts are worth it when they save so many of the requests that they could serve, in units of the
share that the promise gives up: 0.7 % for 99 %. See docs/benchmarks/sizing.md."""

STEEP = 8.0
"""Misses that fall at least with this power of the replicas are no rare bursts: the forecast knows the load,
and what is left is chance. With rare bursts they fall as slowly as the bursts' own tail."""

MOST_TIMES_GIVEN_UP = 10.0
MOST_GIVEN_UP = 0.05
"""Share of the requests that a role gives up to bursts at most, and how many times what the promise gives it.
So a promise of 99 % becomes none of less than 90 %, however rare the bursts, and one of 90 % is kept."""

_KINDS = 40
"""Kinds of prompts at most: each is a fortieth of the TTFT target wide."""

Allowance = Callable[[int], float]
"""Share of requests that so many replicas may make late."""

MOST_REPLICAS = 1 << 16
"""The search ends here; no cluster has more."""

_SLICES = 256
"""Of more replicas than this, so large a part is judged at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Situation:
    """Everything that sizing by attainment looks at; what follows from it is worked out once.

    Without slots, because cached properties live in the instance's dictionary.
    """

    policy: Policy
    profile: Profile
    forecast: Forecast
    correction: Correction
    observation: Observation
    fleet: Fleet
    startup_s: float
    burstiness: Burstiness

    @property
    def horizon_s(self) -> float:
        return self.policy.interval_s + self.startup_s

    @cached_property
    def coverage(self) -> Coverage:
        held_s = self.policy.behavior.scale_down.stabilization_window_s
        return Coverage.held(window_s=held_s, horizon_s=self.horizon_s)

    @cached_property
    def isl(self) -> Lengths:
        return lengths(max(1.0, self.forecast.isl_tokens[0]), self.observation.isl_histogram)

    @cached_property
    def osl(self) -> Lengths:
        return lengths(max(1.0, self.forecast.osl_tokens[0]), self.observation.osl_histogram)

    @cached_property
    def seen(self) -> Mapping[Role, SeenLoads]:
        """The loads of both stages."""
        return SeenLoads.of(self.observation.history)

    @cached_property
    def coming(self) -> Mapping[Role, Floats]:
        """Tokens of each stage per second, at each step of the horizon and level of `coverage.LEVELS`."""
        demands = self.forecast.prefill, self.forecast.decode
        interval_s = self.policy.interval_s
        prefill, decode = held_to(
            np.array([seen.supported(LEVELS) for seen in self.seen.values()])[:, None],
            tokens_per_s(demands, interval_s),
            mean=np.array([demand.mean_tokens for demand in demands])[:, :, None] / interval_s,
        )
        return {Role.PREFILL: prefill, Role.DECODE: decode}

    @cached_property
    def prefill_s(self) -> Floats:
        """Service time of each length of `isl`, as this fleet is."""
        return prefill_seconds(self.profile, self.isl) * self.correction.prefill

    @cached_property
    def prefill_moments(self) -> tuple[float, float]:
        """Mean of the service times, and of their squares."""
        return float(self.isl.share @ self.prefill_s), float(self.isl.share @ self.prefill_s**2)

    @cached_property
    def allowances(self) -> tuple[Floats, Floats]:
        """How long prompts may wait, and the share of requests that may; beside those that wait in vain.

        Prompts that may wait about as long are one kind, at their mean: short ones differ by nothing that
        counts.
        """
        target_s = self.policy.sla.ttft_ms / 1e3
        hopeful = self.prefill_s <= HOPELESS * target_s
        allowance_s, share = target_s - self.prefill_s[hopeful], self.isl.share[hopeful]
        kind = (allowance_s * (_KINDS / target_s)).astype(int)
        shares = np.bincount(kind, weights=share).astype(np.float64)
        seen = np.flatnonzero(shares)
        return np.bincount(kind, weights=share * allowance_s)[seen] / shares[seen], shares[seen]

    @cached_property
    def waiting_per_s(self) -> tuple[float, ...]:
        """Prompts that wait now and still do when a step begins, per second of the horizon; one per step.

        They are worked off within a horizon: who waits is late already, and replicas that clear a queue at
        once are held for minutes after.

        What serves works on them until then, besides the mean of what comes, and in the interval before the
        last step also what starts now. A queue that would grow counts as it is: the load that makes it grow
        is sized for anyway.
        """
        roles, means = self.policy.mode.roles, self.forecast.prefill.mean_tokens
        prefill = self.fleet.role(Role.PREFILL) if Role.PREFILL in roles else None
        serving = (prefill.serving or 0) if prefill else 0
        ordered = max(serving, prefill.replicas) if prefill else 0
        waiting = max(0.0, _value(self.observation.queued) - serving)
        each = self.policy.interval_s / self.prefill_moments[0]
        path = [waiting]
        for step, tokens in enumerate(means[:-1], start=2):
            workers = ordered if step == len(means) else serving
            path.append(max(0.0, path[-1] + tokens / self.isl.mean - workers * each))
        return tuple(min(waiting, left) / self.horizon_s for left in path)

    @property
    def missed(self) -> float:
        """Share of the requests that the promise gives up."""
        return 1.0 - self.policy.sla.attainment_percent / 100.0

    def replica_s(self, stage: Role) -> float:
        """Time of one replica that a request takes at best."""
        if stage is Role.PREFILL:
            return self.prefill_moments[0]
        return self.osl.mean / float(self.batch.tokens_per_s[-1])

    @cached_property
    def batch(self) -> Batch:
        """What one decode replica holds within the ITL target."""
        return Batch.within(
            self.profile.decode,
            itl_ms=self.policy.sla.itl_ms,
            context_tokens=mean_context_tokens(self.isl, self.osl),
            factor=self.correction.decode,
        )


def size(situation: Situation, *, demand: Demand, gpus_per_replica: Mapping[Role, int]) -> Sized:
    """Replicas per role of the policy's mode, floors applied; bounds and budget come later.

    Args:
        situation: what is known.
        demand: the mean forecast, for the evidence.
        gpus_per_replica: of each role of the mode.

    Raises:
        ProfileNotFound: the profile lacks a stage that a role of the mode needs.
    """
    policy = situation.policy
    gpu_s = sum(
        gpus_per_replica[role] * situation.replica_s(stage)
        for role in policy.mode.roles
        for stage in role.stages
    )
    return Sized(
        roles=tuple(
            _sized(
                role,
                throughput.stages_of(
                    role,
                    policy=policy,
                    profile=situation.profile,
                    demand=demand,
                    correction=situation.correction,
                    gpus=gpus_per_replica[role],
                ),
                situation,
                # Replicas without GPUs cost nothing, and none is left out.
                price_per_s=WORTH * situation.missed * gpus_per_replica[role] / gpu_s if gpu_s else 0.0,
            )
            for role in policy.mode.roles
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """Replicas, and what would keep the promise: more, where the last of them would not be worth it."""

    replicas: int
    promised: int
    late: float
    """Share of the requests that `replicas` make late."""

    def __add__(self, other: _Need) -> _Need:
        return _Need(
            replicas=self.replicas + other.replicas,
            promised=self.promised + other.promised,
            late=self.late + other.late,
        )


def _sized(
    role: Role,
    evidence: tuple[throughput.Stage, ...],
    situation: Situation,
    *,
    price_per_s: float,
) -> SizedRole:
    policy = situation.policy
    floor = policy.role(role).min_replicas
    allowed = situation.missed / max(2, len(policy.mode.roles))
    repeated = situation.horizon_s / policy.interval_s - 1.0

    def late_at(step: int) -> list[_Late]:
        return [_LATE[stage](situation, step) for stage in role.stages]

    def need_of(late: list[_Late], may_be_late: Allowance, *, near: int, least: int = 1) -> _Need:
        search = _Search(
            near=near,
            least=least if len(late) == 1 else 1,
            price_per_s=price_per_s,
            most_late=min(MOST_GIVEN_UP, MOST_TIMES_GIVEN_UP * allowed),
        )
        first, *others = (_fewest(one, may_be_late, search) for one in late)
        return sum(others, start=first)

    def for_all(replicas: int) -> float:  # noqa: ARG001 - the same whatever the count
        return allowed

    def for_survivors(replicas: int) -> float:
        """Who is given back and missed stays away for the horizon: one of so many, all those intervals."""
        return allowed / (1.0 + repeated / replicas)

    last, current = situation.forecast.horizon_steps, situation.fleet.role(role).replicas
    late_at_end = late_at(last)
    ordered = need_of(late_at_end, for_all, near=current)
    need = ordered.replicas
    if Role.DECODE in role.stages:
        need = max(need, _inflow_need(situation))
    sooner = 0
    for step in range(last, 0, -1):
        least = max(need, sooner)
        if least >= current:
            break  # what follows decides on shrinking only
        late = late_at_end if step == last else late_at(step)
        kept = min(current, need_of(late, for_survivors, near=least, least=least).replicas)
        if step == last:
            need = max(need, kept)
        else:
            sooner = max(sooner, kept)
    replicas = max(need, floor)
    left_out = Reason.BURSTS_NOT_COVERED if floor <= need < ordered.promised else None
    return throughput.sized(
        role,
        evidence,
        raw=float(ordered.promised if left_out else need),
        replicas=replicas,
        sooner=sooner,
        limit=Reason.TOO_FEW_REPLICAS if need < floor else left_out,
        message=(
            f"{role}: {figure(throughput.load_of(evidence))} tokens/s are expected, and {replicas} replicas keep "
            f"all but at most {figure(100.0 * max(ordered.late, allowed))} % of the requests in time over the next "
            f"{figure(situation.horizon_s)} s, with requests of {figure(situation.burstiness.clump_s)} s "
            f"coming at once"
            + (f"; {ordered.promised} would cover rare bursts too" if replicas < ordered.promised else "")
        ),
    )


class _Late(dict[int, float]):
    """Share of the requests that so many replicas make late, worked out at the first look."""

    def __init__(self, share: Callable[[int], float], *, requests_s: float) -> None:
        super().__init__()
        self._share = share
        self.requests_s = requests_s
        """All the requests that it is a share of, per second."""

    def __missing__(self, replicas: int) -> float:
        found = self[replicas] = self._share(replicas)
        return found


def _late_prefill(situation: Situation, step: int) -> _Late:
    """Prompts that wait longer than they may, beyond those that alone take too long (see `HOPELESS`)."""
    load_tokens_s = situation.coming[Role.PREFILL][step - 1]
    mean_s, second = situation.prefill_moments
    rate = load_tokens_s / situation.isl.mean
    erlangs = (rate + situation.waiting_per_s[step - 1]) * mean_s
    variance = rate * (second + (situation.burstiness.index(rate) - 1.0) * mean_s**2)
    allowance_s, allowance_share = situation.allowances
    counted = situation.coverage.counted(load_tokens_s, usual=situation.seen[Role.PREFILL].usual_tokens_s)
    each = lateness(
        erlangs=erlangs,
        variance_per_s=variance,
        allowance_s=allowance_s,
        allowance_share=allowance_share,
        while_s=situation.policy.interval_s,
    )

    def share(replicas: int) -> float:
        return float(counted.share @ each(replicas))

    return _Late(share, requests_s=counted.tokens_s / situation.isl.mean)


def _late_decode(situation: Situation, step: int) -> _Late:
    """Requests in batches that exceed the ITL target or the KV."""
    batch, load_tokens_s = situation.batch, situation.coming[Role.DECODE][step - 1]
    counted = situation.coverage.counted(load_tokens_s, usual=situation.seen[Role.DECODE].usual_tokens_s)
    dispersion = situation.burstiness.index(load_tokens_s / situation.osl.mean)

    def share(replicas: int) -> float:
        return float(counted.share @ batch.share_late(load_tokens_s, replicas, dispersion=dispersion))

    return _Late(share, requests_s=counted.tokens_s / situation.osl.mean)


_LATE = {Role.PREFILL: _late_prefill, Role.DECODE: _late_decode}


def _inflow_need(situation: Situation) -> int:
    """Replicas for the sequences that are on their way; 1 when there is no sign of growth."""
    sequences = coming_sequences(
        situation.observation,
        interval_s=situation.policy.interval_s,
        ahead_s=situation.horizon_s,
        burstiness=situation.burstiness,
        prefill_workers=max(1, situation.fleet.roles[0].serving or 0),
    )
    return max(1, math.ceil(sequences / situation.batch.room))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Where a search begins (a good guess takes two looks, and any guess finds the same), and its price."""

    near: int
    least: int
    """What the answer is raised to: fewer would change nothing."""
    price_per_s: float
    """Requests that a replica must save to be worth it."""
    most_late: float
    """Share of the requests that is given up to bursts at most."""


def _fewest(late: _Late, allowed: Allowance, search: _Search) -> _Need:
    """The least count that is late no more than *allowed*, and what of it is worth it.

    With the count *late* never rises and *allowed* never falls. Steps from the guess double until the answer
    lies between two counts, which are then halved.
    """
    low, high = max(1, search.least) - 1, MOST_REPLICAS
    count, step = min(max(low + 1, search.near), MOST_REPLICAS - 1), 1
    while high - low > 1:
        is_short = late[count] > allowed(count)
        low, high = (count, high) if is_short else (low, count)
        ahead = low + step if is_short else high - step
        count, step = ahead if low < ahead < high else (low + high) // 2, 2 * step
    return _worthwhile(late, high, search)


def _worthwhile(late: _Late, promised: int, search: _Search) -> _Need:
    """*promised*, or fewer where the last are kept for rare bursts and would serve next to nothing.

    A replica that goes spares its price, in requests per second, and loses those that are late for want of
    it: the count that spares most on balance is taken, among those whose misses grow at most with the power
    `STEEP` from *promised* on.
    """
    best, most_spared = promised, 0.0
    count, least = promised, max(1, search.least)
    while count > least:
        count = max(least, count - max(1, count // _SLICES))
        lost = (late[count] - late[promised]) * late.requests_s
        if lost > search.price_per_s * promised or late[count] > search.most_late:
            break  # the first: fewer lose more than there is to spare
        spared = search.price_per_s * (promised - count) - lost
        is_slow = late[count] <= late[promised] * (promised / count) ** STEEP
        if is_slow and spared > most_spared:
            best, most_spared = count, spared
    return _Need(replicas=best, promised=promised, late=late[best])


def _value(reading: Reading) -> float:
    return reading.value if isinstance(reading, Known) else 0.0
