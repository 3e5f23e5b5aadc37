"""Sends alerts the whole way: service, Prometheus, Alertmanager, receiver. With the rules and the routes as shipped.

    alerts-delivered.py FLASH_SALE DIR

Two of three Redis lock nodes end and come back, then one, then the service: each alert has to arrive at its receiver
with its runbook, those that only follow from another one must not, and each has to arrive as resolved. Waits for
conditions with a deadline; ends what it has started.
"""

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

BINARY, DIR = sys.argv[1], Path(sys.argv[2])
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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(name: str, *command: str, **environment: str) -> subprocess.Popen:
    log = open(DIR / f"{name}.log", "ab")
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
    )
    started.append(child)
    return child


def stop(child: subprocess.Popen) -> None:
    child.terminate()
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


def start_redis(port: int) -> subprocess.Popen:
    folder = DIR / f"redis-{port}"
    folder.mkdir(exist_ok=True)
    return start(
        f"redis-{port}", "redis-server", "--port", str(port), "--bind", "127.0.0.1",
        "--dir", str(folder), "--save", "", "--appendonly", "no",
    )  # fmt: skip


def start_service(redis: list[int], operations: str = "127.0.0.1:0") -> tuple[subprocess.Popen, str]:
    settings = {
        "DATA_DIR": str(DIR / "service"),
        "LISTEN_ADDR": "127.0.0.1:0",
        "OPS_ADDR": operations,
        "REDIS_LOCK_URLS": ",".join(f"redis://127.0.0.1:{port}" for port in redis),
        "AUTH_SECRET": "a secret of these tests and of nothing else",
    }
    service = start("service", BINARY, "serve", **settings)
    printed = lambda: re.search(r"operations on http://(\S+)", (DIR / "service.log").read_text())
    return service, eventually("the service listens", printed)[1]


def start_alertmanager(receiver: int) -> int:
    port = free_port()
    shipped = Path("prometheus/alertmanager.yml").read_text()
    config, receivers = re.subn(
        r"(?m)^  - name: (page|ticket)$",
        rf"  - name: \1\n    webhook_configs: [{{ url: 'http://127.0.0.1:{receiver}/\1' }}]",
        shipped,
    )
    assert receivers == 2, "the shipped receivers"
    # The shipped intervals, shortened: a resolved ticket would otherwise arrive after five minutes.
    config, intervals = re.subn(r"group_(wait: 30|interval: 5|interval: 1)[sm]", shortened, config)
    assert intervals == 3, "the shipped intervals"
    (DIR / "alertmanager.yml").write_text(config)
    program = shutil.which("prometheus-alertmanager") or "alertmanager"
    start(
        "alertmanager", program, f"--config.file={DIR}/alertmanager.yml", f"--storage.path={DIR}/alertmanager",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
    eventually("Alertmanager is ready", lambda: get(f"http://127.0.0.1:{port}/-/ready"))
    return port


def shortened(interval: re.Match) -> str:
    return "group_wait: 6s" if interval[1].startswith("wait") else "group_interval: 5s"


def start_prometheus(target: str, alertmanager: int) -> int:
    port = free_port()
    config, targets = re.subn(r'"127\.0\.0\.1:9464"', f'"{target}"', Path("prometheus.yml").read_text())
    config, alertmanagers = re.subn(r'"127\.0\.0\.1:9093"', f'"127.0.0.1:{alertmanager}"', config)
    assert (targets, alertmanagers) == (1, 1), "the addresses in prometheus.yml"
    shutil.copytree("prometheus", DIR / "prometheus", dirs_exist_ok=True)
    (DIR / "prometheus.yml").write_text(config)
    start(
        "prometheus", "prometheus", f"--config.file={DIR}/prometheus.yml", f"--storage.tsdb.path={DIR}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    healthy = f"http://127.0.0.1:{port}/api/v1/query?query=up==1"
    eventually("Prometheus scrapes the service", lambda: json.loads(get(healthy))["data"]["result"])
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


def play() -> None:
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    ports = [free_port() for _ in range(3)]
    nodes = [start_redis(port) for port in ports]
    service, operations = start_service(ports)
    healthy = lambda: re.search(r"(?m)^flash_sale_lock_nodes_healthy 3$", get(f"http://{operations}/metrics"))
    eventually("three healthy lock nodes", healthy)
    alertmanager = start_alertmanager(receiver.server_port)
    start_prometheus(operations, alertmanager)

    # Without a majority: the page arrives; the ticket about the nodes fires too, and is inhibited by it.
    stop(nodes[0])
    stop(nodes[1])
    page = expect("FlashSaleLockDegraded", "firing", "page", 0)
    assert page["labels"]["instance"] == operations and "without the lock" in page["annotations"]["summary"], page
    inhibited = f"http://127.0.0.1:{alertmanager}/api/v2/alerts?filter=alertname=FlashSaleLockNodeDown"
    is_inhibited = lambda: any(a["status"]["inhibitedBy"] for a in json.loads(get(inhibited)))
    eventually("the ticket is inhibited", is_inhibited)
    nodes[0], nodes[1] = start_redis(ports[0]), start_redis(ports[1])
    expect("FlashSaleLockDegraded", "resolved", "page", 0)
    assert names(0) == ["FlashSaleLockDegraded"], names(0)

    # One node of three: a ticket.
    eventually("three healthy lock nodes", healthy)
    since = len(received)
    stop(nodes[2])
    expect("FlashSaleLockNodeDown", "firing", "ticket", since)
    nodes[2] = start_redis(ports[2])
    expect("FlashSaleLockNodeDown", "resolved", "ticket", since)

    # The only instance: the page about all of them arrives before the one about itself, which it inhibits.
    since = len(received)
    stop(service)
    expect("FlashSaleNoInstance", "firing", "page", since)
    down = f"http://127.0.0.1:{alertmanager}/api/v2/alerts?filter=alertname=FlashSaleDown"
    eventually("the alert of the instance is inhibited", lambda: any(
        a["status"]["inhibitedBy"] for a in json.loads(get(down))
    ))  # fmt: skip
    start_service(ports, operations)
    expect("FlashSaleNoInstance", "resolved", "page", since)
    assert names(since) == ["FlashSaleNoInstance"], names(since)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    play()
    print("alerts arrive and resolve", flush=True)
finally:
    for child in reversed(started):
        if child.poll() is None:
            child.terminate()
    for child in started:
        child.wait(30)
