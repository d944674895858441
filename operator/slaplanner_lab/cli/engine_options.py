"""Options of the simulated fleet: how its engines differ from the profile, and what its frontend counts in."""

from __future__ import annotations

import click

from slaplanner_lab.engine import EngineError
from slaplanner_lab.simulation.telemetry import DEFAULT_BUCKETS, Buckets, spaced_edges

_PARTS = {"prefill": "prefill", "decode": "decode", "kv": "kv_growth"}


def _error(_context: click.Context, _parameter: click.Parameter, value: str | None) -> EngineError:
    """`prefill=1.1,decode=1.2,kv=0.1`; parts may be left out."""
    found: dict[str, float] = {}
    for part in value.split(",") if value is not None else ():
        name, _, factor = part.strip().partition("=")
        if name not in _PARTS or _PARTS[name] in found:
            raise click.BadParameter(f"found {part!r}, wanted each of prefill=, decode= and kv= at most once")
        try:
            found[_PARTS[name]] = float(factor)
        except ValueError as error:
            raise click.BadParameter(f"found {part!r}, wanted {name}=NUMBER") from error
    try:
        return EngineError(**found)
    except ValueError as error:
        raise click.BadParameter(f"found {value!r}: {error}") from error


def _edges(_context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...]:
    if value is None:
        return DEFAULT_BUCKETS.ttft_s if parameter.name == "ttft_buckets" else DEFAULT_BUCKETS.itl_s
    try:
        least, most, count = value.split(",")
        return spaced_edges(float(least), float(most), int(count))
    except ValueError as error:
        raise click.BadParameter(
            f"found {value!r}, wanted LEAST,MOST,COUNT in seconds as in 0.01,100,60"
        ) from error


def buckets_of(*, ttft_buckets: tuple[float, ...], itl_buckets: tuple[float, ...]) -> Buckets:
    """What the two options below say together."""
    return Buckets(ttft_s=ttft_buckets, itl_s=itl_buckets)


fleet_error = click.option(
    "--fleet-error",
    callback=_error,
    metavar="PARTS",
    help="How the fleet differs from its profile: prefill=1.1,decode=1.2,kv=0.1 makes TTFT 1.1 times and ITL 1.2 x "
    "(1 + 0.1 x share of the KV in use) times what the profile says.",
)
ttft_buckets = click.option(
    "--ttft-buckets",
    callback=_edges,
    metavar="LEAST,MOST,COUNT",
    help="Edges of the frontend's TTFT histogram, written as in DYN_METRICS_TTFT; default: Dynamo's.",
)
itl_buckets = click.option(
    "--itl-buckets",
    callback=_edges,
    metavar="LEAST,MOST,COUNT",
    help="The same for ITL, as in DYN_METRICS_ITL.",
)
