"""What one replica carries inside the SLA, request by request: the yardstick of the rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role, Sla
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.simulation.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """Replica-seconds that each request takes of each role, at that role's best speed inside the SLA."""

    prefill_s: Floats
    decode_s: Floats
    """A worker of both roles does one or the other at a time, so its work is the sum."""

    def of(self, role: Role) -> Floats:
        return {
            Role.PREFILL: self.prefill_s,
            Role.DECODE: self.decode_s,
            Role.AGG: self.prefill_s + self.decode_s,
        }[role]


def work(traffic: Traffic, tables: EngineTables, sla: Sla) -> Work:
    """Replica-seconds per request.

    Prefill: the TTFT at its length. Decode: its tokens over the best throughput under the ITL target
    at its own mean context, ISL + OSL / 2.
    """
    return Work(
        prefill_s=tables.ttft_at(traffic.isl_tokens) / 1e3,
        decode_s=traffic.osl_tokens
        / best_tokens_s(traffic.isl_tokens + traffic.osl_tokens / 2.0, tables, sla),
    )


def best_tokens_s(context_tokens: Floats, tables: EngineTables, sla: Sla) -> Floats:
    """Most tokens per second of a decode replica whose ITL stays within the target, by mean context.

    Where no batch meets the target it is the speed of a batch of one.
    """
    contexts = tables.shortest_context_tokens * tables.context_ratio ** np.arange(tables.itl_ms.shape[0])
    shares = tables.kv_step * np.arange(tables.itl_ms.shape[1])
    batch = shares[None, :] * tables.max_kv_tokens / contexts[:, None]
    inside = (tables.itl_ms <= sla.itl_ms) & (batch >= 1.0)
    speed = np.where(inside, batch / tables.itl_ms * 1e3, 0.0).max(axis=1)
    alone = 1e3 / tables.itl_ms[:, 0]
    tokens_s: Floats = np.interp(context_tokens, contexts, np.maximum(speed, alone))
    return tokens_s


def fluid_bound_gpu_hours(work_of: Work, gpus: Mapping[Role, int]) -> float:
    """GPU-hours if every GPU ran at its best inside the SLA all the time: nobody can use fewer."""
    return sum(float(work_of.of(role).sum()) * each for role, each in gpus.items()) / 3600.0
