"""The load: wrk for a closed loop, h2load for a fixed rate, `millrace load` where it is itself what is
measured. It gives back what the tool counted and refuses to guess: output that it cannot read is an
error, with the output in it."""

import json
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPORT_SCRIPT = Path(__file__).with_name("report.lua")


class LoadError(Exception):
    """The tool failed or its report could not be read."""


@dataclass(frozen=True)
class Load:
    """What one run of the tool counted. Latencies in microseconds. In a closed loop they are those
    of a saturated system and leave out what was never sent (coordinated omission)."""

    requests: int
    failures: int
    seconds: float
    bytes: int
    p50: float
    p99: float


def command_for(row, port, cpu, seconds, log):
    """The command line, pinned. `seconds` is a whole number: wrk takes no other."""
    url = f"{row.scheme}://127.0.0.1:{port}{row.path}"
    pinned = ["taskset", "-c", str(cpu)]
    if row.rate is None:
        return pinned + ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s",
                         "-s", str(REPORT_SCRIPT), url]
    each = row.rate / row.connections
    return pinned + ["h2load", "--h1", "-t1", f"-c{row.connections}", f"-D{seconds}s",
                     f"--rps={each:g}", f"--log-file={log}", url]


def run_h2load(row, port, cpu, seconds, in_flight):
    """h2load in a closed loop over HTTP/2. Raises LoadError. It tells no percentiles without a log
    of every request, which would be a part of its cost: they are not numbers."""
    command = ["taskset", "-c", str(cpu), "h2load", "-t1", f"-c{row.connections}", f"-m{in_flight}",
               f"-D{seconds}", f"{row.scheme}://127.0.0.1:{port}{row.path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    made = _parse_h2load(done.stdout, None) if done.returncode == 0 else None
    if made is None:
        raise LoadError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return made


def millrace_command(binary, engine, row, port, cpu, seconds, result, more=()):
    """`millrace load` in the place of wrk: the same connections, one thread, no warm-up."""
    url = f"{row.scheme}://127.0.0.1:{port}{row.path}"
    command = ["taskset", "-c", str(cpu), str(binary), "load", "--engine", engine, "--threads", "1",
               "--connections", str(row.connections), "--duration", f"{seconds}s", "--warm-up", "0s",
               "--no-progress", "--json", str(result)]
    return command + (["--insecure"] if row.scheme == "https" else []) + [*more, url]


def run_millrace(binary, engine, row, port, cpu, seconds, result, more=()):
    """Runs it to its end. Raises LoadError."""
    command = millrace_command(binary, engine, row, port, cpu, seconds, result, more)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise LoadError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    with open(result) as file:
        said = json.load(file)
    if said["engine"] != engine:
        raise LoadError(f"millrace load ran on {said['engine']} instead of {engine}")
    latency = said["latency"]
    return Load(said["completed"], sum(said["failures"].values()), said["seconds"],
                said["bytesReceived"], latency["p50"] / 1000, latency["p99"] / 1000)


def run(row, port, cpu, seconds, log):
    """Runs the tool to its end. Raises LoadError."""
    command = command_for(row, port, cpu, seconds, log)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise LoadError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    parse = _parse_wrk if row.rate is None else _parse_h2load
    load = parse(done.stdout, log)
    if load is None:
        raise LoadError(f"{' '.join(command)}: no readable report\n{done.stdout}{done.stderr}")
    return load


def _parse_wrk(output, _log):
    found = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if not found:
        return None
    said = json.loads(found.group(1))
    # wrk counts a response with status 400 or more among the requests, and again as an error.
    failures = sum(said[key] for key in ("connect", "read", "write", "timeout", "status"))
    return Load(said["requests"], failures, said["microseconds"] / 1e6, said["bytes"],
                said["p50"], said["p99"])


def _parse_h2load(output, log):
    finished = re.search(r"^finished in ([\d.]+)(ms|s),", output, re.MULTILINE)
    counts = re.search(r"^requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored,"
                       r" (\d+) timeout", output, re.MULTILINE)
    traffic = re.search(r"^traffic: \S+ \((\d+)\) total", output, re.MULTILINE)
    if not (finished and counts and traffic):
        return None
    seconds = float(finished.group(1)) / (1000 if finished.group(2) == "ms" else 1)
    _done, succeeded, failed, _errored, _timeout = map(int, counts.groups())
    if log is None:
        return Load(succeeded, failed, seconds, int(traffic.group(1)), math.nan, math.nan)
    with open(log) as file:
        micros = sorted(int(line.split("\t")[2]) for line in file)
    if not micros:
        return None
    return Load(succeeded, failed, seconds, int(traffic.group(1)),
                percentile(micros, 0.50), percentile(micros, 0.99))


def percentile(ordered, share):
    """The value that `share` of the ascending values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
