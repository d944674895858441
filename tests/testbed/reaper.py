"""Ends the servers of a process that is gone, however it went.

`atexit` does not run after SIGKILL, nor after a SIGTERM that nobody handles; an API server left
behind keeps its port, its memory and a CPU busy. So every process that starts servers also starts
this small program once and tells it, line by line, which process groups live (`+pgid`) and which
have ended (`-pgid`). When the pipe closes, its owner is dead, and what still lives is killed.
"""

import os
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    alive: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            alive.add(group)
        else:
            alive.discard(group)
    for group in alive:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # ended by itself meanwhile


if __name__ == "__main__":
    main()
