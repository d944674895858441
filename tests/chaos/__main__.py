"""Play the faults, and write docs/reliability.md."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.chaos.faults import FAULTS
from tests.chaos.page import write_soak, write_table
from tests.chaos.playing import Played, play
from tests.chaos.soak import soak
from tests.chaos.stage import Stage
from tests.testbed import Bed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", help="faults whose names hold this text; writes nothing")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="play at random for that long instead")
    chosen = parser.parse_args()
    with (
        Bed(say=print) as bed,
        Stage(bed.control_plane, bed.prometheus, bed.directory, elects=chosen.soak is None) as stage,
    ):
        if chosen.soak is not None:
            write_soak(soak(stage, chosen.soak))
            return 0
        wanted = [one for one in FAULTS if (chosen.only or "") in one.name]
        played: list[Played] = []
        failed: list[str] = []
        for number, fault in enumerate(wanted, start=1):
            began_s = time.monotonic()
            try:
                played.append(play(stage, fault))
                result = f"recovered after {played[-1].recovery_s:.1f} s"
            except Exception:  # noqa: BLE001 - the others are played too
                traceback.print_exc()
                failed.append(fault.name)
                result = "FAILED"
                stage.mend()
            print(
                f"{number}/{len(wanted)} {fault.name}: {result} ({time.monotonic() - began_s:.0f} s)",
                flush=True,
            )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if chosen.only is None:
        write_table(played)
    return 0


if __name__ == "__main__":
    sys.exit(main())
