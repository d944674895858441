"""Fuzz every parser for a share of the time; what fails is written into its corpus."""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import CORPUS, TARGETS, Target

SLOW_S = 2.0
"""CPU seconds of one small input that count as a finding."""


def fuzz(target: Target, *, seconds: float, seed: int) -> tuple[int, bytes | None]:
    """Try mutations for *seconds*; the number tried, and the first that failed."""
    chance = random.Random(f"{target.name} {seed}")
    corpus = target.corpus()
    until_s, tried = time.monotonic() + seconds, 0
    while time.monotonic() < until_s:
        content = mutated(chance.choice(corpus), chance, corpus)
        began_s = time.thread_time()
        try:
            target.attempt(content)
        except Exception:  # noqa: BLE001 - this is what is looked for
            traceback.print_exc()
            return tried, content
        if time.thread_time() - began_s > SLOW_S:
            print(f"{target.name}: took {time.thread_time() - began_s:.1f} CPU s")
            return tried, content
        tried += 1
    return tried, None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="parsers whose names hold this text")
    chosen = parser.parse_args()
    targets = [one for one in TARGETS if chosen.only in one.name]
    failed = []
    for target in targets:
        tried, found = fuzz(target, seconds=60.0 * chosen.minutes / len(targets), seed=chosen.seed)
        if found is not None:
            file = CORPUS / target.name / hashlib.sha256(found).hexdigest()[:12]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found)
            failed.append(target.name)
        print(
            f"{target.name}: {tried} inputs, {'FAILED' if found is not None else 'nothing found'}", flush=True
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
