"""Logging: one line per plan, a constant message with its fields, as JSON or for a terminal."""

from __future__ import annotations

import logging

import kopf

from slaplanner.adapters.prophet_logs import hush_prophet

_ORDINARY = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "k8s_skip",
    "k8s_ref",
    "settings",
}


class _TextFormatter(logging.Formatter):
    """The message, then its fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = " ".join(
            f"{name}={value}" for name, value in record.__dict__.items() if name not in _ORDINARY
        )
        head, _, trace = line.partition("\n")
        return f"{head} {fields}".rstrip() + (f"\n{trace}" if trace else "")


def set_up_logging(*, verbose: bool, json: bool) -> None:
    """Log to stderr: our own lines and kopf's warnings; everything when *verbose*."""
    kopf.configure(verbose=verbose, log_format=kopf.LogFormat.JSON)
    if not json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    if not verbose:
        for name in ("kopf", "aiohttp", "urllib3", "prometheus_api_client"):
            logging.getLogger(name).setLevel(logging.WARNING)
        hush_prophet()
