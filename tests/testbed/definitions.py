"""Definitions of others' operators, for objects that are meant for them. The operators themselves do not run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.testbed.gomodule import GoModule, module_directory

_MODULE: Final = GoModule(directory=Path(__file__).parents[1] / "definitions", packages={})

FILES: Final = {
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/kedacore/keda/v2": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    "sigs.k8s.io/kueue": (
        "config/components/crd/bases/kueue.x-k8s.io_clusterqueues.yaml",
        "config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml",
        "config/components/crd/bases/kueue.x-k8s.io_resourceflavors.yaml",
    ),
    "github.com/argoproj/argo-rollouts": (
        "manifests/crds/analysis-template-crd.yaml",
        "manifests/crds/rollout-crd.yaml",
    ),
}


def neighbours_definitions() -> Iterator[Path]:
    """Files with the definitions of the Prometheus operator, KEDA, Kueue and Argo Rollouts.

    Raises:
        MachineLacksError: there is no Go.
        BuildFailedError: they could not be downloaded.
    """
    for module, files in FILES.items():
        directory = module_directory(_MODULE, module)
        yield from (directory / file for file in files)
