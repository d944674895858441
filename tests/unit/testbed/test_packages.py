"""What a fresh machine is told, or given, before anything is compiled."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.testbed.packages import install_missing


def on_a_machine_with(monkeypatch: pytest.MonkeyPatch, *programs: str, root: bool) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)


def played(*, works: bool = True) -> tuple[list[str], list[list[str]]]:
    said: list[str] = []
    ran: list[list[str]] = []

    def run(command: list[str]) -> bool:
        ran.append(command)
        return works

    install_missing(said.append, run=run)
    return said, ran


def test_root_with_apt_gets_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine_with(monkeypatch, "apt-get", "prometheus", root=True)
    said, ran = played()
    assert said == ["installing redis-server"]
    assert [command[:2] for command in ran] == [["apt-get", "update"], ["apt-get", "install"]]
    assert ran[-1][-1] == "redis-server"


@pytest.mark.parametrize(
    ("programs", "root", "works"),
    [
        pytest.param(("apt-get",), False, True, id="no-root"),
        pytest.param((), True, True, id="no-apt"),
        pytest.param(("apt-get",), True, False, id="apt-fails"),
    ],
)
def test_others_hear_first_what_it_costs_and_what_would_save_it(
    monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...], root: bool, works: bool
) -> None:
    on_a_machine_with(monkeypatch, *programs, root=root)
    said, _ = played(works=works)
    assert said[-2] == (
        "prometheus is not installed, so Prometheus is compiled, which takes minutes: "
        "`apt-get install prometheus` as root saves that"
    )
    assert "tests beside a real Argo CD are skipped" in said[-1]
    assert "apt-get install redis-server" in said[-1]


def test_a_machine_that_has_both_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine_with(monkeypatch, "prometheus", "redis-server", root=True)
    assert played() == ([], [])
