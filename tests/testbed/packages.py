"""Packages of the system that save minutes of compiling, or tests from being skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

SAVES: Final[Mapping[str, str]] = {
    "prometheus": "Prometheus is compiled, which takes minutes",
    "redis-server": "the tests beside a real Argo CD are skipped",
}
"""By package, which is also the program's name: what its absence costs."""


def install_missing(say: Callable[[str], None], *, run: Callable[[list[str]], bool] | None = None) -> None:
    """Install what is missing where apt and root are there; else say beforehand what that costs.

    Args:
        say: is told what happens.
        run: runs a command and says whether it went well.
    """
    missing = [package for package in SAVES if shutil.which(package) is None]
    if not missing:
        return
    run = run or _ran
    if shutil.which("apt-get") is not None and os.geteuid() == 0:
        say(f"installing {' and '.join(missing)}")
        if run(["apt-get", "update", "-qq"]) and run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        ):
            return
        say("apt-get failed")
    for package in missing:
        say(
            f"{package} is not installed, so {SAVES[package]}: `apt-get install {package}` as root saves that"
        )


def _ran(command: list[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
