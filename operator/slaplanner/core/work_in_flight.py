"""The replicas that are needed for the requests in flight, whatever arrives.

Arrivals may stop while hundreds of long answers are still being written. Removing replicas then would abort some of
these answers and slow down the others.
"""

from __future__ import annotations

from slaplanner.core.model import Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Observation, value_or
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.state import MeanLengths


def carrying_replicas(
    role: Role,
    observation: Observation,
    *,
    lengths: MeanLengths,
    policy: Policy,
    profile: Profile,
    gpus_per_replica: int,
    drain_s: float,
) -> int:
    """The fewest replicas of *role* that carry what it holds; 0 when that is unknown.

    Prefill holds the requests before their first token: it reads their prompts within *drain_s*, in which
    replicas that are ordered now would come to help. Decode holds the others: they fit into its KV cache
    and are written within the ITL target, if any load meets it. `maxReplicas` is the user's word and
    limits this, too.
    """
    waiting = max(value_or(observation.queued, 0.0), value_or(observation.router_pending, 0.0))
    in_decode = max(0.0, value_or(observation.inflight, 0.0) - waiting)
    need = 0.0
    for stage in role.stages:
        if stage is Role.PREFILL and waiting > 0:
            tokens_s = gpus_per_replica * profile.prefill.throughput_per_gpu(lengths.isl_tokens)
            need += waiting * lengths.isl_tokens / (tokens_s * drain_s) if tokens_s > 0 else 0.0
        elif stage is Role.DECODE and in_decode > 0:
            need += _writing(in_decode, lengths, policy, profile)
    replicas = whole_replicas(need)
    most = policy.role(role).max_replicas
    return replicas if most is None else min(replicas, most)


def _writing(sequences: float, lengths: MeanLengths, policy: Policy, profile: Profile) -> float:
    """Sequences, by those that one replica holds and writes within the ITL target."""
    context_tokens = lengths.isl_tokens + lengths.osl_tokens / 2
    best = profile.decode.best(itl_ms=policy.sla.itl_ms, context_tokens=context_tokens)
    held = profile.decode.max_kv_tokens / context_tokens
    each = min(held, best.concurrency) if best.attained and best.concurrency > 0 else held
    return sequences / each if each > 0 else 0.0
