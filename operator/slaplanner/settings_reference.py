"""The reference page of the settings, made from the settings themselves.

`python -m slaplanner.settings_reference > docs/reference/settings.md` writes it; a test compares.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from slaplanner import settings
from slaplanner.settings import (
    BasicAuth,
    ClientCertificate,
    EtcdConnection,
    PrometheusConnection,
    Settings,
)
from slaplanner.settings_reading import key_of

SECTIONS: Final = (
    (Settings, "The file"),
    (PrometheusConnection, "`prometheus.<name>`"),
    (EtcdConnection, "`etcd.<name>`"),
    (BasicAuth, "`basicAuth`"),
    (ClientCertificate, "`clientCertificate`"),
)

TYPES: Final[dict[Any, str]] = {
    str: "text",
    Path: "path",
    bool: "true or false",
    int: "whole number",
    float: "number",
}

HEAD: Final = f"""# Settings of the operator

The administrator's settings: a YAML file, by default `{settings.DEFAULT_PATH}`, which the manifests
mount from the ConfigMap `slaplanner-settings`. The operator looks at it every five seconds and restarts
itself when it was edited. At the start, a file that cannot be read stops the operator with a message that
says where and why; later it is refused with that message in the log, and the settings in force stay.
Credentials are files (mounted from Secrets) that are read again whenever they are used, so a rotated one
acts at once.

| Environment variable | Meaning |
|---|---|
| `{settings.PATH_VARIABLE}` | Another path of the file, which then must exist. |
| `{settings.ENDPOINT_VARIABLE}` | The url of the Prometheus connection `{settings.DEFAULT_CONNECTION}`; wins over the file's. |
| `{settings.MAX_WAIT_VARIABLE}` | `scalingMaxWaitSeconds`; wins over the file's. |
| `{settings.CHECK_INTERVAL_VARIABLE}` | `scalingCheckIntervalSeconds`; wins over the file's. |

```yaml
prometheus:
  default:
    url: https://prometheus.monitoring.svc:9090
    bearerTokenFile: /var/run/slaplanner/prometheus/token
    caFile: /etc/slaplanner/prometheus/ca.crt
  tenant-a:
    url: https://mimir.example.com/prometheus
    basicAuth:
      usernameFile: /etc/slaplanner/mimir/username
      passwordFile: /etc/slaplanner/mimir/password
    headers: {{X-Scope-OrgID: tenant-a}}
    allowedNamespaces: [tenant-a]
etcd:
  default:
    endpoints: [https://etcd.serving.svc:2379]
    caFile: /etc/slaplanner/etcd/ca.crt
    clientCertificate:
      certFile: /etc/slaplanner/etcd/tls.crt
      keyFile: /etc/slaplanner/etcd/tls.key
    allowedNamespaces: {{serving: [serving-llama]}}
profileDirectories: [/profiles]
watchedNamespaces: [serving]
```

Give a Prometheus that asks for a token one that is good for nothing else. The operator's own token (below
`/var/run/secrets/kubernetes.io/serviceaccount`) would let whoever receives it act as the operator on the API
server. A projected token names its audience, and the API server refuses it for anything else:

```yaml
# In the Deployment; with Helm: extraVolumes and extraVolumeMounts.
volumes:
  - name: prometheus-token
    projected:
      sources:
        - serviceAccountToken: {{audience: prometheus, expirationSeconds: 3600, path: token}}
volumeMounts:
  - name: prometheus-token
    mountPath: /var/run/slaplanner/prometheus
    readOnly: true
```
"""


def settings_reference() -> str:
    """The page, in Markdown."""
    docs = _field_docs()
    parts = [HEAD]
    for section, title in SECTIONS:
        parts.append(f"\n## {title}\n\n{inspect.getdoc(section)}\n")
        parts.append("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n")
        parts.extend(_rows(section, docs[section.__name__]))
    return "".join(parts)


def _rows(section: type, docs: dict[str, str]) -> Iterator[str]:
    hints = typing.get_type_hints(section)
    for entry in dataclasses.fields(section):
        meaning = docs[entry.name].replace("|", "\\|")
        yield f"| `{key_of(entry.name)}` | {_type(hints[entry.name])} | {_default(entry)} | {meaning} |\n"


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _type(arguments[0])
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is not None:
        return f"{_type(arguments[1])} by name"
    if dataclasses.is_dataclass(hint):
        return next((title for section, title in SECTIONS if section is hint), "")
    if issubclass(hint, Enum):
        return " or ".join(f"`{member.value}`" for member in hint)
    return TYPES[hint]


def _default(entry: dataclasses.Field[Any]) -> str:
    if entry.default is dataclasses.MISSING:
        return "required" if entry.default_factory is dataclasses.MISSING else "none"
    if entry.default is None or entry.default == ():
        return "none"
    if isinstance(entry.default, bool):
        return f"`{str(entry.default).lower()}`"
    if isinstance(entry.default, Enum):
        return f"`{entry.default.value}`"
    if isinstance(entry.default, tuple):
        return f"`[{', '.join(map(repr, entry.default))}]`"
    return f"`{entry.default:g}`"


def _field_docs() -> dict[str, dict[str, str]]:
    """The string under each field, by class and field: Python itself does not keep it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                field.target.id: " ".join(str(doc.value.value).split())
                for field, doc in zip(node.body, node.body[1:], strict=False)
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(doc, ast.Expr)
                and isinstance(doc.value, ast.Constant)
            }
    return found


if __name__ == "__main__":
    sys.stdout.write(settings_reference())
