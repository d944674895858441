"""Metrics with a past: pages whose samples carry their own times.

Prometheus takes such samples as they are, up to an hour back. So a test can play twenty minutes of a
frontend in one scrape, to the second, and ask about any moment of it.
"""

import math
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self

SCRAPE_S = 15


class Timeline:
    """What one or several processes exposed, every 15 s until `end_s`.

    `add` takes the value of a series as a function of its scrape, counted back from the last (0); None
    is a scrape without it.
    """

    def __init__(self, *, scrapes: int = 80) -> None:
        self.end_s = math.floor(time.time()) - 1
        self._scrapes = scrapes
        self._lines: list[str] = []

    def add(self, name: str, labels: Mapping[str, str], value: Callable[[int], float | None]) -> None:
        """Play one series."""
        shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        for back in range(self._scrapes - 1, -1, -1):
            found = value(back)
            if found is not None:
                at_ms = 1000 * (self.end_s - SCRAPE_S * back)
                self._lines.append(f"{name}{{{shown}}} {found} {at_ms}")

    def histogram(
        self,
        name: str,
        labels: Mapping[str, str],
        count: Callable[[int], float],
        *,
        each: float,
        edges: tuple[float, ...] = (),
    ) -> None:
        """Play a histogram that counts *count* observations of the value *each*."""
        self.add(f"{name}_count", labels, count)
        self.add(f"{name}_sum", labels, lambda back: each * count(back))
        for edge in (*edges, math.inf):
            shown = "+Inf" if math.isinf(edge) else f"{edge:g}"
            reached = count if each <= edge else (lambda _back: 0.0)
            self.add(f"{name}_bucket", {**labels, "le": shown}, reached)

    def page(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)


class Page:
    """An endpoint to scrape; what it shows can be changed at any time."""

    def __init__(self, content: str | Callable[[], str] = "") -> None:
        self.content = content
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = page.content() if callable(page.content) else page.content
                body = content.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
