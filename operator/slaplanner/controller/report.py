"""Reports one plan: in the status, in events, in the deployment's conditions, in metrics and in the log.

A report that fails costs no plan. If the API server is away or refuses the write, the status is kept and written with
the next heartbeat. Everything else is reported with the next plan.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slaplanner.adapters.deployment import ApiRefusal, ScalingOutcome, TargetState, combined
from slaplanner.adapters.deployment.own_conditions import are_told
from slaplanner.adapters.prometheus.attainment import DAY_S, HOUR_S
from slaplanner.api.conditions import set_conditions, shortened
from slaplanner.api.policy import KIND, SLAPolicy
from slaplanner.api.status import StatusFigures, build_status, nothing_but_the_clock
from slaplanner.api.status_schema import StartupStatus, TargetStatus
from slaplanner.controller import events, metrics, plan_metrics
from slaplanner.controller.backoff import READY
from slaplanner.controller.deployment_conditions import sighted, verdict
from slaplanner.controller.events import Event
from slaplanner.controller.merge_patches import merge_patch
from slaplanner.controller.outside.ports import Clock, Reports
from slaplanner.controller.planning import PlanResult, PlanTask
from slaplanner.controller.records import Record, Records
from slaplanner.core.decision import Decision, Finding
from slaplanner.core.errors import InternalError, PlanningError
from slaplanner.core.model import DEFAULT_STARTUP_S, Actuation, Policy
from slaplanner.core.reasons import ConditionStatus, ConditionType, Reason
from slaplanner.core.state import to_document
from slaplanner.virtual.policy_document import ACKNOWLEDGED_FIELD, PUBLISHED_FIELD

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Tells of one operator's plans."""

    reports: Reports
    clock: Clock
    records: Records
    post: Callable[[Mapping[str, Any], Event], None]
    """Posts an event about an object."""
    retry_base_s: float = 5.0
    """Seconds until a status that was refused is written again; longer with each refusal."""

    def begin(self, record: Record, status: Mapping[str, Any]) -> None:
        """What stands in the status before the first write of this operator."""
        record.report = replace(record.report, written=status)

    def state_dropped(self, record: Record, policy: SLAPolicy, problem: str) -> None:
        """The planner's state in the status is none: say so, because what it knew is lost."""
        logger.warning("planner state dropped", extra={"policy": record.who, "error": problem})
        self._post(record, policy, events.state_dropped(shortened(problem)))

    async def planned(
        self, record: Record, task: PlanTask, plan: PlanResult, *, digest: str | None, took_s: float
    ) -> None:
        """A plan ended, with a decision or without.

        The status comes first: nothing that fails afterwards, such as an event, costs it.
        """
        before = _conditions_before(record)
        figures = self._figures(record, task, plan, digest=digest)
        await self._write(record, build_status(figures, previous=record.report.status))
        if not record.manifest.deleted:
            # Its series were dropped, and nobody would drop them again.
            plan_metrics.show(
                record, task.core, plan, figures.conditions, now_s=self.clock.now_s(), took_s=took_s
            )
        _log(record, task, plan, took_s=took_s)
        self._post_events(record, task.policy, plan, before)
        await self._tell_target(record, task, plan, figures.conditions)

    async def progressed(self, record: Record, policy: SLAPolicy, finding: Finding) -> None:
        """Between plans: the target started or stopped moving. Told only when that changed."""
        if record.report.status is not None:
            await self._found(record, policy, finding)

    async def broke(self, record: Record, error: Exception) -> None:
        """A heartbeat met a defect: no plan can be trusted until it goes on."""
        finding = Finding(
            type=ConditionType.METRICS_AVAILABLE,
            status=False,
            reason=Reason.INTERNAL_ERROR,
            message=shortened(str(InternalError.of(error))),
        )
        if record.manifest.resolved is not None:
            await self._found(record, record.manifest.resolved.policy, finding)

    async def _found(self, record: Record, policy: SLAPolicy, finding: Finding) -> None:
        """One condition, outside of a plan; told only when it changed."""
        status = dict(record.report.status or {})
        before = _conditions_before(record)
        if before.get(finding.type) == (finding.status, finding.reason.value):
            return
        status["conditions"] = set_conditions(
            status.get("conditions") or (),
            [finding],
            generation=int(status.get("observedGeneration") or record.manifest.generation),
            planned=bool(status.get("lastDecision")),
            now_s=self.clock.now_s(),
        )
        plan_metrics.show_conditions(record, status["conditions"])
        await self._write(record, status)
        for event in events.on_findings(before, [finding]):
            self._post(record, policy, event)

    def moved(self, record: Record, policy: SLAPolicy, decision: Decision, outcome: ScalingOutcome) -> None:
        """Replicas were written, or refused, after their plan."""
        for event in _moves(record, decision, outcome):
            self._post(record, policy, event)
        if not record.manifest.deleted:
            plan_metrics.count_moves(record, outcome)

    def remarked(self, record: Record, policy: SLAPolicy) -> None:
        """What is odd about the target or the clocks, and was not before."""
        remarks = record.memory.target.remarks if record.memory.target is not None else ()
        if record.memory.clock_remark is not None:
            remarks = (*remarks, record.memory.clock_remark)
        told = {remark.reason for remark in record.report.remarks if remark.reason is Reason.CLOCK_OFF}
        for remark in remarks:
            # The difference of clocks is measured anew with every plan; the figure is no news.
            if remark not in record.report.remarks and remark.reason not in told:
                self._post(record, policy, events.remarked(remark.reason, remark.message))
        record.report = replace(record.report, remarks=remarks)

    async def invalid(self, record: Record) -> None:
        """The policy cannot be read: say so once."""
        status = dict(record.report.written or record.manifest.document.get("status") or {})
        message = shortened(str(record.manifest.trouble))
        told = {entry.get("type"): entry for entry in status.get("conditions") or ()}
        resolved = told.get(ConditionType.TARGET_RESOLVED, {})
        if (resolved.get("observedGeneration"), resolved.get("message")) == (
            record.manifest.generation,
            message,
        ):
            return
        finding = Finding(
            type=ConditionType.TARGET_RESOLVED,
            status=False,
            reason=Reason.INVALID_SPEC,
            message=message,
        )
        status |= {
            "observedGeneration": record.manifest.generation,
            "conditions": set_conditions(
                status.get("conditions") or (),
                [finding],
                generation=record.manifest.generation,
                planned=True,
                now_s=self.clock.now_s(),
            ),
        }
        plan_metrics.show_conditions(record, status["conditions"])
        await self._write(record, status)
        if record.report.verdict is not None:
            await self._try_to_tell_target(record, self._silence(record))

    async def retry(self, record: Record) -> None:
        """Write what could not be written before, unless that failed just now."""
        if record.report.unwritten is not None and record.report.retry.over(now_s=self.clock.monotonic_s()):
            await self._write(record, record.report.unwritten)

    async def withdrawn(self, record: Record) -> None:
        """The policy goes: what remains on the deployment is what the other policies say."""
        metrics.forget(record.namespace, record.name)
        await self._silence(record)

    async def _silence(self, record: Record) -> None:
        """Take the policy's word off its deployment, also one that an earlier operator gave."""
        record.report = replace(record.report, verdict=None)
        name = ((record.manifest.document.get("spec") or {}).get("targetRef") or {}).get("name")
        if isinstance(name, str):
            await self.reports.report_to_target(
                record.namespace, name, self.records.verdicts(record.namespace, name)
            )

    def _figures(
        self, record: Record, task: PlanTask, plan: PlanResult, *, digest: str | None
    ) -> StatusFigures:
        status = record.report.status or {}
        conditions = set_conditions(
            status.get("conditions") or (),
            plan.findings.values(),
            generation=task.policy.metadata.generation,
            planned=True,
            now_s=self.clock.now_s(),
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
            trigger=task.trigger.value,
            alarm=task.alarm,
            startup=_startup(task.core, plan),
            last_hour=attainment.get(HOUR_S),
            last_day=attainment.get(DAY_S),
            planner_state=to_document(plan.state, digest=digest),
        )

    def _post_events(
        self,
        record: Record,
        policy: SLAPolicy,
        plan: PlanResult,
        before: Mapping[ConditionType, tuple[bool | None, str]],
    ) -> None:
        told = events.on_findings(before, tuple(plan.findings.values()))
        if plan.decision is not None:
            if plan.outcome is not None:
                told += _moves(record, plan.decision, plan.outcome)
            limited = events.scale_limited(plan.decision)
            if limited is not None and not record.report.limited:
                told.append(limited)
            record.report = replace(record.report, limited=limited is not None)
        for event in told:
            self._post(record, policy, event)

    def _post(self, record: Record, policy: SLAPolicy, event: Event) -> None:
        objects = [record.manifest.document]
        if record.memory.target is not None and policy.spec.target_ref.name is not None:
            objects.append(_target_reference(record.memory.target, policy))
        for told in objects:
            try:
                self.post(told, event)
            except Exception:
                logger.exception("event was not posted", extra={"policy": record.who, "event": event.reason})

    async def _write(self, record: Record, status: Mapping[str, Any]) -> None:
        before = _without_publications(record.report.written or {})
        status = _without_publications(status)
        if record.report.unwritten is None and nothing_but_the_clock(before, status):
            metrics.STATUS_WRITES.labels("skipped").inc()
            return
        try:
            await self.reports.write_status(
                namespace=record.namespace,
                name=record.name,
                uid=record.uid,
                status=merge_patch(before, status),
            )
        except ApiRefusal as refusal:
            if refusal.failure.not_found:
                record.report = replace(record.report, unwritten=None)
                return
            retry = record.report.retry.failed(now_s=self.clock.monotonic_s(), base_s=self.retry_base_s)
            record.report = replace(record.report, unwritten=status, retry=retry)
            metrics.STATUS_WRITES.labels("refused").inc()
            logger.warning(
                "status was not written", extra={"policy": record.who, "error": refusal.failure.message}
            )
            return
        record.report = replace(record.report, written=status, unwritten=None, retry=READY)
        metrics.STATUS_WRITES.labels("written").inc()

    async def _tell_target(
        self, record: Record, task: PlanTask, plan: PlanResult, conditions: Sequence[Mapping[str, Any]]
    ) -> None:
        contested = plan.findings.get(ConditionType.TARGET_CONFLICT)
        silent = task.core.actuation is Actuation.OBSERVE or (contested is not None and contested.status)
        had_verdict = record.report.verdict is not None
        if silent:
            record.report = replace(record.report, verdict=None)
        else:
            sightings = sighted(record.report.sightings, task.core, plan)
            said = verdict(record, task.core, plan, conditions, sightings)
            record.report = replace(record.report, sightings=sightings, verdict=said)
        name = task.policy.spec.target_ref.name
        if name is None or (record.report.verdict is None and not had_verdict):
            return
        verdicts = self.records.verdicts(record.namespace, name)
        if plan.target is not None and are_told(plan.target.told, combined(verdicts)):
            return
        await self._try_to_tell_target(
            record, self.reports.report_to_target(record.namespace, name, verdicts)
        )

    async def _try_to_tell_target(self, record: Record, telling: Awaitable[None]) -> None:
        try:
            await telling
        except PlanningError as error:
            logger.warning(
                "conditions of the target were not written", extra={"policy": record.who, "error": str(error)}
            )


def _without_publications(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status as far as it is written here: what was published has a writer of its own."""
    return {
        name: value for name, value in status.items() if name not in (PUBLISHED_FIELD, ACKNOWLEDGED_FIELD)
    }


def _conditions_before(record: Record) -> dict[ConditionType, tuple[bool | None, str]]:
    known = frozenset(ConditionType)
    return {
        ConditionType(condition["type"]): (ConditionStatus.truth_of(condition["status"]), condition["reason"])
        for condition in (record.report.status or {}).get("conditions") or ()
        if condition["type"] in known
    }


def _moves(record: Record, decision: Decision, outcome: ScalingOutcome) -> list[Event]:
    told = []
    if outcome.written:
        moved = {write.role.value: (write.before, write.replicas) for write in outcome.written}
        told.append(events.scaled(decision, moved))
    refused = outcome.error.reason if outcome.error is not None else None
    if outcome.error is not None and refused is not record.report.refused:
        told.append(events.write_failed(outcome.error.reason, str(outcome.error)))
    record.report = replace(record.report, refused=refused)
    return told


def _facts(policy: SLAPolicy, plan: PlanResult) -> TargetStatus | None:
    if plan.target is None:
        return None
    identity = plan.target.identity
    return TargetStatus(
        name=identity.name,
        kind=policy.spec.target_ref.kind.value if policy.spec.target_ref.name else KIND,
        api_version=identity.api_version,
        uid=identity.uid,
        model=plan.model,
        dynamo_namespace=plan.target.dynamo_namespace,
    )


def _startup(core: Policy, plan: PlanResult) -> StartupStatus | None:
    if core.startup_s is not None:
        return StartupStatus(seconds=core.startup_s, source="Spec")
    measured = plan.target.fleet.startup_s if plan.target else None
    if measured is not None:
        return StartupStatus(seconds=measured, source="Measured")
    return StartupStatus(seconds=DEFAULT_STARTUP_S, source="Default")


def _target_reference(target: TargetState, policy: SLAPolicy) -> dict[str, Any]:
    identity = target.identity
    return {
        "apiVersion": identity.api_version,
        "kind": policy.spec.target_ref.kind.value,
        "metadata": {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid},
    }


def _log(record: Record, task: PlanTask, plan: PlanResult, *, took_s: float) -> None:
    """One line per plan with everything in it."""
    decision = plan.decision
    if decision is None:
        failure = plan.failure
        logger.warning(
            "no decision",
            extra={"policy": record.who}
            | {
                "trigger": task.trigger.value,
                "reason": str(failure.reason) if failure else "",
                "error": str(failure or ""),
                "took_s": round(took_s, 3),
            },
        )
        return
    logger.info(
        "planned",
        extra={"policy": record.who}
        | {
            "trigger": task.trigger.value,
            **({"alarm": f"{task.alarm.reason}: {task.alarm.message}"} if task.alarm else {}),
            "decision": decision.id,
            "reason": str(decision.reason),
            "explanation": decision.message,
            "written": [f"{w.role} {w.before}->{w.replicas}" for w in plan.outcome.written]
            if plan.outcome
            else [],
            "took_s": round(took_s, 3),
        },
    )
