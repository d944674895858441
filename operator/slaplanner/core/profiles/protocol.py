"""What a profile answers, whatever stands between its measured points.

Units: tokens, ms, tokens/s/GPU; concurrency is requests in flight on one replica; context is the
mean number of tokens that one of them keeps in the KV cache (ISL + OSL / 2 on average).
Look-ups never raise: outside the measured range they answer with the implementation's stated rule,
and `covers` says that they did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ProfileNotFound
from slaplanner.core.model import Interpolation


@dataclass(frozen=True, slots=True, kw_only=True)
class BestDecode:
    """The most that one replica decodes under an ITL target, or its lightest load when none fits."""

    throughput_per_gpu: float
    """Output tokens/s/GPU."""
    itl_ms: float
    kv_usage: float
    concurrency: float
    """Requests in flight on the replica at this point."""
    attained: bool
    """False: no load meets the target; the figures are those of the lightest one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefillGrid:
    """TTFT and throughput at the given prompt lengths; arrays of shape (isl,)."""

    isl_tokens: Floats
    ttft_ms: Floats
    throughput_per_gpu: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodeGrid:
    """ITL and throughput on a full grid; tables of shape (context, kv)."""

    context_tokens: Floats
    kv_usage: Floats
    itl_ms: Floats
    throughput_per_gpu: Floats
    max_kv_tokens: float


class PrefillProfile(Protocol):
    """How fast one replica reads prompts."""

    @property
    def isl_range(self) -> tuple[float, float]:
        """Shortest and longest measured prompt, in tokens."""
        ...

    def covers(self, isl_tokens: float) -> bool:
        """Whether this length was measured around; False: the answers are extrapolated."""
        ...

    def ttft_ms(self, isl_tokens: float) -> float:
        """Time to first token of one prompt on an idle replica."""
        ...

    def ttft_row_ms(self, isl_tokens: Floats) -> Floats:
        """`ttft_ms` of many lengths, but for the last digit; shape as *isl_tokens*."""
        ...

    def throughput_per_gpu(self, isl_tokens: float) -> float:
        """Input tokens/s/GPU at this prompt length."""
        ...

    def tabulate(self, isl_tokens: Sequence[float] | Floats | None = None) -> PrefillGrid:
        """Both curves at these lengths; default: 513 equal steps from 0 to the longest measured one."""
        ...


class DecodeProfile(Protocol):
    """How fast one replica writes tokens, by load and context."""

    @property
    def max_kv_tokens(self) -> float:
        """Tokens that the KV cache of one replica holds."""
        ...

    @property
    def context_range(self) -> tuple[float, float]:
        """Shortest and longest measured context, in tokens."""
        ...

    def covers(self, *, concurrency: float, context_tokens: float) -> bool:
        """Whether this point was measured around; False: the answers are extrapolated."""
        ...

    def itl_ms(self, *, concurrency: float, context_tokens: float) -> float:
        """Mean inter-token latency at this load."""
        ...

    def itl_curve_ms(self, context_tokens: float) -> Callable[[float], float]:
        """`itl_ms` over concurrency at one context, for those who ask for many loads."""
        ...

    def itl_row_ms(self, concurrency: Floats, *, context_tokens: float) -> Floats:
        """`itl_ms` at many loads of one context, but for the last digit; shape as *concurrency*."""
        ...

    def throughput_per_gpu(self, *, concurrency: float, context_tokens: float) -> float:
        """Output tokens/s/GPU at this load."""
        ...

    def best(self, *, itl_ms: float, context_tokens: float) -> BestDecode:
        """The best throughput whose ITL is at or under the target."""
        ...

    def lowest_itl_ms(self, context_tokens: float) -> float:
        """The lowest ITL that any load reaches at this context."""
        ...

    def tabulate(
        self,
        *,
        kv_usage: Sequence[float] | Floats | None = None,
        context_tokens: Sequence[float] | Floats | None = None,
    ) -> DecodeGrid:
        """Both surfaces on a full grid.

        Defaults: 129 equal steps of KV usage from 0 to 1, 65 contexts in equal ratios over the
        measured range (the surface bends where contexts are short).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """One profile, ready for look-ups; built once and shared."""

    interpolation: Interpolation
    prefill_stage: PrefillProfile | None
    decode_stage: DecodeProfile | None

    @property
    def prefill(self) -> PrefillProfile:
        """The prefill stage.

        Raises:
            ProfileNotFound: this profile has none.
        """
        if self.prefill_stage is None:
            raise ProfileNotFound("found a profile of decode alone, wanted its prefill stage too")
        return self.prefill_stage

    @property
    def decode(self) -> DecodeProfile:
        """The decode stage.

        Raises:
            ProfileNotFound: this profile has none.
        """
        if self.decode_stage is None:
            raise ProfileNotFound("found a profile of prefill alone, wanted its decode stage too")
        return self.decode_stage
