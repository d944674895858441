"""An edit ends the wait; the same settings and settings that cannot be read do not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from slaplanner.controller.edited_settings import edited
from slaplanner.settings import Settings, SettingsError


async def test_it_returns_at_the_first_different_settings(caplog: pytest.LogCaptureFixture) -> None:
    loads: Iterator[Settings | SettingsError] = iter(
        [
            Settings(),
            SettingsError("url is missing"),
            SettingsError("url is missing"),
            Settings(),
            SettingsError("url is missing"),
            Settings(observe=True),
            Settings(observe=False),
        ]
    )

    def load() -> Settings:
        found = next(loads)
        if isinstance(found, SettingsError):
            raise found
        return found

    with caplog.at_level(logging.ERROR):
        await edited(Settings(), load, every_s=0)
    assert next(loads) == Settings(observe=False)
    # Twice the same message in a row is one line; after settings that fit it is news again.
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
