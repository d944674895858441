"""The conversion between the two versions of Dynamo's API, served beside a test."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slaplanner_lab.fleet.certificate import make_certificate
from slaplanner_lab.fleet.install import ConversionWebhook
from slaplanner_lab.fleet.webhook import answer


class Conversion(BaseHTTPRequestHandler):
    """Answers the API server's ConversionReviews, one per connection."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(answer(review)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Quiet: pytest shows what matters."""


@contextlib.contextmanager
def serving_conversion() -> Iterator[ConversionWebhook]:
    """The webhook that a definition with both versions names, until the block ends."""
    certificate = make_certificate("127.0.0.1", dt.datetime.now(dt.UTC))
    with ThreadingHTTPServer(("127.0.0.1", 0), Conversion) as server:
        server.socket = certificate.server_context().wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, name="conversion")
        thread.start()
        yield ConversionWebhook(
            url=f"https://127.0.0.1:{server.server_port}/convert", ca_pem=certificate.certificate
        )
        server.shutdown()
        thread.join()
