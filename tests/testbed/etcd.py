"""A real etcd, alone or under the API server; TLS and users on request."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.testbed.certificates import CertificateAuthority, KeyPair
from tests.testbed.errors import PartFailedError
from tests.testbed.processes import Server, free_port, loopback_session

REQUEST_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdTls:
    """Files of a client that an etcd with TLS lets in."""

    ca: Path
    client: KeyPair


class EtcdServer:
    """One etcd member on loopback, its data in *directory*.

    With *tls* it serves HTTPS only and asks every client for a certificate of its own authority.
    With *root_password* it has a user `root` of that password and refuses everybody else.
    """

    def __init__(
        self, binary: Path, directory: Path, *, tls: bool = False, root_password: str | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.scheme = "https" if tls else "http"
        self.endpoint = f"{self.scheme}://127.0.0.1:{self.port}"
        self.tls: EtcdTls | None = None
        self._root_password = root_password
        self._http = loopback_session()
        peer = f"http://127.0.0.1:{free_port()}"
        command: list[str | Path] = [
            binary,
            "--name=testbed",
            f"--data-dir={directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=testbed={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        if tls:
            authority = CertificateAuthority.create(directory / "pki")
            server = authority.issue("server")
            self.tls = EtcdTls(ca=authority.certificate, client=authority.issue("client"))
            self._http.verify = str(self.tls.ca)
            self._http.cert = (str(self.tls.client.certificate), str(self.tls.client.key))
            command += [
                f"--cert-file={server.certificate}",
                f"--key-file={server.key}",
                f"--trusted-ca-file={authority.certificate}",
                "--client-cert-auth",
            ]
        self._server = Server("etcd", command, log=directory / "etcd.log")

    @property
    def running(self) -> bool:
        return self._server.running

    def start(self) -> None:
        """Start, wait until healthy, and set up the user once."""
        fresh = not (self.directory / "data").exists()
        self._server.start()
        self._server.wait_ready(self._healthy)
        if self._root_password is not None and fresh:
            self._require_password(self._root_password)

    def stop(self, *, grace_s: float = 5) -> None:
        self._server.stop(grace_s=grace_s)
        self._http.close()

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def get(self, key: str) -> str | None:
        """The value of *key*, None when absent; for assertions that take no client under test."""
        answer = self._call("kv/range", {"key": _encode(key)})
        return base64.b64decode(answer["kvs"][0].get("value", "")).decode() if answer.get("kvs") else None

    def put(self, key: str, value: str) -> None:
        self._call("kv/put", {"key": _encode(key), "value": _encode(value)})

    def revision(self) -> int:
        """Of the whole store: the number of its last change."""
        return int(self._call("kv/range", {"key": _encode("any")})["header"]["revision"])

    def history(self, key: str, *, since: int = 1) -> list[str]:
        """All values that *key* had from the revision *since* on; deletions are left out.

        Revisions that were compacted away cannot be asked for.
        """
        found = self._call("kv/range", {"key": _encode(key)})
        if not found.get("kvs"):
            return []
        last = int(found["kvs"][0]["mod_revision"])
        if last < since:
            return []
        watch = {"create_request": {"key": _encode(key), "start_revision": since}}
        values: list[str] = []
        with self._http.post(
            f"{self.endpoint}/v3/watch", data=json.dumps(watch), stream=True, timeout=REQUEST_TIMEOUT_S
        ) as answer:
            for line in answer.iter_lines():
                for event in json.loads(line)["result"].get("events", ()):
                    if event.get("type") != "DELETE":
                        values.append(base64.b64decode(event["kv"].get("value", "")).decode())
                    if int(event["kv"]["mod_revision"]) >= last:
                        return values
        return values

    def delete_prefix(self, prefix: str) -> None:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        self._call("kv/deleterange", {"key": _encode(prefix), "range_end": _encode(end)})

    def compact(self) -> None:
        """Forget all revisions but the last, as etcd's automatic compaction does."""
        self._call("kv/compaction", {"revision": self.revision(), "physical": True})

    def tail(self) -> str:
        return self._server.tail()

    def _healthy(self) -> bool:
        answer = self._http.get(f"{self.endpoint}/health", timeout=REQUEST_TIMEOUT_S)
        return answer.ok and answer.json().get("health") == "true"

    def _call(self, path: str, body: Mapping[str, object], *, token: str | None = None) -> dict[str, Any]:
        if token is None and self._root_password is not None and not path.startswith("auth/"):
            login = {"name": "root", "password": self._root_password}
            token = str(self._call("auth/authenticate", login)["token"])
        answer = self._http.post(
            f"{self.endpoint}/v3/{path}",
            data=json.dumps(body),
            headers={"Authorization": token} if token else {},
            timeout=REQUEST_TIMEOUT_S,
        )
        if not answer.ok:
            raise PartFailedError(f"etcd refused {path} with {answer.status_code}: {answer.text.strip()}")
        result: dict[str, Any] = answer.json()
        return result

    def _require_password(self, password: str) -> None:
        self._call("auth/user/add", {"name": "root", "password": password})
        self._call("auth/user/grant", {"user": "root", "role": "root"})
        self._call("auth/enable", {})


class EtcdFactory(Protocol):
    """Makes an etcd that lives as long as one test."""

    def __call__(self, *, tls: bool = False, root_password: str | None = None) -> EtcdServer: ...


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
