"""Which etcd, API server, kubectl, Prometheus, Helm and Argo CD a bed uses.

The order of choice, part by part: the directory in `KUBEBUILDER_ASSETS` (trusted as it is), PATH
(when the version fits), the cache of earlier builds, compiling. What remains missing is named in
one message with what to install.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.errors import MachineLacksError
from tests.testbed.gomodule import GoModule, Say, quiet

TESTS = Path(__file__).resolve().parents[1]
KUBERNETES_VERSION = "v1.36.3"
PROMETHEUS_TAGS = ("netgo", "remove_all_sd")
ARGOCD_VERSION = "3.2.6"
HELM_VERSION = "v3.21.4"

Version = tuple[int, int]
# ValidatingAdmissionPolicy and CEL's lists extensions have been stable since 1.32; a 1.36 API
# server speaks to etcd 3.5 and later (Debian 12 has 3.4); Prometheus 2.40 has all functions used.
OLDEST: dict[str, Version] = {"kube-apiserver": (1, 32), "etcd": (3, 5), "prometheus": (2, 40)}


def _kubernetes_ldflags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    # Without the stamp the server calls itself v0.0.0-master and kubectl warns of the skew.
    return " ".join(
        ["-s", "-w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())]
    )


def _helm_ldflags(version: str, kubernetes: str) -> str:
    major, minor = kubernetes.removeprefix("v").split(".")[:2]
    # Without the stamp `helm template` pretends to face Kubernetes 1.20.
    package = "helm.sh/helm/v3"
    return (
        f"-s -w -X {package}/internal/version.version={version} "
        f"-X {package}/pkg/chartutil.k8sVersionMajor={major} -X {package}/pkg/chartutil.k8sVersionMinor={minor}"
    )


CONTROL_PLANE = GoModule(
    directory=TESTS / "controlplane",
    packages={
        name: f"./cmd/{name}" for name in ("etcd", "kubectl", "kube-apiserver", "kube-controller-manager")
    },
    ldflags=_kubernetes_ldflags(KUBERNETES_VERSION),
)
PROMETHEUS = GoModule(
    directory=TESTS / "prometheus",
    packages={
        "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
        "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    },
    tags=PROMETHEUS_TAGS,
)
HELM = GoModule(
    directory=TESTS / "helm",
    packages={"helm": "helm.sh/helm/v3/cmd/helm"},
    ldflags=_helm_ldflags(HELM_VERSION, KUBERNETES_VERSION),
)
ARGOCD = GoModule(
    directory=TESTS / "argocd",
    packages={"argocd": "github.com/argoproj/argo-cd/v3/cmd"},
    ldflags=f"-s -w -X github.com/argoproj/argo-cd/v3/common.version={ARGOCD_VERSION}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneBinaries:
    """One control plane's programs, of versions that fit together."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


def find_control_plane(*, say: Say = quiet) -> ControlPlaneBinaries:
    """All four programs, compiled where there is no other way.

    Raises:
        MachineLacksError: something is missing and cannot be compiled here.
        BuildFailedError: compiling was tried and failed.
    """
    found: dict[str, Path] = {}
    found |= _find("kube-apiserver", fits=_at_least("kube-apiserver"))
    # A kubectl or controller manager next to an API server of another age behaves differently.
    server = (_version(found["kube-apiserver"]) if found else None) or _parse(KUBERNETES_VERSION)
    for name in ("kube-controller-manager", "kubectl"):
        found |= _find(name, fits=_within_one_minor_of(server))
    found |= _find("etcd", fits=_at_least("etcd"))
    found |= _compile(CONTROL_PLANE, [name for name in CONTROL_PLANE.packages if name not in found], say=say)
    return ControlPlaneBinaries(
        etcd=found["etcd"],
        kube_apiserver=found["kube-apiserver"],
        kube_controller_manager=found["kube-controller-manager"],
        kubectl=found["kubectl"],
    )


def find_etcd(*, say: Say = quiet) -> Path:
    """An etcd alone; raises as `find_control_plane` does."""
    return (_find("etcd", fits=_at_least("etcd")) or _compile(CONTROL_PLANE, ["etcd"], say=say))["etcd"]


def find_kubectl(*, say: Say = quiet) -> Path:
    """A kubectl for a cluster that the user brought: theirs before ours."""
    return (_find("kubectl", fits=lambda _: True) or _compile(CONTROL_PLANE, ["kubectl"], say=say))["kubectl"]


def find_prometheus(*, say: Say = quiet) -> Path:
    """A Prometheus; raises as `find_control_plane` does."""
    found = _find("prometheus", fits=_at_least("prometheus"))
    return (found or _compile(PROMETHEUS, ["prometheus"], say=say, instead="the package `prometheus`"))[
        "prometheus"
    ]


def find_promtool(*, say: Say = quiet) -> Path:
    """What checks metrics and plays alerts; it comes with Prometheus."""
    found = _find("promtool", fits=_at_least("prometheus"))
    return (found or _compile(PROMETHEUS, ["promtool"], say=say, instead="the package `prometheus`"))[
        "promtool"
    ]


def find_argocd(*, say: Say = quiet) -> Path:
    """The one program that plays every part of Argo CD, by the name that it is called by.

    Always our own build: what users have on PATH is a client of any version.
    """
    return _compile(ARGOCD, ["argocd"], say=say)["argocd"]


def find_helm(*, say: Say = quiet) -> Path:
    """The Helm that renders the chart; always our own build, because versions render differently."""
    return _compile(HELM, ["helm"], say=say)["helm"]


def find_redis() -> Path:
    """Argo CD's cache; there is no Go module of it to compile.

    Raises:
        MachineLacksError: it is not on PATH.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise MachineLacksError("Argo CD needs `redis-server`. Install the package `redis-server`.")
    return Path(found)


def _find(name: str, *, fits: Callable[[Version | None], bool]) -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).is_file():
        return {name: Path(assets) / name}
    on_path = shutil.which(name)
    if on_path and fits(_version(Path(on_path))):
        return {name: Path(on_path)}
    return {}


def _compile(
    module: GoModule, names: Sequence[str], *, say: Say, instead: str | None = None
) -> dict[str, Path]:
    found = {name: path for name in names if (path := module.cached(name))}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    try:
        return found | module.build(*missing, say=say)
    except MachineLacksError as error:
        ways = ["Go 1.26 or later (https://go.dev/dl), which then compiles them once"]
        ways += [instead] if instead else ["binaries in a directory that KUBEBUILDER_ASSETS names"]
        raise MachineLacksError(f"{error}. Install {', or '.join(ways)}.") from error


def _at_least(name: str) -> Callable[[Version | None], bool]:
    return lambda version: version is not None and version >= OLDEST[name]


def _within_one_minor_of(server: Version | None) -> Callable[[Version | None], bool]:
    return lambda version: version is not None and server is not None and abs(version[1] - server[1]) <= 1


def _version(binary: Path) -> Version | None:
    """Major and minor version that *binary* reports; None when it reports none."""
    arguments = ["version", "--client"] if binary.name == "kubectl" else ["--version"]
    answer = subprocess.run(
        [binary, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    return _parse(answer.stdout + answer.stderr)


def _parse(text: str) -> Version | None:
    match = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    return (int(match[1]), int(match[2])) if match else None
