"""All parts of a bed under one roof: made when first asked for, stopped together."""

import shutil
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.testbed.argocd import ArgoCD
from tests.testbed.binaries import find_control_plane, find_etcd, find_kubectl, find_prometheus
from tests.testbed.cluster import Cluster, users_kubeconfig
from tests.testbed.controlplane import ControlPlane
from tests.testbed.etcd import EtcdServer
from tests.testbed.gomodule import Say, quiet
from tests.testbed.prometheus import PrometheusServer


class Bed:
    """A context manager; its parts start with the first access and stop in reverse order.

    The directory of data and logs is temporary, and kept when the block is left by an error (not by
    Ctrl-C or an exit): *say* then gets its name.
    """

    def __init__(self, *, say: Say = quiet) -> None:
        self._say = say
        self._stack = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="slaplanner-testbed-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if not isinstance(error, Exception):
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self._say(f"logs are kept in {self.directory}")

    @cached_property
    def control_plane(self) -> ControlPlane:
        """A control plane of this bed's own, ready."""
        binaries = find_control_plane(say=self._say)
        self._say("starting etcd, the API server and the controller manager")
        control_plane = ControlPlane(binaries, self.directory / "controlplane")
        self._stack.callback(control_plane.stop)
        control_plane.start()
        return control_plane

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster that the user named, else this bed's control plane."""
        kubeconfig = users_kubeconfig()
        if kubeconfig is None:
            return self.control_plane
        return Cluster(kubeconfig=kubeconfig, kubectl=find_kubectl(say=self._say), scratch=self.directory)

    @cached_property
    def prometheus(self) -> PrometheusServer:
        """A Prometheus, ready, that scrapes nothing yet."""
        binary = find_prometheus(say=self._say)
        self._say("starting Prometheus")
        server = PrometheusServer(binary, self.directory / "prometheus")
        self._stack.callback(server.stop)
        server.start()
        return server

    def another_control_plane(self, name: str) -> ControlPlane:
        """One more control plane, for tests that would be in the way of others; the caller may stop it."""
        control_plane = ControlPlane(find_control_plane(say=self._say), self.directory / name)
        self._stack.callback(control_plane.stop)
        control_plane.start()
        return control_plane

    def argocd(self, cluster: Cluster) -> ArgoCD:
        """An Argo CD on *cluster*, ready, that knows SLAPolicies."""
        argocd = ArgoCD(cluster, self.directory / "argocd", say=self._say)
        self._say("starting Argo CD")
        self._stack.callback(argocd.stop)
        argocd.start()
        return argocd

    def etcd(self, name: str, *, tls: bool = False, root_password: str | None = None) -> EtcdServer:
        """One more etcd, apart from the control plane's; the caller may stop it earlier."""
        binary = find_etcd(say=self._say)
        server = EtcdServer(binary, self.directory / name, tls=tls, root_password=root_password)
        self._stack.callback(server.stop)
        server.start()
        return server
