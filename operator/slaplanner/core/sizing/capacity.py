"""How much one replica carries, by its profile and a model of queues and batches.

    prefill   The TTFT target less a prompt's own time is what it may wait. The work that waits before c
              servers falls off like exp(-2 (c - rho) w / v), where rho is the work that comes per second
              and v its variance (heavy traffic: Kingman 1961; Harrison, Brownian motion and stochastic
              flow systems, 1985), and a prompt waits w / c. So c (c - rho) = theta v / 2, where at the rate
              theta just the allowed share of the prompts waits longer than it may.
    decode    ITL depends on the batch, and the target is a promise to each request. The batch that meets it,
              or fills the KV, must hold the swings of the number of sequences in flight.

Both are closed formulas, and both are wrong by a few tens of percent on a real fleet: no engine is its profile,
tails are heavier than any exponential, arrivals crowd. `Experience` corrects them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role, Sla
from slaplanner.core.profiles import Profile
from slaplanner.core.sizing.batch import LIFE_SHARE, Batch, mean_context_tokens
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.experience import ENGINE_MARGIN
from slaplanner.core.sizing.lengths import LengthDistribution

_HALVINGS = 20
_ROUNDS = 3
"""Each works the batch out again from the ITL that it has; the third changes less than a hundredth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Capacity:
    """What replicas carry of requests of these lengths; without slots, because cached properties need none."""

    sla: Sla
    profile: Profile
    isl: LengthDistribution
    osl: LengthDistribution
    burstiness: Burstiness
    slowdown: float = 1.0
    """How many times slower than profiled the engine is, where that is known."""

    @property
    def allowed(self) -> float:
        """Share of the requests that one stage may make late: the promise's misses are shared by both."""
        return 0.5 * (1.0 - self.sla.attainment_percent / 100.0)

    def replicas(self, stage: Role, tokens_s: float) -> float:
        """Replicas, before rounding, that carry so many tokens per second of *stage* with the allowed misses."""
        if tokens_s <= 0.0:
            return 0.0
        return self._prefill(tokens_s) if stage is Role.PREFILL else self._decode(tokens_s)

    def needed(self, stage: Role, *, expected_tokens_s: float, upper_tokens_s: float) -> float:
        """Replicas for a load that is expected, and may be as high as *upper_tokens_s*.

        Two things can come on top of the work that is expected: more load than that, and the swings within it.
        They are not each other's doing, so both at their worst are far rarer than either: their reserves add up
        as independent deviations do, by their squares.
        """
        swings = self.replicas(stage, upper_tokens_s)
        if not 0.0 < expected_tokens_s < upper_tokens_s:
            return swings
        busy, work = self.busy(stage, upper_tokens_s), self.busy(stage, expected_tokens_s)
        return work + math.hypot(busy - work, swings - busy)

    def busy(self, stage: Role, tokens_s: float) -> float:
        """Replicas that so many tokens per second keep busy, if their load never swings."""
        if stage is Role.PREFILL:
            return tokens_s / self.isl.mean * self.prompt_s
        return tokens_s * self.batch.itl_s(self.batch.room) / self.batch.room

    @cached_property
    def prefill_s(self) -> Floats:
        """Time of each prompt of `isl` by the profile; beyond its longest one, that one's."""
        longest = self.profile.prefill.isl_range[1]
        return self.slowdown * self.profile.prefill.ttft_row_ms(np.minimum(self.isl.tokens, longest)) / 1e3

    @cached_property
    def prompt_s(self) -> float:
        """Mean time of a prompt."""
        return float(self.isl.share @ self.prefill_s)

    @cached_property
    def _wait_rate(self) -> float:
        """theta, per second: sum of share x exp(-theta x what a prompt may wait) = what may be late.

        Prompts that an engine a little slower than its profile would make late anyway are left out.
        """
        target_s = self.sla.ttft_ms / 1e3
        hopeful = ENGINE_MARGIN * self.prefill_s < target_s
        if not hopeful.any():
            return 1.0 / target_s
        may_wait_s, share = (target_s - self.prefill_s)[hopeful], self.isl.share[hopeful]
        low, high = 0.0, -math.log(self.allowed) / float(may_wait_s.min())
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            too_many = float(share @ np.exp(-middle * may_wait_s)) > self.allowed
            low, high = (middle, high) if too_many else (low, middle)
        return high

    def _prefill(self, tokens_s: float) -> float:
        rate = tokens_s / self.isl.mean
        work = rate * self.prompt_s
        second = float(self.isl.share @ self.prefill_s**2)
        variance = rate * (second + self.burstiness.clump_s * rate * self.prompt_s**2)
        return 0.5 * work + math.sqrt(0.25 * work**2 + 0.5 * self._wait_rate * variance)

    @cached_property
    def batch(self) -> Batch:
        """What one decode replica holds within the ITL target."""
        return Batch.within(
            self.profile.decode,
            itl_ms=self.sla.itl_ms,
            context_tokens=mean_context_tokens(self.isl, self.osl),
            slowdown=self.slowdown,
        )

    def _decode(self, tokens_s: float) -> float:
        batch = self.batch
        sigmas = -float(ndtri(self.allowed))
        dispersion = float(self.burstiness.index(np.array(tokens_s / self.osl.mean)))
        each, need = batch.largest, 0.0
        for _ in range(_ROUNDS):
            inside = tokens_s * batch.itl_s(each)
            need = (inside + sigmas * math.sqrt(LIFE_SHARE * dispersion * inside)) / batch.room
            if not need:  # the load is so small that the product is 0
                return 0.0
            each = inside / need
        return need
