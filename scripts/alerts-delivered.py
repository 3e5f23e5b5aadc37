"""Sends alerts the whole way: service, Prometheus, Alertmanager, receiver. With the rules and the routes as shipped.

    alerts-delivered.py FLASH_SALE DIR

Two of three Redis lock nodes end and come back, then one, then the service: each alert has to arrive at its receiver
with its runbook, those that only follow from another one must not, and each has to arrive as resolved. Waits for
conditions with a deadline; ends what it has started.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from alert_delivery import (
    Receiver, cleaned_up, eventually, expect, free_port, get, names, received, serve, start, start_alertmanager,
    start_prometheus,
)  # fmt: skip

BINARY, DIR = sys.argv[1], Path(sys.argv[2])


def stop(child: subprocess.Popen) -> None:
    child.terminate()
    child.wait(30)


def start_redis(port: int) -> subprocess.Popen:
    folder = DIR / f"redis-{port}"
    folder.mkdir(exist_ok=True)
    return start(
        DIR, f"redis-{port}", "redis-server", "--port", str(port), "--bind", "127.0.0.1",
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
    service = start(DIR, "service", BINARY, "serve", **settings)
    printed = lambda: re.search(r"operations on http://(\S+)", (DIR / "service.log").read_text())
    return service, eventually("the service listens", printed)[1]


def scrape(target: str, alertmanager: int) -> None:
    """Starts a Prometheus with the shipped configuration but for the addresses."""
    config, targets = re.subn(r'"127\.0\.0\.1:9464"', f'"{target}"', Path("prometheus.yml").read_text())
    config, alertmanagers = re.subn(r'"127\.0\.0\.1:9093"', f'"127.0.0.1:{alertmanager}"', config)
    assert (targets, alertmanagers) == (1, 1), "the addresses in prometheus.yml"
    shutil.copytree("prometheus", DIR / "prometheus", dirs_exist_ok=True)
    (DIR / "prometheus.yml").write_text(config)
    port = start_prometheus(DIR, "prometheus")
    healthy = f"http://127.0.0.1:{port}/api/v1/query?query=up==1"
    eventually("Prometheus scrapes the service", lambda: json.loads(get(healthy))["data"]["result"])


def play() -> None:
    ports = [free_port() for _ in range(3)]
    nodes = [start_redis(port) for port in ports]
    service, operations = start_service(ports)
    healthy = lambda: re.search(r"(?m)^flash_sale_lock_nodes_healthy 3$", get(f"http://{operations}/metrics"))
    eventually("three healthy lock nodes", healthy)
    alertmanager = start_alertmanager(DIR, serve(Receiver), ("6s", "5s", "5s"), inhibit=True)
    scrape(operations, alertmanager)

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


with cleaned_up():
    play()
    print("alerts arrive and resolve", flush=True)
