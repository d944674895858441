"""What the administrator of the operator decides: one tree of values, read once at start.

It comes from a YAML file (mounted from a ConfigMap) and a few environment variables. Credentials are
only named here, as files (mounted from Secrets), and are read when they are used, so that a rotated
one counts without a restart and the operator needs no right on Secrets. A policy names a connection
and never brings a url or a credential of its own.

A key of the file is its field's name in camelCase; the suffix `_s` is written out as `Seconds`.
Whatever cannot be read is refused with the place in the file, what was found and what was wanted.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from slaplanner.settings_reading import SettingsError, read_tree, read_yaml

__all__ = [
    "BasicAuth",
    "ClientCertificate",
    "EtcdConnection",
    "HttpMethod",
    "LeaderElection",
    "PrometheusConnection",
    "Settings",
    "SettingsError",
    "load_settings",
    "parse_settings",
]

DEFAULT_PATH: Final = Path("/etc/slaplanner/settings.yaml")
"""Where the manifests mount the file; it may be absent."""

PATH_VARIABLE: Final = "SLAPLANNER_SETTINGS"
"""Environment variable with another path of the file; that one must exist."""

ENDPOINT_VARIABLE: Final = "PROMETHEUS_ENDPOINT"
"""Environment variable with the url of the Prometheus connection `default`; it wins over the file's."""

DEFAULT_CONNECTION: Final = "default"
"""The connection of a policy that names none."""

MAX_WAIT_VARIABLE: Final = "SCALING_MAX_WAIT_TIME"
"""Environment variable with `scalingMaxWaitSeconds`, under the name that Dynamo's planner reads."""

CHECK_INTERVAL_VARIABLE: Final = "SCALING_CHECK_INTERVAL"
"""Environment variable with `scalingCheckIntervalSeconds`, likewise."""

OWN_QUERY_PARAMETERS: Final = frozenset(
    {"query", "time", "start", "end", "step", "timeout", "partial_response", "deny_partial_response"}
)
"""Parameters that the operator's own queries carry."""

ANY: Final = "*"
"""In the lists of who may use a connection: everybody, or everything."""

NAMESPACE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What Kubernetes allows as the name of a namespace."""

_LABEL_KEY: Final = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
REQUIREMENT: Final = re.compile(
    rf"!?\s*{_LABEL_KEY}"
    rf"|{_LABEL_KEY}\s*(=|==|!=)\s*{_LABEL_VALUE}"
    rf"|{_LABEL_KEY}\s+(in|notin)\s+\(\s*{_LABEL_VALUE}(\s*,\s*{_LABEL_VALUE})*\s*\)"
)
"""One part of a label selector, as the API server takes it."""

LEAST_LEASE_S: Final = 12.0
MOST_LEASE_S: Final = 300.0
MOST_READ_TIMEOUT_S: Final = 100.0

MAX_FILE_BYTES: Final = 1_000_000
"""A ConfigMap holds at most 1 MiB, so anything longer is the wrong file."""


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
    query_parameters: Mapping[str, str] = field(default_factory=dict)
    """Further parameters in the address of every query, such as the `namespace` that OpenShift's tenancy
    port asks for. Not for credentials."""
    http_method: HttpMethod = HttpMethod.POST
    """How queries are sent: POST, because a query is too long for the urls of some proxies; GET where
    a gateway allows nothing else."""
    connect_timeout_s: float = 2.0
    """Seconds to reach the server: longer means that it is away."""
    allowed_namespaces: tuple[str, ...] = (ANY,)
    """Namespaces whose policies may read through this connection; `*`: all of them. Give each tenant a
    connection of its own where one must not see the traffic of another."""
    read_timeout_s: float = 4.0
    """Seconds without a byte of the answer, at most 100: a plan that takes longer looks stuck to the liveness
    probe. At most 4 lets a plan end within the 5 seconds that are left after the signal to stop."""

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.bearer_token_file is not None and self.basic_auth is not None:
            raise ValueError("found bearerTokenFile and basicAuth, wanted at most one of them")
        if self.insecure_skip_verify and self.ca_file is not None:
            raise ValueError("found caFile and insecureSkipVerify: true, wanted at most one of them")
        for name, value in self.headers.items():
            _check_header(name, value)
        for name, value in self.query_parameters.items():
            _check_query_parameter(name, value)
        _check_namespaces("allowedNamespaces", self.allowed_namespaces)
        _check_positive("connectTimeoutSeconds", self.connect_timeout_s)
        _check_positive("readTimeoutSeconds", self.read_timeout_s)
        if self.read_timeout_s > MOST_READ_TIMEOUT_S:
            raise ValueError(
                f"readTimeoutSeconds: found {self.read_timeout_s:g}, wanted at most {MOST_READ_TIMEOUT_S:g}"
            )

    def allows(self, namespace: str) -> bool:
        """Whether policies of the Kubernetes *namespace* may read through it."""
        return not {ANY, namespace}.isdisjoint(self.allowed_namespaces)

    @property
    def is_shared(self) -> bool:
        """Whether policies of any namespace may read through it."""
        return ANY in self.allowed_namespaces


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
    allowed_namespaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By Kubernetes namespace: the fleets (`dynamoNamespace`) whose keys its policies may write. `*` is any
    namespace, or any fleet. Absent: nobody may write, because whoever writes a fleet's keys sizes that fleet."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("found no endpoints, wanted at least one")
        for endpoint in self.endpoints:
            _check_url(endpoint)
        _check_namespaces("allowedNamespaces", self.allowed_namespaces)

    def allows(self, namespace: str, *, fleet: str) -> bool:
        """Whether policies of the Kubernetes *namespace* may write the keys of *fleet*."""
        fleets = {*self.allowed_namespaces.get(namespace, ()), *self.allowed_namespaces.get(ANY, ())}
        return not {ANY, fleet}.isdisjoint(fleets)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElection:
    """A Lease by which several operators choose the one that plans and writes; the others stand by."""

    namespace: str | None = None
    """Namespace of the Lease; absent: that of the operator's pod."""
    name: str = "slaplanner"
    """Name of the Lease. Operators that share it stand by for each other."""
    lease_s: float = 12.0
    """Seconds that a renewal counts. After a crash a standby takes over that much later. At least 12, so that
    a request with its time-out of 4 seconds ends while nobody else can lead."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lease_s) and LEAST_LEASE_S <= self.lease_s <= MOST_LEASE_S):
            raise ValueError(
                f"leaseSeconds: found {self.lease_s}, wanted {LEAST_LEASE_S:g} to {MOST_LEASE_S:g}"
            )


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
    replica_ceiling: int = 100
    """Replicas beyond which no role grows for which the user set neither `gpuBudget.max` nor `maxReplicas`:
    a Prometheus that reports nonsense must not ask for thousands of GPUs. It never shrinks a role."""
    policy_selector: str | None = None
    """Label selector of the policies that this operator serves, such as `shard=a`; absent: all of them. Several
    operators with selectors that exclude each other share many policies; each needs a Lease of its own. Policies of one
    deployment, or of one fleet in etcd, belong to one operator."""
    watched_namespaces: tuple[str, ...] = ()
    """Namespaces whose policies are served; none: all of them."""
    scaling_max_wait_s: float = 1800.0
    """Seconds that a newer decision waits for the acknowledgement of the one before, for policies of the
    connector Virtual that do not say `maxWaitSeconds`."""
    scaling_check_interval_s: float = 10.0
    """Seconds between two looks for an acknowledgement, for policies of the connector Virtual that do
    not say `checkIntervalSeconds`."""
    leader_election: LeaderElection | None = None
    """Run with a standby. Absent: this operator is the only one."""
    port: int = 8080
    """Port of `/metrics`, `/healthz` and `/readyz`."""

    def __post_init__(self) -> None:
        for directory in self.profile_directories:
            if not directory.is_absolute():
                raise ValueError(f"profileDirectories: found {str(directory)!r}, wanted an absolute path")
        if not (math.isfinite(self.settle_s) and self.settle_s >= 0):
            raise ValueError(f"settleSeconds: found {self.settle_s}, wanted 0 or more")
        _check_positive("heartbeatSeconds", self.heartbeat_s)
        _check_positive("scalingMaxWaitSeconds", self.scaling_max_wait_s)
        _check_positive("scalingCheckIntervalSeconds", self.scaling_check_interval_s)
        if self.policy_selector is not None:
            _check_selector("policySelector", self.policy_selector)
        if self.replica_ceiling < 1:
            raise ValueError(f"replicaCeiling: found {self.replica_ceiling}, wanted 1 or more")
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
    settings = parse_settings(document, endpoint=environment.get(ENDPOINT_VARIABLE) or None)
    return replace(
        settings,
        scaling_max_wait_s=seconds_from(environment, MAX_WAIT_VARIABLE, settings.scaling_max_wait_s),
        scaling_check_interval_s=seconds_from(
            environment, CHECK_INTERVAL_VARIABLE, settings.scaling_check_interval_s
        ),
    )


def seconds_from(environment: Mapping[str, str], variable: str, otherwise: float) -> float:
    """The seconds that *variable* gives; *otherwise* when it is absent or empty.

    Raises:
        SettingsError: it is not a number above 0.

    >>> seconds_from({"SCALING_CHECK_INTERVAL": "2.5"}, "SCALING_CHECK_INTERVAL", 10.0)
    2.5
    """
    text = environment.get(variable, "").strip()
    if not text:
        return otherwise
    try:
        value = float(text)
        _check_positive(variable, value)
    except ValueError as error:
        raise SettingsError(f"{variable}: found {text!r}, wanted seconds, more than 0") from error
    return value


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
    tree = read_yaml(document)
    if endpoint is not None and isinstance(tree, dict):
        tree = _with_endpoint(tree, endpoint)
    return read_tree(Settings, tree, "settings")


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


def _check_query_parameter(name: str, value: str) -> None:
    if name in OWN_QUERY_PARAMETERS:
        raise ValueError(f"found a query parameter {name!r}, which every query sets itself")
    if not name or not name.isprintable() or not value.isprintable():
        raise ValueError(
            f"found a query parameter {name!r} that is empty or not printable, wanted plain text"
        )


def _check_namespaces(key: str, namespaces: Iterable[str]) -> None:
    for name in namespaces:
        if name != ANY and not NAMESPACE_NAME.fullmatch(name):
            raise ValueError(f"{key}: found {name!r}, wanted the name of a namespace, or {ANY}")


def _check_selector(key: str, selector: str) -> None:
    # A list of values has commas of its own.
    for requirement in re.split(r",(?![^(]*\))", selector):
        if not REQUIREMENT.fullmatch(requirement.strip()):
            raise ValueError(
                f"{key}: found {requirement.strip()!r}, wanted a label selector such as `shard=a` or `shard in (a, b)`"
            )


def _check_positive(key: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{key}: found {value}, wanted more than 0")
