"""Safe throughput: what the replicas of a role carry without leaving the targets."""

from __future__ import annotations

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
) -> float:
    """Tokens/s of *replicas* at these mean lengths; 0 where the profile does not meet the targets.

    Prefill counts input tokens, at the throughput of one prompt after the other; decode output
    tokens, at the best throughput under the ITL target; agg both, in the mix of the lengths.

    Raises:
        ProfileNotFound: the profile lacks a stage of the role.
    """
    gpus = replicas * gpus_per_replica
    per_gpu = 0.0
    if role is Role.PREFILL:
        per_gpu = _prefill_per_gpu(sla, isl_tokens, profile)
    elif role is Role.DECODE:
        per_gpu = _decode_per_gpu(sla, isl_tokens, osl_tokens, profile)
    else:
        prefill = _prefill_per_gpu(sla, isl_tokens, profile)
        decode = _decode_per_gpu(sla, isl_tokens, osl_tokens, profile)
        if prefill > 0 and decode > 0:
            per_gpu = (isl_tokens + osl_tokens) / (isl_tokens / prefill + osl_tokens / decode)
    return gpus * per_gpu


def _prefill_per_gpu(sla: Sla, isl_tokens: float, profile: Profile) -> float:
    if profile.prefill.ttft_ms(isl_tokens) > sla.ttft_ms:
        return 0.0
    return max(0.0, profile.prefill.throughput_per_gpu(isl_tokens))


def _decode_per_gpu(sla: Sla, isl_tokens: float, osl_tokens: float, profile: Profile) -> float:
    best = profile.decode.best(itl_ms=sla.itl_ms, context_tokens=isl_tokens + osl_tokens / 2)
    return max(0.0, best.throughput_per_gpu) if best.attained else 0.0
