"""Which programs a bed takes, on machines that have some, old ones, or none."""

import dataclasses
from pathlib import Path

import pytest

from tests.testbed import MachineLacksError, find_control_plane, find_etcd, find_prometheus
from tests.testbed.binaries import CONTROL_PLANE
from tests.testbed.gomodule import GoModule
from tests.testbed.missing import or_skip

VERSIONS = {
    "kube-apiserver": "Kubernetes v{}",
    "kube-controller-manager": "Kubernetes v{}",
    "kubectl": "Client Version: v{}",
    "etcd": "etcd Version: {}",
    "prometheus": "prometheus, version {}+ds (branch: debian/sid)",
}


class Machine:
    """Folders of programs that do nothing but report their version."""

    def __init__(self, root: Path) -> None:
        self.path = root / "path"
        self.assets = root / "assets"
        self.cache = root / "cache"
        for folder in (self.path, self.assets, self.cache):
            folder.mkdir()

    def has(self, folder: Path, **versions: str) -> None:
        for name, version in versions.items():
            program = folder / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\necho '{VERSIONS[program.name].format(version)}'\n")
            program.chmod(0o755)

    def has_cached(self, module: GoModule, *names: str) -> Path:
        home = self.cache / "slaplanner-testbed" / f"{module.name}-{module._sources()}-go1.26.0"
        home.mkdir(parents=True, exist_ok=True)
        self.has(home, **dict.fromkeys(names, "1.36.3"))
        return home


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without Go, with empty folders."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return machine


def test_programs_on_path_are_taken_when_their_versions_fit(machine: Machine) -> None:
    machine.has(
        machine.path,
        kube_apiserver="1.34.1",
        kube_controller_manager="1.34.1",
        kubectl="1.35.0",
        etcd="3.6.4",
    )
    found = find_control_plane()
    assert {path.parent for path in dataclasses.astuple(found)} == {machine.path}


def test_the_folder_that_the_user_names_comes_first_and_is_not_questioned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(machine.assets))
    machine.has(machine.assets, etcd="3.3.0")
    machine.has(machine.path, etcd="3.6.4")
    assert find_etcd() == machine.assets / "etcd"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        pytest.param("etcd", "3.4.23", id="etcd-of-debian-12"),
        pytest.param("kube_apiserver", "1.28.0", id="api-server-without-admission-policies"),
        pytest.param("kubectl", "1.32.4", id="kubectl-too-far-from-the-api-server"),
    ],
)
def test_a_program_on_path_that_does_not_fit_gives_way_to_the_cache(
    machine: Machine, name: str, version: str
) -> None:
    home = machine.has_cached(CONTROL_PLANE, "etcd", "kube_apiserver", "kube_controller_manager", "kubectl")
    machine.has(machine.path, **{name: version})
    assert getattr(find_control_plane(), name) == home / name.replace("_", "-")


def test_a_machine_without_anything_says_what_to_install(machine: Machine) -> None:
    with pytest.raises(
        MachineLacksError, match=r"kube-apiserver.* must be compiled, and there is no `go`"
    ) as raised:
        find_control_plane()
    assert "Install Go 1.26 or later" in str(raised.value)
    assert "KUBEBUILDER_ASSETS" in str(raised.value)


def test_a_missing_part_skips_on_a_laptop_and_fails_in_ci(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Install Go"):
        or_skip(find_etcd)
    for word in ("true", "1"):
        monkeypatch.setenv("CI", word)
        with pytest.raises(MachineLacksError):
            or_skip(find_etcd)


def test_for_prometheus_a_package_will_do(machine: Machine) -> None:
    with pytest.raises(MachineLacksError, match="or the package `prometheus`"):
        find_prometheus()
    machine.has(machine.path, prometheus="2.42.0")
    assert find_prometheus() == machine.path / "prometheus"


def test_a_changed_pin_makes_for_another_place_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a\nrequire b v1.0.0\n")
    (tmp_path / "go.sum").write_text("")
    module = GoModule(directory=tmp_path, packages={"b": "b/cmd/b"})
    before = module._sources()
    assert module._sources() == before
    assert dataclasses.replace(module, tags=("netgo",))._sources() != before
    (tmp_path / "go.mod").write_text("module a\nrequire b v1.0.1\n")
    assert module._sources() != before
