"""Telling: the status, events, the deployment's conditions, metrics and the log, from one plan.

Whatever cannot be told now (the API server is away, a write is refused) costs no plan: the status
is kept and tried again with the next heartbeat, and the rest is told with the next plan.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slaplanner.adapters.prometheus.attainment import DAY_S, HOUR_S
from slaplanner.adapters.target import ApiRefusal, Outcome, TargetState, Verdict
from slaplanner.adapters.virtual.policy_document import ACKNOWLEDGED_FIELD, PUBLISHED_FIELD
from slaplanner.api.conditions import set_conditions, shortened
from slaplanner.api.figures import Startup, StatusFigures, TargetFacts
from slaplanner.api.policy import KIND, SLAPolicy
from slaplanner.api.status import build_status
from slaplanner.api.status_diff import nothing_but_the_clock
from slaplanner.controller import events, gauges, metrics
from slaplanner.controller.backoff import READY
from slaplanner.controller.events import Event
from slaplanner.controller.merging import merge_patch
from slaplanner.controller.planning import Plan, Task
from slaplanner.controller.records import Record, Records
from slaplanner.controller.schedule import last_slot_s
from slaplanner.controller.verdicts import verdict
from slaplanner.core.decision import Decision, Finding
from slaplanner.core.errors import InternalError, PlanningError
from slaplanner.core.model import DEFAULT_STARTUP_S, Actuation, Policy
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.state import PlannerState, caught_up, read_back, to_document

logger = logging.getLogger(__name__)

CLOCKS_DIFFER_S = 60.0
"""How far the clock of the node that wrote a planner state may have been ahead of this one's."""

_TRUTH: Mapping[str, bool | None] = {"True": True, "False": False}


class Desk(Protocol):
    """Where reports are written."""

    def now_s(self) -> float: ...
    def monotonic_s(self) -> float: ...
    async def write_status(
        self, *, namespace: str, name: str, uid: str, status: Mapping[str, Any]
    ) -> None: ...
    async def report_to_target(self, namespace: str, name: str, verdicts: Sequence[Verdict]) -> None: ...


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Tells of one operator's plans."""

    desk: Desk
    records: Records
    post: Callable[[Mapping[str, Any], Event], None]
    """Posts an event about an object."""
    retry_base_s: float = 5.0
    """Seconds until a status that was refused is written again; longer with each refusal."""

    def restore(self, record: Record) -> None:
        """Read back what the operator before this one left in the status."""
        status = record.document.get("status") or {}
        record.latest_status = status
        now_s, document, state = self.desk.now_s(), None, PlannerState()
        interval_s = float(record.policy.spec.planning.interval_seconds) if record.policy is not None else 0.0
        text = status.get("plannerState")
        if text:
            try:
                document = _finite_json(text)
                state = read_back(document, latest_s=now_s + interval_s + CLOCKS_DIFFER_S)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                document = None
                self._dropped(record, error)
        if record.policy is not None:
            slot_s = last_slot_s(now_s=now_s, uid=record.uid, interval_s=interval_s)
            # The latest slot is planned next, perhaps again, which decides the same. So the memory ends
            # one slot before it: what it says of the slot itself would hold that slot's growth up.
            state = caught_up(state, to_s=slot_s - interval_s)
        record.state = state
        record.attempted_at_s = record.state.planned_at_s
        if isinstance(document, Mapping) and record.attempted_at_s is not None:
            record.seen_digest = str(document.get("seen", ""))

    def _dropped(self, record: Record, error: Exception) -> None:
        """The planner's state in the status is none: say so, because what it knew is lost."""
        logger.warning("planner state dropped", extra=_who(record) | {"error": str(error)})
        if record.policy is not None:
            self._post(record, record.policy, events.state_dropped(shortened(str(error))))

    async def planned(
        self, record: Record, task: Task, plan: Plan, *, digest: str | None, took_s: float
    ) -> None:
        """A plan ended, with a decision or without.

        The status comes first: nothing that fails afterwards, such as an event, costs it.
        """
        before = _conditions_before(record)
        figures = self._figures(record, task, plan, digest=digest)
        await self._write(record, build_status(figures, previous=record.told_status))
        if not record.deleted:
            # Its series were dropped, and nobody would drop them again.
            gauges.show(record, task.core, plan, figures.conditions, now_s=self.desk.now_s(), took_s=took_s)
        _log(record, plan, took_s=took_s)
        self._post_events(record, task.policy, plan, before)
        await self._tell_target(record, task, plan, figures.conditions)

    async def progressed(self, record: Record, policy: SLAPolicy, finding: Finding) -> None:
        """Between plans: the target started or stopped moving. Told only when that changed."""
        if record.told_status is not None:
            await self._found(record, policy, finding)

    async def broke(self, record: Record, error: Exception) -> None:
        """A heartbeat met a defect: no plan can be trusted until it goes on."""
        finding = Finding(
            type=ConditionType.METRICS_AVAILABLE,
            status=False,
            reason=Reason.INTERNAL_ERROR,
            message=shortened(str(InternalError.of(error))),
        )
        if record.policy is not None:
            await self._found(record, record.policy, finding)

    async def _found(self, record: Record, policy: SLAPolicy, finding: Finding) -> None:
        """One condition, outside of a plan; told only when it changed."""
        status = dict(record.told_status or {})
        before = _conditions_before(record)
        if before.get(finding.type) == (finding.status, finding.reason.value):
            return
        status["conditions"] = set_conditions(
            status.get("conditions") or (),
            [finding],
            generation=int(status.get("observedGeneration") or record.generation),
            planned=bool(status.get("lastDecision")),
            now_s=self.desk.now_s(),
        )
        gauges.show_conditions(record, status["conditions"])
        await self._write(record, status)
        for event in events.on_findings(before, [finding]):
            self._post(record, policy, event)

    def moved(self, record: Record, policy: SLAPolicy, decision: Decision, outcome: Outcome) -> None:
        """Replicas were written, or refused, after their plan."""
        for event in _moves(record, decision, outcome):
            self._post(record, policy, event)
        if not record.deleted:
            gauges.count_moves(record, outcome)

    def remarked(self, record: Record, policy: SLAPolicy) -> None:
        """What is odd about the target or the clocks, and was not before."""
        remarks = record.target.remarks if record.target is not None else ()
        if record.clock_remark is not None:
            remarks = (*remarks, record.clock_remark)
        told = {remark.reason for remark in record.remarks if remark.reason is Reason.CLOCK_OFF}
        for remark in remarks:
            # The difference of clocks is measured anew with every plan; the figure is no news.
            if remark not in record.remarks and remark.reason not in told:
                self._post(record, policy, events.remarked(remark.reason, remark.message))
        record.remarks = remarks

    async def invalid(self, record: Record) -> None:
        """The policy cannot be read: say so once."""
        status = dict(record.latest_status or record.document.get("status") or {})
        message = shortened(str(record.trouble))
        told = {entry.get("type"): entry for entry in status.get("conditions") or ()}
        resolved = told.get(ConditionType.TARGET_RESOLVED, {})
        if (resolved.get("observedGeneration"), resolved.get("message")) == (record.generation, message):
            return
        finding = Finding(
            type=ConditionType.TARGET_RESOLVED,
            status=False,
            reason=Reason.INVALID_SPEC,
            message=message,
        )
        status |= {
            "observedGeneration": record.generation,
            "conditions": set_conditions(
                status.get("conditions") or (),
                [finding],
                generation=record.generation,
                planned=True,
                now_s=self.desk.now_s(),
            ),
        }
        gauges.show_conditions(record, status["conditions"])
        await self._write(record, status)
        if record.verdict is not None:
            await self._try_to_tell_target(record, self._silence(record))

    async def retry(self, record: Record) -> None:
        """Write what could not be written before, unless that failed just now."""
        if record.unwritten_status is not None and record.status_retry.over(now_s=self.desk.monotonic_s()):
            await self._write(record, record.unwritten_status)

    def age(self, record: Record, *, now_s: float) -> None:
        """How long ago the last plan was. A policy that went meanwhile has no series any more."""
        if record.attempted_at_s is not None and not record.deleted:
            metrics.PLAN_AGE.labels(record.namespace, record.name).set(
                max(0.0, now_s - record.attempted_at_s)
            )

    async def withdrawn(self, record: Record) -> None:
        """The policy goes: what remains on the deployment is what the other policies say."""
        metrics.forget(record.namespace, record.name)
        await self._silence(record)

    async def _silence(self, record: Record) -> None:
        """Take the policy's word off its deployment, also one that an earlier operator gave."""
        record.verdict = None
        name = ((record.document.get("spec") or {}).get("targetRef") or {}).get("name")
        if isinstance(name, str):
            await self.desk.report_to_target(
                record.namespace, name, self.records.verdicts(record.namespace, name)
            )

    def _figures(self, record: Record, task: Task, plan: Plan, *, digest: str | None) -> StatusFigures:
        status = record.told_status or {}
        conditions = set_conditions(
            status.get("conditions") or (),
            plan.findings.values(),
            generation=task.policy.metadata.generation,
            planned=True,
            now_s=self.desk.now_s(),
        )
        attainment = (plan.traffic.attainment if plan.traffic else None) or {}
        return StatusFigures(
            generation=task.policy.metadata.generation,
            policy=task.core,
            conditions=conditions,
            target=_facts(task.policy, plan),
            fleet=plan.target.fleet if plan.target else None,
            decision=plan.decision,
            expected=plan.expected,
            startup=_startup(task.core, plan),
            last_hour=attainment.get(HOUR_S),
            last_day=attainment.get(DAY_S),
            planner_state=to_document(plan.state) | ({"seen": digest} if digest else {}),
        )

    def _post_events(
        self,
        record: Record,
        policy: SLAPolicy,
        plan: Plan,
        before: Mapping[ConditionType, tuple[bool | None, str]],
    ) -> None:
        told = events.on_findings(before, tuple(plan.findings.values()))
        if plan.decision is not None:
            if plan.outcome is not None:
                told += _moves(record, plan.decision, plan.outcome)
            limited = events.scale_limited(plan.decision)
            if limited is not None and not record.limited:
                told.append(limited)
            record.limited = limited is not None
        for event in told:
            self._post(record, policy, event)

    def _post(self, record: Record, policy: SLAPolicy, event: Event) -> None:
        objects = [record.document]
        if record.target is not None and policy.spec.target_ref.name is not None:
            objects.append(_target_reference(record.target, policy))
        for told in objects:
            try:
                self.post(told, event)
            except Exception:
                logger.exception("event was not posted", extra=_who(record) | {"event": event.reason})

    async def _write(self, record: Record, status: Mapping[str, Any]) -> None:
        before = _without_publications(record.latest_status or {})
        status = _without_publications(status)
        if record.unwritten_status is None and nothing_but_the_clock(before, status):
            metrics.STATUS_WRITES.labels("skipped").inc()
            return
        try:
            await self.desk.write_status(
                namespace=record.namespace,
                name=record.name,
                uid=record.uid,
                status=merge_patch(before, status),
            )
        except ApiRefusal as refusal:
            if refusal.failure.not_found:
                record.unwritten_status = None
                return
            record.unwritten_status = status
            record.status_retry = record.status_retry.failed(
                now_s=self.desk.monotonic_s(), base_s=self.retry_base_s
            )
            metrics.STATUS_WRITES.labels("refused").inc()
            logger.warning("status was not written", extra=_who(record) | {"error": refusal.failure.message})
            return
        record.latest_status, record.unwritten_status, record.status_retry = status, None, READY
        metrics.STATUS_WRITES.labels("written").inc()

    async def _tell_target(
        self, record: Record, task: Task, plan: Plan, conditions: Sequence[Mapping[str, Any]]
    ) -> None:
        contested = plan.findings.get(ConditionType.TARGET_CONFLICT)
        silent = task.core.actuation is Actuation.OBSERVE or (contested is not None and contested.status)
        had_verdict = record.verdict is not None
        record.verdict = None if silent else verdict(record, task.core, plan, conditions)
        name = task.policy.spec.target_ref.name
        if name is None or (record.verdict is None and not had_verdict):
            return
        verdicts = self.records.verdicts(record.namespace, name)
        await self._try_to_tell_target(record, self.desk.report_to_target(record.namespace, name, verdicts))

    async def _try_to_tell_target(self, record: Record, telling: Awaitable[None]) -> None:
        try:
            await telling
        except PlanningError as error:
            logger.warning(
                "conditions of the target were not written", extra=_who(record) | {"error": str(error)}
            )


def _finite_json(text: str) -> Any:
    """Parse what anybody may have written who may write a status: no NaN, nothing infinite.

    Raises:
        ValueError, RecursionError: it is no such document.
    """

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"found {number}, wanted a finite number")
        return value

    return json.loads(text, parse_float=finite, parse_constant=finite)


def _without_publications(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status as far as it is written here: what was published has a writer of its own."""
    return {
        name: value for name, value in status.items() if name not in (PUBLISHED_FIELD, ACKNOWLEDGED_FIELD)
    }


def _conditions_before(record: Record) -> dict[ConditionType, tuple[bool | None, str]]:
    known = frozenset(ConditionType)
    return {
        ConditionType(condition["type"]): (_TRUTH.get(condition["status"]), condition["reason"])
        for condition in (record.told_status or {}).get("conditions") or ()
        if condition["type"] in known
    }


def _moves(record: Record, decision: Decision, outcome: Outcome) -> list[Event]:
    told = []
    if outcome.written:
        moved = {write.role.value: (write.before, write.replicas) for write in outcome.written}
        told.append(events.scaled(decision, moved))
    refused = outcome.error.reason if outcome.error is not None else None
    if outcome.error is not None and refused is not record.refused:
        told.append(events.write_failed(outcome.error.reason, str(outcome.error)))
    record.refused = refused
    return told


def _facts(policy: SLAPolicy, plan: Plan) -> TargetFacts | None:
    if plan.target is None:
        return None
    identity = plan.target.identity
    return TargetFacts(
        name=identity.name,
        kind=policy.spec.target_ref.kind.value if policy.spec.target_ref.name else KIND,
        api_version=identity.api_version,
        uid=identity.uid,
        model=plan.model,
        dynamo_namespace=plan.target.dynamo_namespace,
    )


def _startup(core: Policy, plan: Plan) -> Startup | None:
    if core.startup_s is not None:
        return Startup(seconds=core.startup_s, source="Spec")
    measured = plan.target.fleet.startup_s if plan.target else None
    if measured is not None:
        return Startup(seconds=measured, source="Measured")
    return Startup(seconds=DEFAULT_STARTUP_S, source="Default")


def _target_reference(target: TargetState, policy: SLAPolicy) -> dict[str, Any]:
    identity = target.identity
    return {
        "apiVersion": identity.api_version,
        "kind": policy.spec.target_ref.kind.value,
        "metadata": {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid},
    }


def _who(record: Record) -> dict[str, Any]:
    return {"policy": f"{record.namespace}/{record.name}"}


def _log(record: Record, plan: Plan, *, took_s: float) -> None:
    """One line per plan with everything in it."""
    decision = plan.decision
    if decision is None:
        failure = plan.failure
        logger.warning(
            "no decision",
            extra=_who(record)
            | {
                "reason": str(failure.reason) if failure else "",
                "error": str(failure or ""),
                "took_s": round(took_s, 3),
            },
        )
        return
    logger.info(
        "planned",
        extra=_who(record)
        | {
            "decision": decision.id,
            "reason": str(decision.reason),
            "explanation": decision.message,
            "written": [f"{w.role} {w.before}->{w.replicas}" for w in plan.outcome.written]
            if plan.outcome
            else [],
            "took_s": round(took_s, 3),
        },
    )
