"""A real Prometheus on loopback that scrapes what a test names, once a second."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.testbed.processes import Server, free_port, loopback_session, wait_until

REQUEST_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint to scrape: `host:port`, the job it belongs to, and labels for its series."""

    job: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics_path: str = "/metrics"
    honor_labels: bool = False
    """What the endpoint itself says of a label wins over `labels`, as Dynamo's PodMonitors have it; of a whole job."""


class PrometheusServer:
    """One server for a whole session; tests differ by the labels of their targets."""

    def __init__(self, binary: Path, directory: Path, *, scrape_interval_s: float = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._scrape_interval_ms = round(scrape_interval_s * 1000)
        self._http = loopback_session()
        self._rules = directory / "rules.yml"
        self._targets: dict[str, Target] = {}
        self._jobs: set[str] = set()
        self._config = directory / "prometheus.yml"
        self._server = Server(
            "prometheus",
            [
                binary,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--storage.tsdb.retention.time=1d",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                # New targets are otherwise taken up with a delay of 5 s.
                "--scrape.discovery-reload-interval=200ms",
                "--log.level=warn",
            ],
            log=directory / "prometheus.log",
        )

    @property
    def running(self) -> bool:
        return self._server.running

    def start(self) -> None:
        self._write_config()
        self._server.start()
        self._server.wait_ready(lambda: self._http.get(f"{self.url}/-/ready", timeout=REQUEST_TIMEOUT_S).ok)

    def stop(self, *, grace_s: float = 5) -> None:
        """Stop it; a later `start` finds its data and comes back on the same port."""
        self._server.stop(grace_s=grace_s)
        self._http.close()

    def add_target(self, target: Target, *, wait_up: bool = True, timeout_s: float = 60) -> None:
        """Scrape *target* from now on, in place of an earlier one of the same job and address.

        With *wait_up* this returns after the first scrape that succeeded.
        """
        self._targets[f"{target.job} {target.address}"] = target
        self._reload()
        if wait_up:
            query = f"up{{job={json.dumps(target.job)},instance={json.dumps(target.address)}}} == 1"
            wait_until(
                lambda: self.query(query),
                what=f"Prometheus to scrape {target.address}",
                timeout_s=timeout_s,
                poll_s=0.1,
            )

    def remove_target(self, target: Target) -> None:
        """Stop scraping it; its series turn stale."""
        self._targets.pop(f"{target.job} {target.address}", None)
        self._reload()

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Scrape exactly *targets*."""
        self._targets = {f"{target.job} {target.address}": target for target in targets}
        self._reload()

    def set_rules(self, groups: Mapping[str, object]) -> None:
        """Evaluate these rules, `{"groups": [...]}`, with every scrape."""
        self._rules.write_text(yaml.safe_dump(dict(groups)))
        self._reload()

    def firing(self) -> dict[str, set[str]]:
        """Alerts that fire now -> the namespaces that they name; an empty one for those that name none."""
        found: dict[str, set[str]] = {}
        for one in self.query('ALERTS{alertstate="firing"}'):
            labels = one["metric"]
            assert isinstance(labels, dict)
            found.setdefault(labels["alertname"], set()).add(labels.get("namespace", ""))
        return found

    def query(self, expression: str) -> list[dict[str, object]]:
        """The instant vector of *expression* now; raises `requests.HTTPError` for a bad one."""
        answer = self._http.get(
            f"{self.url}/api/v1/query", params={"query": expression}, timeout=REQUEST_TIMEOUT_S
        )
        answer.raise_for_status()
        result: list[dict[str, object]] = answer.json()["data"]["result"]
        return result

    def samples(self, series: str, *, until_s: float, window_s: float) -> list[float]:
        """When the one series of the selector *series* was sampled in a window, in Unix seconds."""
        answer = self._http.get(
            f"{self.url}/api/v1/query",
            params={"query": f"{series}[{round(1000 * window_s)}ms]", "time": f"{until_s:.3f}"},
            timeout=REQUEST_TIMEOUT_S,
        )
        answer.raise_for_status()
        (found,) = answer.json()["data"]["result"]
        return [float(at_s) for at_s, _ in found["values"]]

    def wait_for(self, expression: str, *, timeout_s: float = 60) -> list[dict[str, object]]:
        """Poll *expression* until its instant vector is not empty, and return it."""
        found: list[dict[str, object]] = []

        def asked() -> bool:
            found[:] = self.query(expression)
            return bool(found)

        wait_until(asked, what=f"series of {expression}", timeout_s=timeout_s, poll_s=0.1)
        return found

    def tail(self) -> str:
        return self._server.tail()

    def _reload(self) -> None:
        self._write_config()
        if self.running:
            self._http.post(f"{self.url}/-/reload", timeout=REQUEST_TIMEOUT_S).raise_for_status()

    def _write_config(self) -> None:
        # A job stays after its last target: one that disappears leaves its series without a mark of
        # staleness, and they would be answered for five more minutes.
        self._jobs |= {target.job for target in self._targets.values()}
        interval = f"{self._scrape_interval_ms}ms"
        document = {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": [str(self._rules)] if self._rules.exists() else [],
            "scrape_configs": [
                {
                    "job_name": job,
                    "honor_labels": any(t.honor_labels for t in self._targets.values() if t.job == job),
                    "static_configs": [
                        {
                            "targets": [target.address],
                            "labels": {**target.labels, "__metrics_path__": target.metrics_path},
                        }
                        for target in self._targets.values()
                        if target.job == job
                    ],
                }
                for job in sorted(self._jobs)
            ],
        }
        self._config.write_text(yaml.safe_dump(document, sort_keys=False))
