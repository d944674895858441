"""Does a planner inside the deployment scale it, or only advise?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from slaplanner.adapters.target.shapes import mapping

_FLAGS = ("--no-operation", "--advisory")
_MODES = ("advisory", "noop")


def advises(words: Sequence[str]) -> bool:
    """The planner's configuration says that it recommends without acting.

    Dynamo's planner has said so in several ways over its versions. A configuration in a file cannot
    be read from here, so it counts as scaling.
    """
    if any(flag in words for flag in _FLAGS):
        return True
    return any(
        config.get("no_operation") is True
        or config.get("advisory") is True
        or config.get("scaling_mode") in _MODES
        for config in _inline_configs(words)
    )


def _inline_configs(words: Sequence[str]) -> Iterator[dict[str, object]]:
    for index, word in enumerate(words):
        value = word.removeprefix("--config=")
        if word == "--config" and index + 1 < len(words):
            value = words[index + 1]
        if value.lstrip().startswith("{"):
            try:
                yield dict(mapping(json.loads(value)))
            except ValueError:
                continue
