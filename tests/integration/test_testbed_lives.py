"""Nothing that the bed started outlives whoever started it, however they end."""

import os
import signal
import subprocess
import sys

import pytest

from tests.testbed import Bed, EtcdFactory, PartFailedError, Server, wait_until
from tests.testbed.processes import loopback_session

OWNER = """
import signal, sys
from tests.testbed import Bed
with Bed() as bed:
    print(bed.etcd("etcd").endpoint, flush=True)
    signal.pause()
"""


def answers(endpoint: str) -> bool:
    with loopback_session() as http:
        try:
            return http.get(f"{endpoint}/health", timeout=2).ok
        except OSError:
            return False


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_servers_end_with_their_owner(etcd_server: EtcdFactory, end: signal.Signals) -> None:
    etcd_server()  # Skips where there is no etcd.
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        endpoint = owner.stdout.readline().strip()
        assert answers(endpoint)
        owner.send_signal(end)
        owner.wait(timeout=60)
    wait_until(lambda: not answers(endpoint), what="etcd to be gone")


def test_a_server_that_cannot_start_tells_its_last_words(bed: Bed) -> None:
    server = Server(
        "choosy",
        [sys.executable, "-c", "raise SystemExit('no such flag: --frobnicate')"],
        log=bed.directory / "choosy.log",
    )
    server.start()
    with pytest.raises(PartFailedError, match=r"(?s)choosy ended with code 1 .*no such flag: --frobnicate"):
        server.wait_ready(lambda: False)


def test_a_server_that_ignores_sigterm_is_killed(bed: Bed) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    server = Server("stubborn", [sys.executable, "-c", stubborn], log=bed.directory / "stubborn.log")
    server.start()
    server.wait_ready(lambda: "up" in server.tail())
    pid = server.pid
    assert pid is not None
    server.stop(grace_s=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_command_line_brings_a_bed_up_once_and_down_again(
    etcd_server: EtcdFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    etcd_server()
    environment = {**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("bed"))}

    def testbed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.testbed", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=300,
        )

    assert "no bed stands" in testbed("env").stderr
    try:
        first, second = testbed("up"), testbed("up")
        assert first.returncode == 0, first.stderr
        assert "Prometheus: http://127.0.0.1:" in first.stderr
        assert [line for line in second.stderr.splitlines() if line.startswith("starting")] == []
        script = f"{testbed('env').stdout}\nexec kubectl get --raw=/readyz"
        assert (
            subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout == "ok"
        )
    finally:
        down = testbed("down")
    assert "stopped" in down.stderr
    assert "no bed stands" in testbed("down").stderr
