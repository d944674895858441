"""Safe throughput: what the replicas of a role carry without leaving the targets."""

from __future__ import annotations

from slaplanner.core.correction import Correction
from slaplanner.core.model import Role, Sla
from slaplanner.core.profiles import Profile


def safe_throughput_tokens_s(
    role: Role,
    *,
    replicas: int,
    gpus_per_replica: int,
    sla: Sla,
    isl_tokens: float,
    osl_tokens: float,
    profile: Profile,
    correction: Correction | None = None,
) -> float:
    """Tokens/s of *replicas* at these mean lengths; 0 where the profile does not meet the targets.

    Prefill counts input tokens, at the throughput of one prompt after the other; decode output
    tokens, at the best throughput under the ITL target; agg both, in the mix of the lengths. A
    correction is applied as sizing applies it.

    Raises:
        ProfileNotFound: the profile lacks a stage of the role.
    """
    factors = correction or Correction()
    prefill_factor, decode_factor = min(1.0, factors.prefill), factors.decode

    def prefill() -> float:
        if profile.prefill.ttft_ms(isl_tokens) * prefill_factor > sla.ttft_ms:
            return 0.0
        return max(0.0, profile.prefill.throughput_per_gpu(isl_tokens)) / prefill_factor

    def decode() -> float:
        best = profile.decode.best(
            itl_ms=sla.itl_ms / decode_factor, context_tokens=isl_tokens + osl_tokens / 2
        )
        return max(0.0, best.throughput_per_gpu) if best.attained else 0.0

    gpus = replicas * gpus_per_replica
    if role is Role.PREFILL:
        return gpus * prefill()
    if role is Role.DECODE:
        return gpus * decode()
    input_rate, output_rate = prefill(), decode()
    if input_rate <= 0 or output_rate <= 0:
        return 0.0
    return gpus * (isl_tokens + osl_tokens) / (isl_tokens / input_rate + osl_tokens / output_rate)
