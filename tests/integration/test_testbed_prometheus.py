"""Prometheus and etcd of the bed, each alone."""

from collections.abc import Iterator

import pytest
import requests
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.testbed import EtcdFactory, PrometheusServer, Target


@pytest.fixture
def exporter() -> Iterator[str]:
    """The address of an endpoint that exposes one gauge."""
    registry = CollectorRegistry()
    Gauge("testbed_answer", "Something to scrape.", registry=registry).set(42)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_target_is_scraped_with_its_labels_until_it_is_removed(
    prometheus_server: PrometheusServer, exporter: str
) -> None:
    target = Target(job="scraped", address=exporter, labels={"dynamo_namespace": "ours"})
    prometheus_server.add_target(target)
    (series,) = prometheus_server.wait_for('testbed_answer{dynamo_namespace="ours"}')
    assert series["value"][1] == "42"
    prometheus_server.remove_target(target)
    prometheus_server.wait_for('absent(testbed_answer{dynamo_namespace="ours"})')


def test_prometheus_comes_back_with_its_data_on_the_same_port(
    prometheus_server: PrometheusServer, exporter: str
) -> None:
    target = Target(job="outage", address=exporter)
    prometheus_server.add_target(target)
    prometheus_server.stop()
    with pytest.raises(requests.ConnectionError):
        prometheus_server.query("up")
    prometheus_server.start()
    prometheus_server.wait_for('count_over_time(up{job="outage"}[5m]) > 1')
    prometheus_server.remove_target(target)


@pytest.mark.parametrize(
    ("tls", "root_password"),
    [
        pytest.param(False, None, id="plain"),
        pytest.param(True, None, id="tls"),
        pytest.param(False, "hunter2", id="password"),
        pytest.param(True, "hunter2", id="tls-and-password"),
    ],
)
def test_etcd_keeps_its_keys_over_a_restart(
    etcd_server: EtcdFactory, tls: bool, root_password: str | None
) -> None:
    etcd = etcd_server(tls=tls, root_password=root_password)
    etcd.put("v1/ns/planner/decision_id", "7")
    etcd.restart()
    assert etcd.get("v1/ns/planner/decision_id") == "7"
    etcd.delete_prefix("v1/ns/")
    assert etcd.get("v1/ns/planner/decision_id") is None


def test_an_etcd_with_tls_refuses_clients_without_a_certificate(etcd_server: EtcdFactory) -> None:
    etcd = etcd_server(tls=True)
    assert etcd.tls is not None
    with pytest.raises(requests.RequestException):
        requests.get(f"{etcd.endpoint}/health", verify=str(etcd.tls.ca), timeout=5)


def test_an_etcd_with_a_password_refuses_clients_without_one(etcd_server: EtcdFactory) -> None:
    etcd = etcd_server(root_password="hunter2")
    answer = requests.post(f"{etcd.endpoint}/v3/kv/range", json={"key": "YQ=="}, timeout=5)
    assert "user name is empty" in answer.text
