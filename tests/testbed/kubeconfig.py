"""Kubeconfig files: one server, one token, one context."""

from dataclasses import dataclass
from pathlib import Path

import yaml

CONTEXT = "testbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client needs in order to speak to an API server with a bearer token."""

    server: str
    certificate_authority: Path | None
    token: str
    namespace: str = "default"


def write_kubeconfig(path: Path, credentials: Credentials) -> Path:
    """Write a kubeconfig that only its owner may read, and return *path*."""
    cluster: dict[str, object] = {"server": credentials.server}
    if credentials.certificate_authority is not None:
        cluster["certificate-authority"] = str(credentials.certificate_authority.resolve())
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": credentials.token}}],
        "contexts": [
            {
                "name": CONTEXT,
                "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": credentials.namespace},
            }
        ],
        "current-context": CONTEXT,
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
