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
        failed: dict[str, str] = {}
        for number, fault in enumerate(wanted, start=1):
            began_s = time.monotonic()
            try:
                played.append(play(stage, fault))
                result = f"recovered after {played[-1].recovery_s:.1f} s"
            except Exception as error:  # noqa: BLE001 - the others are played too
                traceback.print_exc()
                failed[fault.name] = str(error).partition("\n")[0]
                result = "FAILED"
                stage.mend()
            print(
                f"{number}/{len(wanted)} {fault.name}: {result} ({time.monotonic() - began_s:.0f} s)",
                flush=True,
            )
    if chosen.only is None:
        write_table(played, failed)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
