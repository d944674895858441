"""The fleet's two doors: metrics for Prometheus, and controls with the truth for tests.

They are two applications on two ports, because Prometheus may sit in another place (a kind
cluster's network) while the controls stay on loopback.
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from slaplanner_lab.fleet.exposition import render
from slaplanner_lab.fleet.graph import Faults
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.played import Played
from slaplanner_lab.fleet.program import PlayedFleet
from slaplanner_lab.fleet.serving import Controls, Serving

FLEET = web.AppKey("fleet", PlayedFleet)
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

_CONTROL_NAMES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "stall": ("stall", (bool,)),
    "idle": ("idle", (bool,)),
    "refuseShare": ("refuse_share", (int, float)),
    "embeddings": ("embeddings", (int,)),
}


def metrics_app(fleet: PlayedFleet) -> web.Application:
    """`/metrics` of all frontends, `/metrics/NAMESPACE/NAME` of one."""
    app = web.Application()
    app[FLEET] = fleet
    app.router.add_get("/metrics", _all_metrics)
    app.router.add_get("/metrics/{namespace}/{name}", _metrics)
    return app


def control_app(fleet: PlayedFleet) -> web.Application:
    """The truth, and what a test may do to a graph."""
    app = web.Application(middlewares=[_explain])
    app[FLEET] = fleet
    app.router.add_get("/graphs", _graphs)
    graph = "/graphs/{namespace}/{name}"
    app.router.add_get(graph, _graph)
    app.router.add_post(f"{graph}/controls", _set_controls)
    app.router.add_post(f"{graph}/faults", _set_faults)
    app.router.add_post(f"{graph}/frontend/restart", _restart_frontend)
    return app


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve *app* inside the block; gives its url (port 0: a free one)."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        taken = runner.addresses[0]
        yield f"{'http' if tls is None else 'https'}://{taken[0]}:{taken[1]}"
    finally:
        await runner.cleanup()


async def _all_metrics(request: web.Request) -> web.Response:
    served = (played.serving for played in request.app[FLEET].played.values())
    families = [family for one in served if isinstance(one, Serving) for family in one.frontend.families]
    return web.Response(body=render(families).encode(), headers={"Content-Type": EXPOSITION})


async def _metrics(request: web.Request) -> web.Response:
    text = render(_find_played(request).frontend.families)
    return web.Response(body=text.encode(), headers={"Content-Type": EXPOSITION})


async def _graphs(request: web.Request) -> web.Response:
    return web.json_response({key: one.report() for key, one in request.app[FLEET].played.items()})


async def _graph(request: web.Request) -> web.Response:
    return web.json_response(_find(request).report())


async def _set_controls(request: web.Request) -> web.Response:
    serving = _find_played(request)
    serving.controls = read_controls(await request.json(), serving.controls)
    return web.json_response(dataclasses.asdict(serving.controls))


async def _set_faults(request: web.Request) -> web.Response:
    played = _find(request)
    body = await request.json()
    played.faults = None if body is None else read_faults(body)
    return web.json_response({"faults": body})


async def _restart_frontend(request: web.Request) -> web.Response:
    _find(request).serving.restart_frontend()
    return web.json_response({"restarted": True})


def read_controls(body: Any, now: Controls) -> Controls:
    """*now* with what *body* says otherwise.

    Raises:
        ValueError: a key is unknown, or its value of another type.
    """
    changes: dict[str, Any] = {}
    for key, value in _object(body).items():
        if key not in _CONTROL_NAMES:
            raise ValueError(f"found {key!r}, wanted some of {', '.join(_CONTROL_NAMES)}")
        name, kinds = _CONTROL_NAMES[key]
        if type(value) not in kinds:
            raise ValueError(f"{key}: found {value!r}, wanted {' or '.join(kind.__name__ for kind in kinds)}")
        changes[name] = value
    return dataclasses.replace(now, **changes)


def read_faults(body: Any) -> Faults:
    """Faults from JSON: `{"crashLooping": {"decode": 1}, "capacityGpus": 16}`.

    Raises:
        ValueError: it has other keys or types.
    """
    fields = dict(_object(body))
    crash = _object(fields.pop("crashLooping", {}))
    capacity = fields.pop("capacityGpus", None)
    counts = [*crash.values(), *([] if capacity is None else [capacity])]
    if fields or any(type(count) is not int or count < 0 for count in counts):
        raise ValueError('wanted {"crashLooping": {component: count}, "capacityGpus": count or null}')
    return Faults(crash_looping=crash, capacity_gpus=capacity)


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise ValueError(f"found {body!r}, wanted an object")  # noqa: TRY004 - one error for all bad input
    return body


def _find(request: web.Request) -> Played:
    key = f"{request.match_info['namespace']}/{request.match_info['name']}"
    try:
        return request.app[FLEET].played[key]
    except KeyError:
        raise web.HTTPNotFound(text=f"no graph {key} is played") from None


def _find_played(request: web.Request) -> Serving:
    serving = _find(request).serving
    if not isinstance(serving, Serving):
        raise web.HTTPNotFound(
            text=f"{request.match_info['name']} has processes of its own: ask its frontend"
        )
    return serving


@web.middleware
async def _explain(request: web.Request, handler: Any) -> web.StreamResponse:
    """Bad input is the caller's fault and told to them."""
    try:
        response: web.StreamResponse = await handler(request)
    except ValueError as error:
        body: Json = {"error": str(error)}
        return web.json_response(body, status=400)
    return response
