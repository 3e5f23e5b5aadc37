"""Sends every alert the whole way: metrics, Prometheus, Alertmanager, receiver.

    alerts-replayed.py DIR

Replays the failures of prometheus/slow-scrape.test.yml 120 times as fast, so that a scrape every 250 ms stands for one
every 30 s: an exporter serves the samples of that file, and the durations in the rules are divided by 120, and nothing
else of them is changed. Each alert that the file expects has to arrive at the receiver of its severity, with its runbook,
and then as resolved. The rules of inhibition are left out here, because the failures come at the same time.
"""

import http.server
import json
import re
import sys
import threading
import time
from pathlib import Path

from alert_delivery import (
    Receiver, cleaned_up, eventually, expect, received, serve, start_alertmanager, start_prometheus,
)  # fmt: skip

DIR = Path(sys.argv[1])
FASTER, WRITTEN_FOR = 120, 30
EVERY = WRITTEN_FOR / FASTER
# The failures begin at the 40th sample; windows need some before it.
FIRST = 30
PLAYED = ("each alert fires and resolves", "the loss of all instances", "forged webhook calls beside valid ones")

Series = tuple[str, list[float]]


def samples(text: str) -> list[float]:
    """`a+bxn` stands for n + 1 samples that grow by b."""
    values: list[float] = []
    for run in text.split():
        start, step, times = re.fullmatch(r"(-?\d+)(?:\+(\d+))?(?:x(\d+))?", run).groups(default="0")
        values += [float(start) + float(step) * n for n in range(int(times) + 1)]
    return values


class Play:
    """One test of the file: its series, and the alerts that it expects."""

    def __init__(self, text: str):
        series = re.findall(r"\{ series: '([^']*)', values: ([^}]*) \}", text)
        self.series: list[Series] = [(name, samples(values)) for name, values in series]
        self.alerts = set(re.findall(r'alertname="(\w+)"', text))
        self.began: float | None = None
        self.lock = threading.Lock()

    def metrics(self) -> str:
        now = time.time()
        with self.lock:
            # The first scrape is the first sample.
            self.began = self.began or now - FIRST * EVERY
        at = int((now - self.began) / EVERY)
        return "".join(f"{name} {self.value(name, values[min(at, len(values) - 1)])}\n" for name, values in self.series)

    def value(self, name: str, value: float) -> float:
        metric = name.split("{")[0]
        if metric.endswith(("_timestamp_seconds", "_start_time_seconds")):
            return self.began + value / FASTER
        return value / FASTER if metric.endswith("_interval_seconds") else value


def faster(text: str) -> str:
    """The rules with their durations divided: `[2m]`, `for: 35s`, `interval: 30s`."""

    def divided(found: re.Match) -> str:
        milliseconds = int(found[2]) * {"s": 1_000, "m": 60_000, "h": 3_600_000}[found[3]] // FASTER
        return f"{found[1]}{milliseconds}ms"

    return re.sub(r"(\[|\bfor: |\binterval: )(\d+)([smh])\b", divided, text)


def exporter(plays: list[Play]) -> int:
    class Exporter(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = plays[int(self.path.strip("/"))].metrics().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return serve(Exporter)


def all_resolved(number: int) -> list[str]:
    """The alerts of this play whose last notification is not that they are resolved."""
    last = {}
    for entry in received:
        if entry["labels"]["replay"] == str(number):
            last[entry["fingerprint"]] = entry
    return sorted({entry["labels"]["alertname"] for entry in last.values() if entry["status"] != "resolved"})


def play() -> None:
    rules = Path("prometheus/rules.yml").read_text()
    severities = dict(re.findall(r"(?s)- alert: (\w+)\n.*?severity: (\w+)", rules))
    tests = Path("prometheus/slow-scrape.test.yml").read_text().split("\n  - name: ")
    plays = [Play(next(test for test in tests if test.startswith(name))) for name in PLAYED]
    missing = severities.keys() - set().union(*(play.alerts for play in plays))
    assert not missing, f"no failure raises {missing}"

    (DIR / "rules.yml").write_text(faster(rules))
    target = exporter(plays)
    alertmanager = start_alertmanager(DIR, serve(Receiver), ("1s", "1s", "1s"), inhibit=False)
    # A Prometheus for each, because some rules sum over all instances.
    for number, _ in enumerate(plays):
        config = {
            "global": {
                "scrape_interval": f"{EVERY * 1000:.0f}ms", "scrape_timeout": f"{EVERY * 1000:.0f}ms",
                "evaluation_interval": f"{EVERY * 1000:.0f}ms", "external_labels": {"replay": str(number)},
            },
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
            # honor_labels: the samples have their own job, instance and even `up`.
            "scrape_configs": [{
                "job_name": "replay", "honor_labels": True, "metrics_path": f"/{number}",
                "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }],
        }  # fmt: skip
        (DIR / f"prometheus-{number}.yml").write_text(json.dumps(config))
        start_prometheus(DIR, f"prometheus-{number}")

    for alert, severity in sorted(severities.items()):
        expect(alert, "firing", severity, 0)
    for alert, severity in sorted(severities.items()):
        expect(alert, "resolved", severity, 0)
    for number, _ in enumerate(plays):
        eventually(f"all of play {number} resolved", lambda: not all_resolved(number))
    print(f"all {len(severities)} alerts arrive and resolve", flush=True)


with cleaned_up():
    play()
