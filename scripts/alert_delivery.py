"""What the tests of alerts through a real Alertmanager share: processes, a receiver, what an alert has to say.

Waits are for conditions with a deadline; `cleaned_up` ends what was started.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

WITHIN = 120

started: list[subprocess.Popen] = []
received: list[dict] = []
arrived = threading.Condition()


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps each alert of each notification, with the receiver that it was sent to."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with arrived:
            for alert in body["alerts"]:
                received.append(alert | {"receiver": body["receiver"], "path": self.path})
                print(f"{body['receiver']}: {alert['labels']['alertname']} {alert['status']}", flush=True)
            arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(handler: type[http.server.BaseHTTPRequestHandler]) -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, name: str, *command: str, **environment: str) -> subprocess.Popen:
    log = open(folder / f"{name}.log", "ab")
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
    )
    started.append(child)
    return child


@contextlib.contextmanager
def cleaned_up():
    """Ends all that was started, also when this process is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        for child in reversed(started):
            if child.poll() is None:
                child.terminate()
        for child in started:
            child.wait(30)


def eventually(what: str, condition):
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            if result := condition():
                return result
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {WITHIN} s: {what}")
        time.sleep(0.1)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def start_alertmanager(folder: Path, receiver: int, waits: tuple[str, str, str], inhibit: bool) -> int:
    """With the shipped routes, and these times instead of its intervals: a resolved ticket would otherwise arrive after
    five minutes. `waits` are the ticket's wait, and the intervals of tickets and pages."""
    port = free_port()
    shipped = Path("prometheus/alertmanager.yml").read_text()
    config, receivers = re.subn(
        r"(?m)^  - name: (page|ticket)$",
        rf"  - name: \1\n    webhook_configs: [{{ url: 'http://127.0.0.1:{receiver}/\1' }}]",
        shipped,
    )
    assert receivers == 2, "the shipped receivers"
    for was, becomes in zip(("wait: 30s", "interval: 5m", "interval: 1m"), waits):
        assert config.count(f"group_{was}") == 1, "the shipped intervals"
        config = config.replace(f"group_{was}", f"group_{was.split()[0]} {becomes}")
    if not inhibit:
        config, rules = re.subn(r"(?ms)^inhibit_rules:$.*", "", config)
        assert rules == 1, "the shipped rules of inhibition"
        config = config.replace("group_wait: 5s", "group_wait: 1s")
    (folder / "alertmanager.yml").write_text(config)
    program = shutil.which("prometheus-alertmanager") or "alertmanager"
    start(
        folder, "alertmanager", program, f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
    eventually("Alertmanager is ready", lambda: get(f"http://127.0.0.1:{port}/-/ready"))
    return port


def start_prometheus(folder: Path, name: str) -> int:
    """With the configuration of this name in the folder."""
    port = free_port()
    start(
        folder, name, "prometheus", f"--config.file={folder}/{name}.yml", f"--storage.tsdb.path={folder}/{name}-data",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    eventually("Prometheus is ready", lambda: get(f"http://127.0.0.1:{port}/-/ready"))
    return port


def expect(alert: str, status: str, receiver: str, since: int) -> dict:
    """Waits until the receiver has the alert with this status, and looks at what it says."""

    def found(entry: dict) -> bool:
        return entry["labels"]["alertname"] == alert and entry["status"] == status

    with arrived:
        find = lambda: next((entry for entry in received[since:] if found(entry)), None)
        if not arrived.wait_for(find, WITHIN):
            raise SystemExit(f"{alert} did not arrive as {status} within {WITHIN} s; arrived: {names(since)}")
        entry = find()
    assert entry["receiver"] == receiver and entry["path"] == f"/{receiver}", entry
    runbook, section = entry["annotations"]["runbook_url"].split("#")
    sections = re.findall(r"(?m)^## (\w+)$", Path(runbook).read_text())
    assert alert in sections and section == alert.lower(), entry
    return entry


def names(since: int) -> list[str]:
    return sorted({entry["labels"]["alertname"] for entry in received[since:]})
