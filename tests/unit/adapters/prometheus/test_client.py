"""One connection on a real socket: what is sent, and how every kind of failure reads."""

import gzip
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from slaplanner.adapters.prometheus import Client, Connections, Deadline
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.session import MAX_ANSWER_BYTES
from slaplanner.core.errors import MetricsError
from slaplanner.core.reasons import Reason
from slaplanner.settings import BasicAuth, ClientCertificate, HttpMethod, PrometheusConnection
from tests.httpserver import Script
from tests.testbed.certificates import CertificateAuthority

Secret = Callable[[str, str], Path]
Serve = Callable[..., Script]


def ask(connection: PrometheusConnection, *, within_s: float = 10) -> list[Sample]:
    return Client("default", connection).instant("up", at_s=1700000000.25, deadline=Deadline.after(within_s))


def refused(connection: PrometheusConnection, *, within_s: float = 10) -> MetricsError:
    with pytest.raises(MetricsError) as caught:
        ask(connection, within_s=within_s)
    assert str(caught.value).startswith("connection 'default': ")
    return caught.value


def test_an_instant_query_goes_as_a_form_with_its_time(server: Script) -> None:
    assert ask(PrometheusConnection(url=server.url + "/prefix/")) == [Sample(labels={}, value=42.0)]
    assert (server.last.method, server.last.path) == ("POST", "/prefix/api/v1/query")
    assert server.last.form["query"] == ["up"]
    assert server.last.form["time"] == ["1700000000.250"]
    assert server.last.form["partial_response"] == ["false"]


def test_a_range_query_has_whole_seconds(server: Script) -> None:
    server.body = (
        b'{"status":"success","data":{"result":[{"metric":{"a":"b"},"values":[[60,"1"],[120,"2"]]}]}}'
    )
    client = Client("default", PrometheusConnection(url=server.url))
    (track,) = client.range("up", start_s=60, end_s=120, step_s=60, deadline=Deadline.after(10))
    assert track.points == ((60.0, 1.0), (120.0, 2.0))
    assert server.last.path == "/api/v1/query_range"
    assert [server.last.form[key] for key in ("start", "end", "step")] == [["60"], ["120"], ["60"]]


def test_a_gateway_that_allows_only_get_gets_one(server: Script) -> None:
    ask(PrometheusConnection(url=server.url, http_method=HttpMethod.GET))
    assert server.last.method == "GET"
    assert server.last.form["query"] == ["up"]


def test_headers_of_the_connection_are_sent(server: Script) -> None:
    ask(PrometheusConnection(url=server.url, headers={"X-Scope-OrgID": "team-a"}))
    assert server.last.headers["X-Scope-OrgID"] == "team-a"
    assert server.last.headers["Authorization"] is None


def test_a_rotated_token_counts_with_the_next_query(server: Script, secret: Secret) -> None:
    connection = PrometheusConnection(url=server.url, bearer_token_file=secret("token", "first\n"))
    client = Client("default", connection)
    client.instant("up", at_s=0, deadline=Deadline.after(10))
    secret("token", "second\n")
    client.instant("up", at_s=0, deadline=Deadline.after(10))
    assert [request.headers["Authorization"] for request in server.requests] == [
        "Bearer first",
        "Bearer second",
    ]


def test_basic_auth_is_read_from_its_files(server: Script, secret: Secret) -> None:
    auth = BasicAuth(username_file=secret("user", "me"), password_file=secret("password", "pä:ss\n"))
    ask(PrometheusConnection(url=server.url, basic_auth=auth))
    assert server.last.headers["Authorization"] == "Basic bWU6cMOkOnNz"


def test_a_netrc_gives_no_credentials(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(PrometheusConnection(url=server.url))
    assert server.last.headers["Authorization"] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "cannot be read: No such file", id="absent"),
        pytest.param("", "holds no single line of text", id="empty"),
        pytest.param("one\ntwo", "holds no single line of text", id="two-lines"),
    ],
)
def test_a_token_that_cannot_be_read_is_said_and_not_sent(
    server: Script, secret: Secret, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "token" if content is None else secret("token", content)
    assert words in str(refused(PrometheusConnection(url=server.url, bearer_token_file=path)))
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        pytest.param(
            400,
            b'{"status":"error","errorType":"bad_data","error":"parse error: unexpected }"}',
            Reason.PROMETHEUS_REJECTED,
            "Prometheus answered 400: bad_data: parse error: unexpected }",
            id="bad-query",
        ),
        pytest.param(401, b"Unauthorized\n", Reason.PROMETHEUS_REJECTED, "401: Unauthorized", id="no-token"),
        pytest.param(404, b"", Reason.PROMETHEUS_REJECTED, "404: no text", id="wrong-path"),
        pytest.param(
            422,
            b'{"status":"error","errorType":"execution","error":"too many samples"}',
            Reason.PROMETHEUS_REJECTED,
            "422: execution: too many samples",
            id="too-many-samples",
        ),
        pytest.param(429, b"slow down", Reason.PROMETHEUS_UNAVAILABLE, "429: slow down", id="rate-limited"),
        pytest.param(500, b'["odd"]', Reason.PROMETHEUS_UNAVAILABLE, '500: ["odd"]', id="broken"),
        pytest.param(
            503, b"<html>\x00<b>down", Reason.PROMETHEUS_UNAVAILABLE, "503: <html> <b>down", id="html"
        ),
        pytest.param(500, b"x" * 10_000, Reason.PROMETHEUS_UNAVAILABLE, "x" * 300, id="long-text"),
        pytest.param(204, b"", Reason.PROMETHEUS_UNAVAILABLE, "answered 204", id="nothing"),
    ],
)
def test_an_error_status_reads_as_what_it_is(
    server: Script, status: int, body: bytes, reason: Reason, words: str
) -> None:
    server.status, server.body = status, body
    error = refused(PrometheusConnection(url=server.url))
    assert error.reason is reason
    assert words in str(error)
    assert len(str(error)) < 400
    assert len(server.requests) == 1, "a failed query is not sent again"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>login</html>", id="html"),
        pytest.param(b'{"status":"success","data":{"result":[{"metric"', id="truncated-json"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"status":"success","data":{}}', id="no-result"),
        pytest.param(b'{"status":"success","data":{"result":{"a":1}}}', id="result-of-another-shape"),
        pytest.param(b'{"status":"success","data":{"result":[{"metric":{},"value":["x","y"]}]}}', id="words"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"[" * 200_000, id="nested-too-deep"),
    ],
)
def test_a_body_that_is_no_answer_is_unavailable(server: Script, body: bytes) -> None:
    server.body = body
    assert refused(PrometheusConnection(url=server.url)).reason is Reason.PROMETHEUS_UNAVAILABLE


def test_a_body_that_breaks_off_is_unavailable(server: Script) -> None:
    server.announced_bytes = 10_000
    assert "no answer from" in str(refused(PrometheusConnection(url=server.url)))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip-bomb"])
def test_a_huge_answer_is_given_up(server: Script, packed: bool) -> None:
    body = b" " * (MAX_ANSWER_BYTES + 1)
    server.body = gzip.compress(body, compresslevel=1) if packed else body
    if packed:
        server.headers["Content-Encoding"] = "gzip"
    assert f"longer than {MAX_ANSWER_BYTES} bytes" in str(refused(PrometheusConnection(url=server.url)))


def test_a_redirect_is_not_followed(server: Script, serve: Serve, secret: Secret) -> None:
    """Else the token and the tenant would go wherever an answer points."""
    other = serve()
    server.status, server.headers = 302, {"Location": other.url}
    error = refused(PrometheusConnection(url=server.url, bearer_token_file=secret("token", "t")))
    assert f"302, a redirect to {other.url}" in str(error)
    assert not other.requests


def test_a_silent_server_times_out(server: Script) -> None:
    server.silent = True
    error = refused(PrometheusConnection(url=server.url, read_timeout_s=0.1))
    assert str(error).endswith(f"{server.url} did not answer within 0.1 s")
    assert error.reason is Reason.PROMETHEUS_UNAVAILABLE


def test_the_deadline_shortens_the_time_out(server: Script) -> None:
    server.silent = True
    assert "did not answer" in str(refused(PrometheusConnection(url=server.url), within_s=0.1))


def test_a_server_that_drips_bytes_ends_at_the_deadline(server: Script) -> None:
    server.drip = True
    error = refused(PrometheusConnection(url=server.url, read_timeout_s=60), within_s=0.3)
    assert "the answer was not complete in time" in str(error)


def test_after_the_deadline_nothing_is_asked(server: Script) -> None:
    assert "no time is left" in str(refused(PrometheusConnection(url=server.url), within_s=-1))
    assert not server.requests


def test_a_refused_connection_is_told_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        error = refused(PrometheusConnection(url=url))
    assert str(error) == f"connection 'default': no answer from {url}: Connection refused"
    assert error.reason is Reason.PROMETHEUS_UNAVAILABLE


def test_a_name_that_does_not_resolve_is_told_in_words() -> None:
    assert "no answer from http://prometheus.invalid" in str(
        refused(PrometheusConnection(url="http://prometheus.invalid"))
    )


def test_the_authority_of_the_connection_is_trusted(
    serve: Serve, tls: ssl.SSLContext, authority: CertificateAuthority
) -> None:
    server = serve(tls=tls)
    assert ask(PrometheusConnection(url=server.url, ca_file=authority.certificate))


def test_an_unknown_authority_is_not(serve: Serve, tls: ssl.SSLContext) -> None:
    error = refused(PrometheusConnection(url=serve(tls=tls).url))
    assert "certificate verify failed" in str(error)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_insecure_connection_trusts_anybody(serve: Serve, tls: ssl.SSLContext) -> None:
    assert ask(PrometheusConnection(url=serve(tls=tls).url, insecure_skip_verify=True))


def test_a_client_certificate_is_shown_and_may_be_rotated(
    serve: Serve, tls: ssl.SSLContext, authority: CertificateAuthority, tmp_path: Path
) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.certificate)
    server = serve(tls=tls)
    assert refused(PrometheusConnection(url=server.url, ca_file=authority.certificate))

    stranger = CertificateAuthority.create(tmp_path / "stranger").issue("client")
    cert_file = shutil.copy(stranger.certificate, tmp_path / "tls.crt")
    key_file = shutil.copy(stranger.key, tmp_path / "tls.key")
    client = Client(
        "default",
        PrometheusConnection(
            url=server.url,
            ca_file=authority.certificate,
            client_certificate=ClientCertificate(cert_file=cert_file, key_file=key_file),
        ),
    )
    with pytest.raises(MetricsError):
        client.instant("up", at_s=0, deadline=Deadline.after(10))
    ours = authority.issue("client")
    shutil.copy(ours.certificate, cert_file)
    shutil.copy(ours.key, key_file)
    assert client.instant("up", at_s=0, deadline=Deadline.after(10))


@pytest.mark.parametrize("kind", ["ca", "certificate"])
def test_an_absent_certificate_file_is_named(server: Script, tmp_path: Path, kind: str) -> None:
    absent = tmp_path / "absent.pem"
    connection = (
        PrometheusConnection(url=server.url, ca_file=absent)
        if kind == "ca"
        else PrometheusConnection(
            url=server.url, client_certificate=ClientCertificate(cert_file=absent, key_file=absent)
        )
    )
    assert f"certificate file {absent} cannot be read" in str(refused(connection))


def test_every_query_is_told_to_the_hook(server: Script) -> None:
    told: list[tuple[str, str, Reason | None]] = []

    def hook(*, connection: str, kind: str, duration_s: float, reason: Reason | None) -> None:
        assert duration_s >= 0
        told.append((connection, kind, reason))

    client = Connections({"mimir": PrometheusConnection(url=server.url)}, hook=hook).get("mimir")
    client.instant("up", at_s=0, deadline=Deadline.after(10))
    server.status = 400
    with pytest.raises(MetricsError):
        client.range("up", start_s=0, end_s=1, step_s=1, deadline=Deadline.after(10))
    assert told == [("mimir", "instant", None), ("mimir", "range", Reason.PROMETHEUS_REJECTED)]


def test_policies_share_the_client_of_a_connection() -> None:
    connections = Connections({"default": PrometheusConnection(url="http://p")})
    assert connections.get("default") is connections.get("default")


def test_a_connection_that_is_not_configured_is_refused_with_those_that_are() -> None:
    connections = Connections(
        {"default": PrometheusConnection(url="http://p"), "eu": PrometheusConnection(url="http://e")}
    )
    with pytest.raises(
        MetricsError, match=r"no Prometheus connection 'us' .* it may use: default, eu"
    ) as error:
        connections.get("us")
    assert error.value.reason is Reason.CONNECTION_UNKNOWN


def test_a_closed_client_opens_again(server: Script) -> None:
    connections = Connections({"default": PrometheusConnection(url=server.url)})
    client = connections.get("default")
    client.instant("up", at_s=0, deadline=Deadline.after(10))
    connections.close()
    assert client.instant("up", at_s=0, deadline=Deadline.after(10))
