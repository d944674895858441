"""Makes a release: `python -m manifests.release build DIRECTORY`, and keeps the version in one place.

The version stands in pyproject.toml. `python -m manifests.release version` writes it where files repeat it,
`--check` only compares. `notes` prints the changelog's section of the version.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "charts/slaplanner"
UNRELEASED: Final = "Unreleased"

REPEATED: Final = {
    "operator/slaplanner/__init__.py": (r'(__version__ = ")[^"]+(")',),
    "charts/slaplanner/Chart.yaml": (r"(?m)(^version: )\S+()", r"(?m)(^appVersion: )\S+()"),
    "manifests/base/kustomization.yaml": (r"(newTag: )\S+()",),
    "README.md": (r"(Version )\d+\.\d+\.\d+(, API)", r"(example\.com/slaplanner:)\d+\.\d+\.\d+()"),
    "docs/how-to/install.md": (r"(example\.com/slaplanner:)\d+\.\d+\.\d+()", r"(newTag: )\d+\.\d+\.\d+()"),
}
"""Where the version is repeated: what stands before it and after it."""

BUILT: Final = {
    "": "manifests",
    "-high-availability": "manifests/overlays/high-availability",
    "-monitoring": "manifests/monitoring",
    "-crds": "crds",
}
"""Suffix of a file with plain YAML -> the kustomization that it is built from."""


class ReleaseError(click.ClickException):
    """Something is missing, or does not fit together."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Version, release notes and files of a release."""


@main.command()
@click.option("--check", is_flag=True, help="Only compare; exit code 1 where a file says another version.")
def version(*, check: bool) -> None:
    """Write the version of pyproject.toml into the files that repeat it."""
    wanted = project_version()
    for name, patterns in REPEATED.items():
        file = ROOT / name
        text = new = file.read_text(encoding="utf-8")
        for pattern in patterns:
            new, count = re.subn(pattern, rf"\g<1>{wanted}\g<2>", new)
            if not count:
                raise ReleaseError(f"{name}: found no version by {pattern}")
        if check and new != text:
            raise ReleaseError(f"{name} does not say {wanted}: run make docs")
        if new != text:
            file.write_text(new, encoding="utf-8")


@main.command()
@click.option("--draft", is_flag=True, help="Take what is unreleased where the version has no section yet.")
def notes(*, draft: bool) -> None:
    """Print the release notes."""
    click.echo(
        release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), project_version(), draft=draft)
    )


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--draft", is_flag=True, help="The changelog has no section of this version yet.")
@click.option("--kubectl", default="kubectl", help="Program that builds the manifests.")
@click.option("--helm", default="helm", help="Program that packages the chart.")
def build(*, directory: Path, draft: bool, kubectl: str, helm: str) -> None:
    """Write wheel, sdist, chart, plain manifests, notes and checksums into DIRECTORY, which is emptied before."""
    number = project_version()
    told = release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), number, draft=draft)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    _run(sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", directory)
    (directory / ".gitignore").unlink(missing_ok=True)
    _run(helm, "package", CHART, "--destination", directory)
    for suffix, source in BUILT.items():
        built = _run(kubectl, "kustomize", ROOT / source)
        (directory / f"slaplanner-{number}{suffix}.yaml").write_text(built, encoding="utf-8")
    (directory / "RELEASE-NOTES.md").write_text(told + "\n", encoding="utf-8")
    sums(directory)


@main.command("sums")
@click.argument("directory", type=click.Path(file_okay=False, exists=True, path_type=Path))
def write_sums(*, directory: Path) -> None:
    """Write SHA256SUMS anew, after a file was added to DIRECTORY."""
    sums(directory)


def sums(directory: Path) -> None:
    """`sha256sum --check SHA256SUMS` in *directory* compares all of its other files."""
    files = sorted(file for file in directory.iterdir() if file.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (directory / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def project_version() -> str:
    """The version, from the one place that decides it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def release_notes(changelog: str, number: str, *, draft: bool = False) -> str:
    """The section of version *number*, under a heading and above the way to install it.

    Raises:
        ReleaseError: there is no such section; with *draft* what is unreleased stands in.
    """
    sections = re.split(r"(?m)^## \[", changelog)[1:]
    found = {section.partition("]")[0]: section for section in sections}
    section = found.get(number) or (found.get(UNRELEASED) if draft else None)
    if section is None:
        raise ReleaseError(
            f"CHANGELOG.md: found sections {', '.join(found) or 'none'}, wanted [{number}]: cut the release first"
        )
    heading, _, body = section.partition("\n")
    words = re.split(r"(?m)^\[", body)[0].strip()
    date = heading.partition("] - ")[2].strip() or "not released"
    return (
        f"# slaplanner {number} ({date})\n\n"
        f"Install: `kubectl apply --server-side -f slaplanner-{number}.yaml`, or `helm upgrade --install slaplanner "
        f"slaplanner-{number}.tgz --namespace slaplanner-system --create-namespace`. Build and name your image first; "
        f"docs/how-to/upgrade.md says what an upgrade keeps.\n\n"
        f"{words}"
    )


def _run(*command: str | Path) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - programs that whoever makes the release names
            [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ReleaseError(f"found no {command[0]} on PATH") from error
    if answer.returncode != 0:
        raise ReleaseError(f"{' '.join(map(str, command))}\n{answer.stderr.strip()}")
    return answer.stdout


if __name__ == "__main__":
    main()
