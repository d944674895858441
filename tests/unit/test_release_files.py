"""Files of a release that repeat one another agree, and the image is built from what the repository has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGE = (ROOT / "requirements/image.txt").read_text()
BUILD = (ROOT / "requirements/build.txt").read_text()


def locked(text: str) -> dict[str, list[str]]:
    """The versions of each package that a lock file names; several where they differ by Python."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


@pytest.mark.parametrize(
    ("requirement", "lock"),
    [
        *((Requirement(one), IMAGE) for one in PROJECT["project"]["dependencies"]),
        *((Requirement(one), BUILD) for one in PROJECT["build-system"]["requires"]),
    ],
    ids=lambda value: value.name if isinstance(value, Requirement) else "",
)
def test_the_lock_file_has_a_version_that_the_project_allows(requirement: Requirement, lock: str) -> None:
    versions = locked(lock)[canonicalize_name(requirement.name)]
    assert [version for version in versions if version not in requirement.specifier] == []


@pytest.mark.parametrize("lock", [IMAGE, BUILD], ids=["image", "build"])
def test_everything_in_a_lock_file_has_a_hash(lock: str) -> None:
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_one_version_everywhere() -> None:
    version = PROJECT["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts/slaplanner/Chart.yaml").read_text())
    (image,) = yaml.safe_load((ROOT / "manifests/base/kustomization.yaml").read_text())["images"]
    assert (chart["version"], chart["appVersion"], image["newTag"]) == (version, version, version)


def test_the_image_copies_only_what_the_build_context_has() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_dependencies_are_installed_before_the_source_is_copied() -> None:
    """So that a change of the source builds only the last layers again."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert dockerfile.index("--require-hashes") < dockerfile.index("COPY operator/slaplanner/")
