"""The conversion webhook: what the API server asks when two versions of an object are served."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.convert import convert_adapter, convert_graph
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.names import Json

PATH = "/convert"
MAX_REQUEST_BYTES = 64 << 20
"""A list of graphs is converted in one request."""


def webhook_app() -> web.Application:
    """Answers ConversionReviews on `/convert`."""
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post(PATH, _convert)
    return app


async def _convert(request: web.Request) -> web.Response:
    return web.json_response(answer(await request.json()))


def answer(review: Json) -> Json:
    """The ConversionReview that answers *review*: all objects converted, or one message why not."""
    asked = review["request"]
    version = asked["desiredAPIVersion"].rpartition("/")[2]
    result: Json = {"status": "Success"}
    converted: list[Any] = []
    try:
        converted = [
            (convert_adapter if obj.get("kind") == names.ADAPTER_KIND else convert_graph)(obj, version)
            for obj in asked["objects"]
        ]
    except FleetError as error:
        result = {"status": "Failure", "message": str(error)}
    return {
        "apiVersion": review["apiVersion"],
        "kind": "ConversionReview",
        "response": {"uid": asked["uid"], "result": result, "convertedObjects": converted},
    }
