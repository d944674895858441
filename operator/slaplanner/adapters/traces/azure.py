"""Azure's public traces of LLM inference, 2023 and 2024, as CSV.

Source: github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md and ...2024.md. Times are ISO 8601,
with seven digits of a second in 2023 and with a zone in 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from slaplanner.adapters.traces.reader import Csv
from slaplanner.adapters.traces.rows import LeftOutError, NotARequestError, Rows, tokens, written_number
from slaplanner.adapters.traces.times import TimeUnit, unix_seconds


class Azure(Csv):
    """A request in each row."""

    NAME = "Azure LLM inference CSV"
    UNIT = TimeUnit.S
    COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

    def row(self, values: Sequence[str], rows: Rows) -> None:
        time = unix_seconds(values[0])
        if time is None or time < 0.0:
            raise NotARequestError("TIMESTAMP is no ISO time from 1970 on")
        isl, osl = written_number(values[1], "ContextTokens"), written_number(values[2], "GeneratedTokens")
        if osl == 0.0:
            raise LeftOutError("requests without generated tokens")
        rows.add(time, tokens(isl, "ContextTokens"), tokens(osl, "GeneratedTokens"))
