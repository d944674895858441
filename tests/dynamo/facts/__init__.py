"""What frontends of Dynamo's versions were seen to expose (see `tests.dynamo.record`)."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FACTS = Path(__file__).parent


@cache
def stored(version: str) -> dict[str, Any]:
    """The facts of *version* as the repository has them."""
    facts: dict[str, Any] = yaml.safe_load((FACTS / f"{version}.yaml").read_text())
    return facts
