"""`make release`: what it writes can be installed, and its checksums are those of its files."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from manifests.release import project_version

from tests.testbed import Cluster
from tests.testbed.binaries import find_helm
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
VERSION = project_version()


@pytest.fixture(scope="module")
def built(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            *("python", "-m", "manifests.release", "build", folder, "--draft"),
            *("--kubectl", control_plane.kubectl_binary, "--helm", or_skip(find_helm)),
        ],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=True,
        timeout=300,
    )
    return folder


def test_every_file_of_a_release_is_there_and_has_its_checksum(built: Path) -> None:
    names = {file.name for file in built.iterdir()}
    base = f"slaplanner-{VERSION}"
    assert names == {
        *(f"{base}{end}" for end in ("-py3-none-any.whl", ".tar.gz", ".tgz", ".yaml", "-crds.yaml")),
        *(f"{base}{end}" for end in ("-high-availability.yaml", "-monitoring.yaml")),
        "RELEASE-NOTES.md",
        "SHA256SUMS",
    }
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=built,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert len(checked.splitlines()) == len(names) - 1


def test_a_real_api_server_takes_the_one_file(built: Path, control_plane: Cluster) -> None:
    file = built / f"slaplanner-{VERSION}.yaml"
    answer = control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", f"--filename={file}", check=False
    )
    documents = list(yaml.safe_load_all(file.read_text()))
    # Objects in a namespace that only the file itself creates cannot be tried before it exists.
    refused = [
        line for line in answer.stderr.splitlines() if 'namespaces "slaplanner-system" not found' not in line
    ]
    assert refused == []
    assert {one["kind"] for one in documents} >= {"Namespace", "CustomResourceDefinition", "Deployment"}
    (deployment,) = [one for one in documents if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"slaplanner:{VERSION}"


def test_chart_and_package_bring_what_they_need(built: Path) -> None:
    with tarfile.open(built / f"slaplanner-{VERSION}.tgz") as chart:
        names = chart.getnames()
    assert {"slaplanner/files/crd.yaml", "slaplanner/files/dashboards/slaplanner-policy.json"} <= set(names)
    with ZipFile(built / f"slaplanner-{VERSION}-py3-none-any.whl") as wheel:
        inside = wheel.namelist()
    assert "slaplanner/__main__.py" in inside
    assert "slaplanner_lab/__init__.py" in inside
