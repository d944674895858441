"""What notebooks and scripts need around the planner, in few names; `import slaplanner` offers them.

Here files become values and a simulation becomes one call. The parts stay where they are, for those who
need more of them: `core` decides, `offline` plays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.traces.trace import Trace
from slaplanner.api.files import policy_from_text
from slaplanner.core.model import Interpolation, Policy, Role
from slaplanner_lab.engine import EngineError
from slaplanner_lab.simulation import loop
from slaplanner_lab.simulation.planners import ObservationPlanner, PolicyPlanner
from slaplanner_lab.simulation.setup import NO_ERROR, UNSCORED_S, scenario_of


def load_policy(path: str | Path) -> Policy:
    """The one SLAPolicy of a YAML file, with its defaults, as the planner reads it.

    Raises:
        PolicyError: there is none or more than one, or an API server would refuse it.
        DocumentError: it is not YAML.
        OSError: it cannot be read.
    """
    return policy_from_text(Path(path).read_text(encoding="utf-8"), source=str(path)).to_core()


def load_profile(
    directory: str | Path, *, interpolation: Interpolation = Interpolation.MONOTONE
) -> LoadedProfile:
    """A profile as Dynamo's profiler leaves it: `profile` for the planner, `faults` for its reader.

    Raises:
        ProfileError: it does not exist, does not parse, or has too few points for *interpolation*.
    """
    return load_directory(directory, allowed=None, interpolation=interpolation)


def simulate(
    policy: Policy,
    profile: LoadedProfile,
    trace: Trace,
    *,
    planner: ObservationPlanner | None = None,
    fleet_profile: LoadedProfile | None = None,
    fleet_error: EngineError = NO_ERROR,
    start: Mapping[Role, int] | None = None,
    copies: int = 1,
    seed: int = 0,
    unscored_s: float = UNSCORED_S,
    faults: tuple[loop.Fault, ...] = (),
    progress: Callable[[float], None] | None = None,
) -> loop.Run:
    """Play *trace* through a simulated fleet, request by request, with *planner* in charge.

    Args:
        policy: of any mode (see `setup.scenario_of`); GPUs per replica are its `roles[].gpusPerReplica`, else 1.
        profile: what the planner believes of one replica.
        trace: the requests; prompts longer than the profile knows are cut to its longest.
        planner: another way to decide; None: the policy's own.
        fleet_profile: what the fleet can really do; None: *profile*.
        fleet_error: how the fleet's engines differ from that profile.
        start: replicas that serve from the first second on; a role that is left out has what the load of
            the first minute needs.
        copies: each request so many times, jittered by up to 5 s.
        seed: of the jitter.
        unscored_s: requests that arrive earlier do not count in the score.
        faults: `WorkerLost` and `PrometheusSilent`, each at its time.
        progress: told the share that is played.

    Raises:
        ProfileNotFound: a profile lacks a stage of the mode.

    Returns:
        What happened; `slaplanner.score` says what it is worth.
    """
    scenario = scenario_of(
        policy,
        trace,
        fleet=(fleet_profile or profile).profile,
        error=fleet_error,
        start=start,
        copies=copies,
        seed=seed,
        unscored_s=unscored_s,
        faults=faults,
    )
    own = PolicyPlanner(policy=scenario.policy, profile=profile.profile)
    return loop.simulate(scenario, planner or own, progress=progress)
