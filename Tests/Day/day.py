"""A day of one proxy: the servers behind it, its configuration, its clients, and what must be so at the end."""

import collections
import copy
import json
import os
import pathlib
import re
import shutil
import ssl
import tempfile
import time

import exchanges
import measures
from clients import HTTP1, HTTP2, Curl, Tunnel
from harness import certificates, configuration, ports, settings, wire
from harness.admin import Admin
from harness.admin import series as metrics_series
from harness.auditlog import AuditLog
from harness.proxy import Proxy
from ledger import Ledger
from servers import Server

MEMORY_BOUND = 8 << 20
"""Bytes by which a process may grow behind its warm-up. Measured in days of ten minutes: 1 MiB with epoll and 3 MiB with
io_uring, whose receive buffers are touched one by one, and level after two minutes. 120 bytes that each request leaves
behind would be above it in a day without an upgrade."""

SEGMENTS_OF_WORKER = 3
"""Descriptors of audit segments: the one that is written, the next one, and one that is being closed."""


def entries(log):
    """Each line of the audit log; without the padding between them, which is most of it at a modest rate."""
    for segment in log.segments():
        for line in re.finditer(rb"[^\n]+", segment.read_bytes()):
            yield json.loads(line[0])


class Day:
    def __init__(self, engine, options, folder):
        self.engine = engine
        self.options = options
        self.folder = folder
        self.ledger = Ledger(folder / "day.log")
        self.sampler = measures.Sampler()
        self.audit = folder / "audit"
        self.file = folder / "millrace.yaml"
        self.site = (folder / "site.pem", folder / "site.key")
        # Short: the kernel takes 107 bytes for the path of a socket.
        self.control = pathlib.Path(tempfile.mkdtemp(prefix="mr-"))
        self.admin = Admin(f"unix:{self.control}/a.sock")
        self.servers = []
        self.processes = []
        self.serving_since = {}
        self.replaced_at = {}
        self.clients = []
        self.tunnels = []
        self.probes = 0
        self.figures = collections.Counter()
        self.notes = []

    @property
    def proxy(self):
        """The process that serves."""
        return self.processes[-1]

    # Before

    def start(self):
        self.put_certificate()
        self.steady = [self.new_server() for _ in range(2)]
        self.fragile = [self.new_server() for _ in range(2)]
        self.lasting = self.new_server()
        self.port, self.tls_port = ports.free_port(), ports.free_port()
        secure = configuration.listener(self.tls_port, tls=[self.site], name="edge-tls")
        secure["http_versions"] = ["h2", "http/1.1"]
        self.config = {
            "engine": self.engine,
            "workers": 2,
            "listeners": [configuration.listener(self.port), secure],
            "routes": [
                {"match": {"path": f"/{name}"}, "upstream": name} for name in ("steady", "fragile", "lasting")],
            "upstreams": {
                "steady": self.upstream(self.steady),
                "fragile": self.upstream(self.fragile, retries={"attempts": 2}),
                "lasting": self.upstream([self.lasting]),
            },
            "audit": {"directory": str(self.audit), "segment": {"size": "1MiB", "age": "5s"}},
            "admin": {"address": self.admin.address},
            # Below it, all of a segment of 1 MiB could be reserved for open requests.
            "limits": {"connections": 1000},
            "drain": {"deadline": "30s"},
            "reload": {"watch": True},
            "via": "day-0",
        }
        self.first_config = copy.deepcopy(self.config)
        self.write(self.config)
        self.start_process(["run", str(self.file)])
        self.sampler.start()
        # What is opened once, by the first of its kind, is open.
        for _ in range(20):
            self.probe()
            self.probe(tls=True)
        self.at_rest = self.rest()

    def new_server(self):
        self.servers.append(Server())
        return self.servers[-1]

    def upstream(self, servers, **others):
        # Short, so that pooled connections come and go, too.
        return configuration.upstream(*(s.port for s in servers), timeouts={"idle": "2s"}, **others)

    def start_process(self, arguments, binary=None):
        folder = self.folder / f"process-{len(self.processes) + 1}"
        folder.mkdir()
        process = Proxy(folder, arguments=arguments)
        process.file = self.file
        if binary:
            process.command[process.command.index(settings.BINARY)] = binary
        process.start()
        if self.processes:
            self.replaced_at[self.proxy.pid] = time.monotonic()
        self.processes.append(process)
        self.serving_since[process.pid] = time.monotonic()
        self.sampler.watch(process.pid)
        expected = settings.EXPECTED_ENGINE if self.engine == "auto" else self.engine
        assert process.engine == expected, f"{process.engine} instead of {expected}"
        return process

    def start_clients(self):
        """The rate, by client: a third over HTTP/1.1 on kept connections, a third on new ones, a third over HTTP/2."""
        ledger, rate = self.ledger, self.options.rate
        pace = 6 / rate
        self.clients = [
            HTTP1("kept", ledger, pace, self.port), HTTP1("kept-tls", ledger, pace, self.tls_port, tls=True),
            HTTP1("new", ledger, pace, self.port, keeps=False),
            HTTP1("new-tls", ledger, pace, self.tls_port, tls=True, keeps=False),
            # Seldom enough that its connection is often idle.
            HTTP1("seldom", ledger, 1.5, self.port),
            HTTP2("h2-a", ledger, pace * HTTP2.BATCH, self.tls_port),
            HTTP2("h2-b", ledger, pace * HTTP2.BATCH, self.tls_port),
            # Responses that take a second: some are always in progress.
            HTTP1("slow", ledger, 1.2, self.port, is_slow=True),
            HTTP2("slow-h2", ledger, 1.2, self.tls_port, is_slow=True),
            Curl("curl", ledger, 3, self.tls_port),
        ]
        for client in self.clients:
            client.start()
        for over in ("plain", "tls", "h2"):
            self.open_tunnel(over)

    def open_tunnel(self, over):
        name = f"tunnel-{len(self.tunnels) + 1}-{over}"
        port = self.port if over == "plain" else self.tls_port
        tunnel = Tunnel(name, self.ledger, 0.25, port, over)
        tunnel.process = self.proxy
        self.tunnels.append(tunnel)
        tunnel.start()

    # What steps need

    def write(self, config):
        """As a careful tool does: beside the file, then in its place."""
        text = config if isinstance(config, str) else configuration.render(config) + "\n"
        new = self.file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.rename(new, self.file)

    def put_certificate(self):
        """A new pair in the place of the old one. - Returns: the certificate's text."""
        pair = certificates.authority().issue("site.test", "localhost")
        for source, place in zip(pair, self.site):
            new = place.with_name(place.name + ".new")
            shutil.copy(source, new)
            os.rename(new, place)
        return pair[0].read_text().strip()

    def secure_connection(self, context=None, session=None):
        raw = wire.socket.create_connection(("127.0.0.1", self.tls_port), settings.HANG)
        context = context or certificates.authority().client()
        return context.wrap_socket(raw, server_hostname="site.test", session=session)

    def shown_certificate(self):
        with self.secure_connection() as client:
            return ssl.DER_cert_to_PEM_cert(client.getpeercert(True)).strip()

    def probe(self, upstream="steady", tls=False, port=None):
        """One request of the campaign's own. - Returns: the response."""
        context = certificates.authority().client() if tls else None
        with wire.Wire.connect(
            port or (self.tls_port if tls else self.port), tls=context, name="site.test" if tls else None
        ) as connection:
            return self.exchange(connection, upstream)

    def exchange(self, connection, upstream="steady"):
        self.probes += 1
        path = f"/{upstream}/probe/{self.probes}/get/100"
        began = time.monotonic()
        response = connection.send(wire.get(path)).response()
        assert (response.status, response.body) == (200, exchanges.content(path)), response
        self.ledger.answer("probe", path, time.monotonic() - began)
        return response

    def wait(self, condition, what, limit=settings.HANG):
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    def wait_for_answers(self, count=30):
        """Until so many more requests have been answered."""
        goal = self.ledger.count() + count
        self.wait(lambda: self.ledger.count() >= goal, "nothing is answered")

    def rest(self):
        """Descriptors by kind once nothing is connected."""
        self.proxy.settle({"connections": 0, "exchanges": 0, "upstream_connections": 0})
        return measures.descriptors(self.proxy.pid, self.audit)

    # The end

    def stop_clients(self):
        for client in self.clients:
            client.ends.set()
        for client in self.clients:
            client.join(2 * settings.HANG)
            self.require(not client.is_alive(), f"client {client.name} hangs")

    def close_tunnels(self):
        for tunnel in self.tunnels:
            tunnel.ends.set()
        for tunnel in self.tunnels:
            tunnel.join(2 * settings.HANG)
            self.require(not tunnel.is_alive(), f"{tunnel.name} hangs")
            self.require(tunnel.messages > 0, f"{tunnel.name} echoed nothing")

    def require(self, condition, what):
        if not condition:
            self.ledger.fail("end", what)

    def judge_processes(self):
        """Those that were replaced end by themselves with their last tunnel; the last one holds what the first one
        held at rest."""
        for process in self.processes[:-1]:
            code = process.wait()
            process.ended_by_test = True
            self.require(code == 0, f"process {process.pid}: exit {code}")
            self.require(process.find("stopped"), f"process {process.pid} did not say that it stopped")
            lines = process.lines()
            drains = [at for at, line in enumerate(lines) if line.matches("draining", {"reason": "upgrade"})]
            behind = lines[drains[0]:] if drains else []
            self.require(
                not [line for line in behind if line.message.startswith("configuration")],
                f"process {process.pid} reads its configuration though another one serves")
        now = self.rest()
        ours = {self.port, self.tls_port, *(server.port for server in self.servers)}
        left = measures.open_connections(ours)
        self.require(not left, f"connections at rest, by state: {left}")
        limit = SEGMENTS_OF_WORKER * self.config["workers"]
        self.require(now["segments"] <= limit, f"{now['segments']} segments of the audit log are open")
        kinds = {kind: (self.at_rest[kind], now[kind]) for kind in {*now, *self.at_rest} - {"segments"}}
        grown = {kind: pair for kind, pair in kinds.items() if pair[0] != pair[1]}
        self.require(not grown, f"descriptors at rest, before and after: {grown}")
        self.notes.append(f"descriptors at rest, but for segments of the audit log: {sum(self.at_rest.values()) - self.at_rest['segments']}, "
            f"then {sum(now.values()) - now['segments']}")
        figures = metrics_series(self.admin.metrics()[1])
        plans = [value for (name, *_), value in figures.items() if name == "millrace_plans"]
        self.require(set(plans) == {1}, f"configurations in use, by worker: {plans}")
        status = self.admin.json("/status")
        self.notes.append(f"audit, last process: {status['audit']['records']} records, {status['audit']['commits']} commits")

    def judge_memory(self):
        ended = time.monotonic()
        warm = self.options.warm_up
        for process in self.processes:
            pid, since = process.pid, self.serving_since[process.pid]
            until = self.replaced_at.get(pid, ended)
            series = [f"{at - since:.0f}:{size / 2**20:.1f}" for at, size, _ in self.sampler.taken[pid]]
            self.ledger.write(f"memory of process {pid}, seconds:MiB: {' '.join(series[::5])}")
            first = self.sampler.memory(pid, since + warm, since + 2 * warm)
            last = self.sampler.memory(pid, until - warm, until)
            if first is None or last is None or until - since < 3 * warm:
                self.notes.append(f"memory of process {pid}: not judged, it served {until - since:.0f} s")
                continue
            self.notes.append(
                f"memory of process {pid}: {first / 2**20:.1f} MiB behind its warm-up, {last / 2**20:.1f} MiB "
                f"{until - since:.0f} s after its start; at most {self.sampler.descriptors_most(pid)} descriptors")
            self.require(
                last - first <= MEMORY_BOUND, f"process {pid} grew by {(last - first) / 2**20:.1f} MiB")
            self.figures["memory judged"] += 1
        self.require(self.figures["memory judged"] > 0, "memory was not judged: no process has served long enough")

    def judge_logs(self):
        odd = collections.Counter()
        for process in self.processes:
            process.check_log()
            for line in process.lines():
                if line.level in ("warning", "error", "critical"):
                    odd[f"{line.level} {line.message}" + (
                        f" reason={line['reason']}" if "reason" in line.pairs else "")] += 1
                self.require(line.level != "critical", line.text)
        self.notes += [f"log: {count} x {text}" for text, count in odd.most_common(12)]

    def judge_audit(self):
        log = AuditLog(self.audit)
        anchors = self.folder / "anchors"
        anchors.write_bytes(b"".join(process.log_path.read_bytes() for process in self.processes))
        for arguments in ((), ("--anchor", anchors)):
            code, told = log.verify(*arguments)
            self.require(code == 0, f"audit verify {arguments}: exit {code}: {told}")
        self.notes.append("audit verify: " + " ".join(told.split())[:200])
        recorded, open_records, endings = collections.Counter(), {}, collections.Counter()
        for entry in entries(log):
            kind = entry["kind"]
            if kind in ("exchange", "begin"):
                recorded[entry.get("path")] += 1
            if kind == "segment":
                run = entry["run"]
            elif kind == "begin":
                open_records[(run, entry["id"])] = entry.get("path")
            elif kind == "end":
                open_records.pop((run, entry["id"]), None)
            if kind in ("exchange", "end", "abort", "loss", "recovery"):
                endings[(kind, entry.get("ending"))] += 1
        self.require(not open_records, f"{len(open_records)} records have no end: {list(open_records.values())[:5]}")
        odd = {key: count for key, count in endings.items() if key not in (("exchange", "complete"), ("end", "complete"))}
        self.require(not odd, f"endings in the audit log: {odd}")
        answered = self.ledger.paths
        tunnels = {tunnel.path: 1 for tunnel in self.tunnels}
        missing = [path for path in {**answered, **tunnels} if recorded[path] == 0]
        self.require(not missing, f"{len(missing)} answered requests without a record: {missing[:5]}")
        twice = [path for path in answered if recorded[path] > answered[path]]
        self.require(not twice, f"{len(twice)} requests recorded more often than answered: {twice[:5]}")
        others = [path for path in recorded if path not in answered and path not in tunnels]
        self.require(not others, f"{len(others)} records of requests without an answer: {others[:5]}")
        self.figures["records"] = sum(recorded.values())
        self.figures["segments"] = len(log.segments())
        # The first one of each chain, and one more of each, at least.
        chains = {segment.name.partition("-")[0] for segment in log.segments()}
        self.require(len(log.segments()) >= 2 * len(chains), f"{len(log.segments())} segments of {len(chains)} chains")

    def finish(self):
        """All that is judged when the last step is done."""
        self.judge_memory()
        self.stop_clients()
        self.close_tunnels()
        self.judge_processes()
        self.ledger.event("stop")
        self.proxy.stop()
        self.require(self.port not in measures.listening_ports(), "the port listens behind the end")
        self.judge_logs()
        self.judge_audit()

    def clean_up(self):
        self.sampler.ends.set()
        for client in [*self.clients, *self.tunnels]:
            client.ends.set()
        for process in self.processes:
            if process.is_running:
                process.kill()
        for server in self.servers:
            if server.process.poll() is None:
                server.kill()
        self.ledger.close()
        shutil.rmtree(self.control, ignore_errors=True)
