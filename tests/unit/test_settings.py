"""The administrator's settings: what is read, and what is refused with which words."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.settings import (
    DEFAULT_PATH,
    MAX_FILE_BYTES,
    HttpMethod,
    Settings,
    SettingsError,
    load_settings,
    parse_settings,
)
from slaplanner.settings_reference import settings_reference

REPOSITORY = Path(__file__).parents[2]

FULL = """
prometheus:
  default:
    url: https://prometheus:9090/path
    bearerTokenFile: /secrets/token
    caFile: /secrets/ca.crt
    clientCertificate: {certFile: /secrets/tls.crt, keyFile: /secrets/tls.key}
    headers: {X-Scope-OrgID: team-a}
    httpMethod: GET
    connectTimeoutSeconds: 1
    readTimeoutSeconds: 2.5
  other:
    url: http://[::1]:9090
    basicAuth: {usernameFile: /secrets/user, passwordFile: /secrets/password}
etcd:
  default:
    endpoints: [https://etcd-0:2379, https://etcd-1:2379]
profileDirectories: [/profiles]
observe: true
settleSeconds: 0
heartbeatSeconds: 1
watchedNamespaces: [serving]
port: 9000
"""


def test_an_empty_file_means_all_defaults() -> None:
    assert parse_settings("") == parse_settings("{}") == Settings()
    assert (Settings().settle_s, Settings().heartbeat_s, Settings().port) == (30, 5, 8080)


def test_every_key_is_read() -> None:
    settings = parse_settings(FULL)
    default, other = settings.prometheus["default"], settings.prometheus["other"]
    assert default.url == "https://prometheus:9090/path"
    assert default.bearer_token_file == Path("/secrets/token")
    assert default.client_certificate is not None
    assert default.client_certificate.key_file == Path("/secrets/tls.key")
    assert default.headers == {"X-Scope-OrgID": "team-a"}
    assert default.http_method is HttpMethod.GET
    assert (default.connect_timeout_s, default.read_timeout_s) == (1.0, 2.5)
    assert other.basic_auth is not None
    assert other.basic_auth.password_file == Path("/secrets/password")
    assert other.http_method is HttpMethod.POST
    assert settings.etcd["default"].endpoints == ("https://etcd-0:2379", "https://etcd-1:2379")
    assert settings.profile_directories == (Path("/profiles"),)
    assert (settings.observe, settings.settle_s, settings.heartbeat_s) == (True, 0, 1)
    assert (settings.watched_namespaces, settings.port) == (("serving",), 9000)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param("heartbeat: 3", "unknown key 'heartbeat', did you mean 'heartbeatSeconds'?", id="typo"),
        pytest.param("zzz: 3", "unknown key 'zzz', wanted one of etcd, heartbeatSeconds", id="unknown"),
        pytest.param("port: 1\nport: 2", 'duplicate field "port"', id="twice"),
        pytest.param("a: [", "settings are not YAML", id="not-yaml"),
        pytest.param("[" * 10_000, "settings are not YAML", id="nested-too-deep"),
        pytest.param("!!python/object/apply:os.getcwd []", "settings are not YAML", id="python-object"),
        pytest.param("- 1", "settings: found [1], wanted keys with values", id="list"),
        pytest.param("1: 2", "unknown key '1', wanted one of etcd", id="number-as-key"),
        pytest.param("port: http", "settings.port: found 'http', wanted a whole number", id="text-as-number"),
        pytest.param("port: true", "settings.port: found True, wanted a whole number", id="bool-as-number"),
        pytest.param("port: 0", "port: found 0, wanted 1 to 65535", id="port-zero"),
        pytest.param("observe: 1", "settings.observe: found 1, wanted true or false", id="number-as-bool"),
        pytest.param("heartbeatSeconds: 0", "heartbeatSeconds: found 0.0, wanted more than 0", id="no-heart"),
        pytest.param("heartbeatSeconds: .nan", "nan is not a number that JSON can carry", id="nan"),
        pytest.param("settleSeconds: -1", "settleSeconds: found -1.0, wanted 0 or more", id="negative"),
        pytest.param(
            "profileDirectories: [profiles]", "found 'profiles', wanted an absolute path", id="relative"
        ),
        pytest.param("watchedNamespaces: a", "found 'a', wanted a list", id="text-as-list"),
        pytest.param("prometheus: {default: {}}", "settings.prometheus.default: url is missing", id="no-url"),
        pytest.param("prometheus: {default: {url: prom:9090}}", "wanted http://host:port", id="no-scheme"),
        pytest.param("prometheus: {default: {url: 'http://'}}", "wanted http://host:port", id="no-host"),
        pytest.param("prometheus: {d: {url: 'http://p:x'}}", "found a url that cannot be read", id="port"),
        pytest.param("prometheus: {d: {url: 'http://p/?a=1'}}", "without query and fragment", id="query"),
        pytest.param(
            "prometheus: {default: {url: 'http://p', bearerTokenFile: /t, "
            "basicAuth: {usernameFile: /u, passwordFile: /p}}}",
            "found bearerTokenFile and basicAuth, wanted at most one",
            id="two-credentials",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', caFile: /c, insecureSkipVerify: true}}",
            "found caFile and insecureSkipVerify",
            id="insecure-with-ca",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', basicAuth: {usernameFile: /u}}}",
            "settings.prometheus.default.basicAuth: passwordFile is missing",
            id="half-basic-auth",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', headers: {authorization: x}}}",
            "wanted bearerTokenFile or basicAuth",
            id="credentials-in-header",
        ),
        pytest.param(
            'prometheus: {default: {url: "http://p", headers: {X: "a\\r\\nY: b"}}}',
            "header X: found a value with unprintable characters",
            id="header-injection",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', headers: {'X Y': b}}}",
            "found 'X Y' as the name of a header",
            id="header-name",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', httpMethod: PUT}}",
            "found 'PUT', wanted one of POST, GET",
            id="method",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', readTimeoutSeconds: 0}}",
            "readTimeoutSeconds: found 0.0, wanted more than 0",
            id="no-time",
        ),
        pytest.param(
            "prometheus: {default: {url: 'http://p', readTimeoutSeconds: 101}}",
            "readTimeoutSeconds: found 101, wanted at most 100",
            id="time-without-end",
        ),
        pytest.param("etcd: {default: {endpoints: []}}", "found no endpoints", id="no-endpoints"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(document: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(document)
    assert words in str(refused.value)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="found credentials in a url") as refused:
        parse_settings("prometheus: {default: {url: 'http://me:hunter2@p'}}")
    assert "hunter2" not in str(refused.value)


@given(st.text())
def test_any_text_is_settings_or_a_settings_error(document: str) -> None:
    try:
        assert isinstance(parse_settings(document), Settings)
    except SettingsError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is fine


@pytest.mark.parametrize(
    ("document", "url"),
    [
        pytest.param("", "http://env:9090", id="no-file"),
        pytest.param("prometheus: {default: {url: 'http://file'}}", "http://env:9090", id="wins"),
        pytest.param("prometheus: {default: {bearerTokenFile: /t}}", "http://env:9090", id="completes"),
    ],
)
def test_the_environment_gives_the_url_of_the_default_connection(document: str, url: str) -> None:
    settings = parse_settings(document, endpoint="http://env:9090")
    assert settings.prometheus["default"].url == url


def test_the_environment_keeps_what_the_file_says_besides_the_url() -> None:
    settings = parse_settings("prometheus: {default: {bearerTokenFile: /t}}", endpoint="http://env")
    assert settings.prometheus["default"].bearer_token_file == Path("/t")


@pytest.mark.parametrize("document", ["prometheus: 3", "prometheus: {default: 3}"], ids=["map", "entry"])
def test_the_environment_does_not_hide_a_malformed_file(document: str) -> None:
    with pytest.raises(SettingsError, match="found 3, wanted keys with values"):
        parse_settings(document, endpoint="http://env")


def test_the_file_is_found_by_argument_then_environment(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("port: 1111")
    second.write_text("port: 2222")
    env: Mapping[str, str] = {"SLAPLANNER_SETTINGS": str(second), "PROMETHEUS_ENDPOINT": "http://env"}
    assert load_settings(first, env).port == 1111
    settings = load_settings(None, env)
    assert (settings.port, settings.prometheus["default"].url) == (2222, "http://env")


def test_only_the_default_file_may_be_absent(tmp_path: Path) -> None:
    assert DEFAULT_PATH.exists() or load_settings(None, {}) == Settings()
    with pytest.raises(SettingsError, match=r"absent\.yaml is absent"):
        load_settings(tmp_path / "absent.yaml", {})


def test_files_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_settings(path, {})
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="is longer than"):
        load_settings(path, {})


def test_the_example_of_the_reference_is_valid() -> None:
    example = settings_reference().split("```yaml\n")[1].split("```")[0]
    assert set(parse_settings(example).prometheus) == {"default", "tenant-a"}


def test_the_reference_page_is_up_to_date() -> None:
    page = REPOSITORY / "docs/reference/settings.md"
    assert page.read_text() == settings_reference(), (
        "run: python -m slaplanner.settings_reference > docs/reference/settings.md"
    )


@pytest.mark.parametrize(
    "selector",
    ["shard=a", "shard==a", "shard != b", "a in (b, c),d notin (e)", "shard", "!shard", "x.io/y=", "a,b=c"],
)
def test_a_label_selector_is_taken(selector: str):
    assert parse_settings(f"policySelector: '{selector}'").policy_selector == selector


@pytest.mark.parametrize("selector", ["shard=a b", "=a", "a in b", "a in (b", "a,", "a=-b", "a|b", "Ä=b"])
def test_what_is_no_label_selector_is_refused_before_the_api_server_does_it(selector: str):
    with pytest.raises(SettingsError, match="policySelector"):
        parse_settings(f"policySelector: '{selector}'")
