"""A comparison as `millrace compare --json` writes it, without the machine time: plausible figures
from a seed, with known differences between the subjects.
"""

import math
import random

SUMMARY = {
    "count": 0, "minimum": 0, "maximum": 0, "mean": 0.0, "deviation": 0.0, "p50": 0, "p75": 0,
    "p90": 0, "p95": 0, "p99": 0, "p999": 0, "p9999": 0, "histogram": [],
}

#: Relative to the first: CPU, latency, memory, system calls per request; version; tuned.
SUBJECTS = {
    "epoll": dict(kind="variant", engine="epoll", cpu=1.0, latency=1.0, memory=1.0, calls=4.1),
    "io_uring": dict(
        kind="variant", engine="io_uring", cpu=0.86, latency=0.88, memory=1.4, calls=0.6),
    "io_uring+sqpoll": dict(
        kind="variant", engine="io_uring", options={"sqpoll": "true"}, cpu=1.25, latency=0.97,
        memory=1.41, calls=0.2),
    "nginx (tuned)": dict(
        kind="peer", version="1.22.1", cpu=1.12, latency=1.1, memory=0.7, calls=9.3, tuned=True),
    "haproxy (defaults)": dict(
        kind="peer", version="2.6.12", cpu=1.31, latency=1.05, memory=2.6, calls=7.9),
}


def summary(source, median_nanoseconds, spread, count):
    """A distribution with a tail, as its histogram says it."""
    places = {}
    for _ in range(4000):
        value = median_nanoseconds * math.exp(source.gauss(0, spread))
        if source.random() < 0.01:
            value *= 2 + source.expovariate(0.7)
        # Three digits that matter, as the histogram keeps them.
        digits = 10 ** max(0, int(math.log10(value)) - 2)
        place = int(value / digits) * digits
        places[place] = places.get(place, 0) + max(1, count // 4000)
    ordered = sorted(places)
    total = sum(places.values())

    def at(share):
        below = 0
        for place in ordered:
            below += places[place]
            if below >= share * total:
                return place
        return ordered[-1]

    mean = sum(place * places[place] for place in ordered) / total
    return {
        "count": total, "minimum": ordered[0], "maximum": ordered[-1], "mean": mean,
        "deviation": mean * spread, "p50": at(0.5), "p75": at(0.75), "p90": at(0.9),
        "p95": at(0.95), "p99": at(0.99), "p999": at(0.999), "p9999": at(0.9999),
        "histogram": [[place, places[place]] for place in ordered],
    }


def load(source, rate, is_open, latency):
    seconds = 3.0
    completed = int(rate * seconds)
    times = summary(source, latency, 0.35, completed)
    return {
        "schema": 1, "command": ["millrace", "load"], "started": "2026-01-02T03:04:05Z",
        "engine": "io_uring", "threads": 1, "connections": 64,
        "pacing": "constant" if is_open else "closed",
        **({"plannedRate": rate} if is_open else {}), "offeredRate": rate, "completedRate": rate,
        "seconds": seconds, "planned": completed, "sent": completed, "completed": completed,
        "failures": {}, "examples": {}, "slowReaderResponses": 0,
        "slowReaderFailures": 0, "statuses": {"200": completed}, "bytesReceived": completed * 1180,
        "bytesSent": completed * 90, "connectionsOpened": 0, "handshakes": 0,
        "handshakesResumed": 0, "connectTime": dict(SUMMARY), "latency": times,
        "uncorrected": dict(times, histogram=[]), "delay": dict(SUMMARY), "requests": [],
        "processorSeconds": 1.2, "busiestThread": 0.5, "intervals": [],
    }


def measurement(source, number, stage, name, drift):
    facts = SUBJECTS[name]
    noise = lambda size=0.012: math.exp(source.gauss(0, size))
    is_open = stage["kind"] == "rate"
    rate = stage["rate"] if is_open else 15000 / facts["cpu"] / drift * noise()
    strain = 1 + (rate / 16000) ** 2 if is_open else 9.0
    figures = load(source, rate, is_open, 310_000 * facts["latency"] * strain * drift * noise(0.03))
    completed = figures["completed"]
    process = 62e-6 * facts["cpu"] * completed * drift * noise()
    busy = min(0.99, process / 3) if is_open else 0.99
    made = {
        "round": number, "stage": stage["name"], "subject": name, "load": figures,
        "processSeconds": process, "userSeconds": process * 0.31, "systemSeconds": process * 0.68,
        "machineSeconds": process + 41e-6 * completed * drift * noise(),
        "processorBusy": {"0": busy, "1": 0.55 + 0.2 * source.random()}, "proxyBusy": busy,
        "contextSwitches": int(completed * 0.2 * noise()), "involuntarySwitches": 40,
        "systemCalls": int(completed * facts["calls"] * noise(0.004)),
        "residentBytes": int(11e6 * facts["memory"] * noise(0.004)),
    }
    if facts["kind"] == "variant":
        made |= {
            "turns": int(completed * 0.45 * noise()), "completions": int(completed * 4.4 * noise()),
            "completionQueueOverflows": 0, "auditRecords": completed,
            "auditCommits": int(completed / 17 * noise()),
        }
    return made


def make(seed=1, names=("epoll", "io_uring", "nginx (tuned)"), rounds=8):
    """The whole comparison, without ratios and verdict: millrace makes those."""
    source = random.Random(seed)
    stages = [
        {"name": "maximum", "kind": "maximum", "reason": "closed loop, 64 connections"},
        {"name": "equal load", "kind": "rate", "rate": 8400.0,
         "reason": "70% of the slowest subject's maximum"},
        {"name": "high load", "kind": "rate", "rate": 11000.0,
         "reason": "90% of the baseline's maximum"},
    ]
    measurements = []
    for number in range(rounds):
        for stage in source.sample(stages, len(stages)):
            for name in source.sample(names, len(names)):
                drift = (1 + 0.02 * number) * math.exp(source.gauss(0, 0.004))
                measurements.append(measurement(source, number, stage, name, drift))
    return {
        "schema": 1, "started": "2026-01-02T03:04:05Z", "seconds": 287.0, "version": "0.1.0",
        "command": ["millrace", "compare", "--peers", "nginx"], "seed": seed,
        "machine": machine(),
        "findings": [{
            "severity": "warning",
            "text": "The machine is virtual: another guest's work shows as noise here. Prefer one "
                    "that is not, or run more rounds.",
        }],
        "workload": workload(), "subjects": [subject(name) for name in names], "baseline": names[0],
        "stages": stages, "measurements": measurements, "ratios": [],
        "verdict": {"headline": "", "reasons": [], "wouldChange": []},
    }


def machine():
    return {
        "kernel": "6.18.0", "distribution": "Debian GNU/Linux 12 (bookworm)",
        "processor": "Intel(R) Xeon(R) Platinum 8488C", "processors": [0, 1],
        "proxyProcessors": [0], "loadProcessors": [1], "memoryBytes": 24_000_000_000,
        "settings": {"governor": "unknown", "virtualisation": "hypervisor", "cgroup quota": "none"},
        "features": {"io_uring": "on", "buffer_rings": "on",
                     "ktls": "refused: ENOENT (no kernel TLS)", "submission_thread": "off"},
    }


def workload():
    return {
        "name": "seed", "description": "TLS termination, keep-alive, 64 connections, 1 KiB, audit",
        "loadArguments": ["https://127.0.0.1:34567/bytes/1024", "--connections", "64"],
        "originArguments": ["--listen", "127.0.0.1:34568"], "files": {},
    }


def subject(name):
    facts = SUBJECTS[name]
    made = {
        "name": name, "kind": facts["kind"], "options": facts.get("options", {}),
        "program": "millrace" if facts["kind"] == "variant" else name.split()[0],
        "version": facts.get("version", "0.1.0"), "arguments": ["run", "millrace.yaml"],
        "configurations": {"millrace.yaml": "engine: auto\nlisteners:\n  - address: 127.0.0.1:0\n"},
        "isTuned": facts.get("tuned", False),
    }
    if "engine" in facts:
        made["engine"] = facts["engine"]
    return made


def slowed(comparison, name, microseconds):
    """The same run with so much more CPU time per request of one subject."""
    for m in comparison["measurements"]:
        if m["subject"] == name:
            added = microseconds * 1e-6 * m["load"]["completed"]
            m["processSeconds"] += added
            m["machineSeconds"] += added
    return comparison
