"""BurstGPT's traces of a campus' ChatGPT and GPT-4, as CSV.

Source: github.com/HPMLL/BurstGPT. Times are seconds from the trace's start. Failed requests have 0 response
tokens, which is so in its files by design.
"""

from __future__ import annotations

from collections.abc import Sequence

from slaplanner.adapters.traces.reader import Csv
from slaplanner.adapters.traces.rows import LeftOutError, Rows, tokens, written_number
from slaplanner.adapters.traces.times import TimeUnit


class BurstGpt(Csv):
    """A request in each row."""

    NAME = "BurstGPT CSV"
    UNIT = TimeUnit.S
    COLUMNS = ("Timestamp", "Request tokens", "Response tokens")

    def row(self, values: Sequence[str], rows: Rows) -> None:
        time = written_number(values[0], "Timestamp")
        isl, osl = written_number(values[1], "Request tokens"), written_number(values[2], "Response tokens")
        if osl == 0.0:
            raise LeftOutError("failed requests (0 response tokens)")
        rows.add(time, tokens(isl, "Request tokens"), tokens(osl, "Response tokens"))
