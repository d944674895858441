"""Files of a release that repeat one another agree, and the image is built from what the repository has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from manifests import release
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
    """Written by `make docs` from pyproject.toml."""
    CliRunner().invoke(release.main, ["version", "--check"], catch_exceptions=False, standalone_mode=False)


def test_a_file_with_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "project_version", lambda: "99.1.2")
    answer = CliRunner().invoke(release.main, ["version", "--check"])
    assert (answer.exit_code, "does not say 99.1.2" in answer.output) == (1, True)


CHANGELOG = """# Changelog

## [Unreleased]

### Added

- More.

## [1.2.0] - 2026-12-01

### Fixed

- A [link](x).

## [1.1.0] - 2026-11-01

- Old.
"""


def test_release_notes_are_the_section_of_the_version() -> None:
    told = release.release_notes(CHANGELOG, "1.2.0")
    assert told.startswith("# slaplanner 1.2.0 (2026-12-01)\n")
    assert told.endswith("### Fixed\n\n- A [link](x).")
    assert "slaplanner-1.2.0.yaml" in told


def test_a_version_without_a_section_is_no_release_but_may_be_a_draft() -> None:
    with pytest.raises(release.ReleaseError, match=r"found sections Unreleased, 1\.2\.0, 1\.1\.0, wanted"):
        release.release_notes(CHANGELOG, "2.0.0")
    draft = release.release_notes(CHANGELOG, "2.0.0", draft=True)
    assert draft.startswith("# slaplanner 2.0.0 (not released)\n")
    assert draft.endswith("- More.")


def test_each_released_version_of_the_changelog_has_a_date_and_the_first_is_there() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert headings[-1] == "[0.1.0] - 2026-11-23"
    assert [
        one for one in headings[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one)
    ] == []


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
