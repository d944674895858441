"""How `slaplanner run` ends: with 0, whatever its threads are busy with."""

from __future__ import annotations

import subprocess
import sys
import textwrap

STOPPED = textwrap.dedent("""
    import atexit, logging, os, threading
    from slaplanner.cli import main
    from slaplanner.controller import process

    def run_operator(*_, **__):
        threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
        logging.basicConfig()
        logging.warning("stopped")

    process.run_operator = run_operator
    atexit.register(os.abort)  # what unloading a library under a thread in it may come to
    main(["run"])
""")


def test_a_thread_that_is_busy_neither_delays_nor_breaks_the_exit():
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr.strip()) == (0, "WARNING:root:stopped")
