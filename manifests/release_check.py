"""The supply chain before a release: an SBOM of the image's lock file, its hashes, and known vulnerabilities.

What could not be looked at is said, and is no success: exit code 3. Exit code 1: something was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements/image.txt"
SBOM = ROOT / "build/sbom.cdx.json"
NOT_LOOKED_AT = 3


def unlocked(lock: str) -> list[str]:
    """Requirements of a lock file without a hash, or without an exact version."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", lock)
    wanted = [entry for entry in entries if re.match(r"[a-zA-Z0-9]", entry)]
    return [entry.split()[0] for entry in wanted if "--hash=sha256:" not in entry or "==" not in entry]


def audit() -> int:
    """Ask for known vulnerabilities of the locked versions."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--requirement", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = f"{done.stdout}{done.stderr}"
    if done.returncode == 0 and "could not be audited" not in told:
        print("pip-audit: no known vulnerabilities")
        return 0
    if re.search(r"^\S+ +\S+ +(PYSEC|GHSA|CVE)-", told, re.MULTILINE):
        print(told)
        return 1
    skipped = told.count("could not be audited")
    print(
        f"pip-audit: NOT LOOKED AT, {f'{skipped} packages were skipped' if skipped else 'it failed'}: "
        "is its vulnerability service reachable from here?"
    )
    return NOT_LOOKED_AT


def main() -> int:
    """Run all checks; the worst result is the exit code."""
    bad = unlocked(LOCK.read_text())
    print(
        f"hashes: {'missing for ' + ', '.join(bad) if bad else 'every version is exact and has its hashes'}"
    )
    SBOM.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK), "--output-file", str(SBOM)]
    sbom = subprocess.run(command, check=False).returncode
    print(f"SBOM: {SBOM.relative_to(ROOT) if sbom == 0 else 'cyclonedx-py failed'}")
    audited = audit()
    return 1 if bad or sbom or audited == 1 else audited


if __name__ == "__main__":
    sys.exit(main())
