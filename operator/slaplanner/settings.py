"""What the administrator of the operator decides: one tree of values, read once at start.

It comes from a YAML file (mounted from a ConfigMap) and a few environment variables. Credentials are
only named here, as files (mounted from Secrets), and are read when they are used, so that a rotated
one counts without a restart and the operator needs no right on Secrets. A policy names a connection
and never brings a url or a credential of its own.

A key of the file is its field's name in camelCase; the suffix `_s` is written out as `Seconds`.
Whatever cannot be read is refused with the place in the file, what was found and what was wanted.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import yaml

DEFAULT_PATH: Final = Path("/etc/slaplanner/settings.yaml")
"""Where the manifests mount the file; it may be absent."""

PATH_VARIABLE: Final = "SLAPLANNER_SETTINGS"
"""Environment variable with another path of the file; that one must exist."""

ENDPOINT_VARIABLE: Final = "PROMETHEUS_ENDPOINT"
"""Environment variable with the url of the Prometheus connection `default`; it wins over the file's."""

DEFAULT_CONNECTION: Final = "default"
"""The connection of a policy that names none."""

MAX_FILE_BYTES: Final = 1_000_000
"""A ConfigMap holds at most 1 MiB, so anything longer is the wrong file."""

T = TypeVar("T")


class SettingsError(Exception):
    """The settings cannot be read; the operator does not start."""


class HttpMethod(StrEnum):
    """How queries are sent."""

    POST = "POST"
    GET = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """A user name and a password, each alone in a file; white space around them is dropped."""

    username_file: Path
    """File with the user name."""
    password_file: Path
    """File with the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A client certificate, for servers that ask for one (mutual TLS)."""

    cert_file: Path
    """PEM file with the certificate, intermediate ones after it."""
    key_file: Path
    """PEM file with its private key, not encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusConnection:
    """One Prometheus, or anything that speaks its query API (Thanos, Mimir, VictoriaMetrics).

    The environment's `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` count.
    """

    url: str
    """Address, `http://` or `https://`, with a path where the API lies below one; no credentials in it."""
    bearer_token_file: Path | None = None
    """File with a bearer token, read for every request. Not together with `basicAuth`."""
    basic_auth: BasicAuth | None = None
    """User name and password, read for every request. Not together with `bearerTokenFile`."""
    ca_file: Path | None = None
    """PEM file with the authorities to trust; absent: those of the image."""
    client_certificate: ClientCertificate | None = None
    """Certificate to show to the server."""
    insecure_skip_verify: bool = False
    """Trust any server certificate. For a first try only: whoever answers decides the replicas."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers, such as the tenant of a Mimir (`X-Scope-OrgID`). Not for credentials."""
    http_method: HttpMethod = HttpMethod.POST
    """How queries are sent: POST, because a query is too long for the urls of some proxies; GET where
    a gateway allows nothing else."""
    connect_timeout_s: float = 2.0
    """Seconds to reach the server: longer means that it is away."""
    read_timeout_s: float = 4.0
    """Seconds without a byte of the answer. At most 4 lets a plan end within the 5 seconds that are
    left after the signal to stop."""

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.bearer_token_file is not None and self.basic_auth is not None:
            raise ValueError("found bearerTokenFile and basicAuth, wanted at most one of them")
        if self.insecure_skip_verify and self.ca_file is not None:
            raise ValueError("found caFile and insecureSkipVerify: true, wanted at most one of them")
        for name, value in self.headers.items():
            _check_header(name, value)
        _check_positive("connectTimeoutSeconds", self.connect_timeout_s)
        _check_positive("readTimeoutSeconds", self.read_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdConnection:
    """One etcd cluster, for policies that publish their decisions there."""

    endpoints: tuple[str, ...]
    """Addresses of its members, `http://` or `https://`."""
    ca_file: Path | None = None
    """PEM file with the authorities to trust; absent: those of the image."""
    client_certificate: ClientCertificate | None = None
    """Certificate to show to the server."""
    basic_auth: BasicAuth | None = None
    """User name and password, where etcd's authentication is on."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("found no endpoints, wanted at least one")
        for endpoint in self.endpoints:
            _check_url(endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about the operator's process; each field has a default that works."""

    prometheus: Mapping[str, PrometheusConnection] = field(default_factory=dict)
    """Connections to Prometheus by name. A policy's `metrics.connection` names one; `default` is the
    one of a policy that says nothing."""
    etcd: Mapping[str, EtcdConnection] = field(default_factory=dict)
    """Connections to etcd by name."""
    profile_directories: tuple[Path, ...] = ()
    """Directories below which a policy's `profile.path` may lie; none: such policies are refused, so
    that nobody reads the operator's own files through one."""
    observe: bool = False
    """Plan and report for all policies, write nothing to any target, whatever the policies say: for a
    first run beside another autoscaler."""
    settle_s: float = 30.0
    """Seconds that a new operator waits before its first write, so that it has seen all policies and
    their targets first."""
    heartbeat_s: float = 5.0
    """Seconds between two looks at whether a policy's plan is due. Shorter answers sooner to an edited
    policy, longer spares the CPU where there are many policies."""
    watched_namespaces: tuple[str, ...] = ()
    """Namespaces whose policies are served; none: all of them."""
    port: int = 8080
    """Port of `/metrics`, `/healthz` and `/readyz`."""

    def __post_init__(self) -> None:
        for directory in self.profile_directories:
            if not directory.is_absolute():
                raise ValueError(f"profileDirectories: found {str(directory)!r}, wanted an absolute path")
        if not (math.isfinite(self.settle_s) and self.settle_s >= 0):
            raise ValueError(f"settleSeconds: found {self.settle_s}, wanted 0 or more")
        _check_positive("heartbeatSeconds", self.heartbeat_s)
        if not 0 < self.port < 65536:
            raise ValueError(f"port: found {self.port}, wanted 1 to 65535")


def load_settings(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file, then apply the environment.

    Args:
        path: the file; None: the one that `SLAPLANNER_SETTINGS` names, else `DEFAULT_PATH`, which
            alone may be absent.
        env: the environment; None: this process's.

    Raises:
        SettingsError: a file that was asked for is absent, or something in it cannot be read.
    """
    environment = os.environ if env is None else env
    wanted = path or (Path(environment[PATH_VARIABLE]) if environment.get(PATH_VARIABLE) else None)
    document = _read_file(wanted or DEFAULT_PATH, optional=wanted is None)
    return parse_settings(document, endpoint=environment.get(ENDPOINT_VARIABLE) or None)


def parse_settings(document: str, *, endpoint: str | None = None) -> Settings:
    """The settings that the YAML text *document* says.

    Args:
        document: YAML; empty: all defaults.
        endpoint: url of the Prometheus connection `default`; None: as in the document.

    Raises:
        SettingsError: the text is not YAML, a key is unknown or given twice, or a value does not fit.

    >>> parse_settings("heartbeatSeconds: 2").heartbeat_s
    2.0
    """
    try:
        tree = yaml.load(document, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader, only stricter
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"settings are not YAML: {' '.join(str(error).split())}") from error
    tree = {} if tree is None else tree
    if endpoint is not None and isinstance(tree, dict):
        tree = _with_endpoint(tree, endpoint)
    return _read_tree(Settings, tree, "settings")


def key_of(name: str) -> str:
    """The key in the file of the field *name*.

    >>> key_of("read_timeout_s")
    'readTimeoutSeconds'
    """
    words = name.split("_")
    if words[-1] == "s":
        words[-1] = "seconds"
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _read_file(path: Path, *, optional: bool) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        if optional:
            return ""
        raise SettingsError(f"settings file {path} is absent") from error
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"settings file {path} is longer than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path} is not UTF-8 text") from error


def _with_endpoint(tree: dict[str, Any], endpoint: str) -> dict[str, Any]:
    connections = tree.get("prometheus") or {}
    if not isinstance(connections, dict):
        return tree
    default = connections.get(DEFAULT_CONNECTION) or {}
    if not isinstance(default, dict):
        return tree
    return {**tree, "prometheus": {**connections, DEFAULT_CONNECTION: {**default, "url": endpoint}}}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice; PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_tree(wanted: type[T], found: object, where: str) -> T:
    """A value of the dataclass *wanted* from the mapping *found*."""
    mapping = _mapping(found, where)
    fields = {key_of(entry.name): entry for entry in dataclasses.fields(wanted)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise SettingsError(f"{where}: unknown key {key!r}{_suggestion(key, fields)}")
    hints = typing.get_type_hints(wanted)
    values: dict[str, Any] = {}
    for key, entry in fields.items():
        if key in mapping:
            values[entry.name] = _read_value(hints[entry.name], mapping[key], f"{where}.{key}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{where}: {key} is missing")
    try:
        return wanted(**values)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _read_value(hint: Any, found: object, where: str) -> object:
    """*found* as the annotation *hint* wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if found is None else _read_value(arguments[0], found, where)
    if origin is tuple:
        return tuple(
            _read_value(arguments[0], item, f"{where}[{index}]")
            for index, item in enumerate(_sequence(found, where))
        )
    if origin is not None:
        return {
            key: _read_value(arguments[1], value, f"{where}.{key}")
            for key, value in _mapping(found, where).items()
        }
    if dataclasses.is_dataclass(hint):
        return _read_tree(typing.cast("type[object]", hint), found, where)
    return _read_scalar(hint, found, where)


def _read_scalar(hint: type, found: object, where: str) -> object:
    if issubclass(hint, Enum):
        choices = [str(member.value) for member in hint]
        if found not in choices:
            raise _unfit(found, f"one of {', '.join(choices)}", where)
        return hint(found)
    wanted, fits, make = _SCALARS[hint]
    if not fits(found):
        raise _unfit(found, wanted, where)
    return make(found)


def _is_text(found: object) -> bool:
    return isinstance(found, str) and bool(found.strip())


def _is_whole(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool)


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


_SCALARS: dict[type, tuple[str, Callable[[object], bool], Callable[[Any], object]]] = {
    str: ("text", _is_text, str),
    Path: ("a path", _is_text, Path),
    bool: ("true or false", lambda found: isinstance(found, bool), bool),
    int: ("a whole number", _is_whole, int),
    float: ("a number", _is_number, float),
}


def _mapping(found: object, where: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise _unfit(found, "keys with values", where)
    for key in found:
        if not isinstance(key, str):
            raise _unfit(key, "text as a key", where)
    return found


def _sequence(found: object, where: str) -> list[object]:
    if not isinstance(found, list):
        raise _unfit(found, "a list", where)
    return found


def _unfit(found: object, wanted: str, where: str) -> SettingsError:
    shown = repr(found)
    return SettingsError(
        f"{where}: found {shown if len(shown) <= 80 else shown[:77] + '...'}, wanted {wanted}"
    )


def _suggestion(key: str, fields: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f", did you mean {close[0]!r}?" if close else f", wanted one of {', '.join(sorted(fields))}"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"found a url that cannot be read: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("found credentials in a url, wanted them in files (basicAuth, bearerTokenFile)")
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"found url {url!r}, wanted http://host:port or https://host:port")
    if parts.query or parts.fragment:
        raise ValueError(f"found url {url!r}, wanted one without query and fragment")


def _check_header(name: str, value: str) -> None:
    if name.lower() == "authorization":
        raise ValueError("found a header Authorization, wanted bearerTokenFile or basicAuth")
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"found {name!r} as the name of a header, wanted letters, digits, - and _")
    if not value.isprintable() or not value.isascii():
        raise ValueError(f"header {name}: found a value with unprintable characters, wanted plain text")


def _check_positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{key}: found {value}, wanted more than 0")
