"""What happens in the course of a day, one step after the other: reloads, certificates, servers, upgrades."""

import copy
import pathlib
import signal
import tempfile
import time
import traceback

import measures
from clients import HTTP1
from harness import certificates, configuration, ports, settings, wire
from harness.auditlog import AuditLog
from harness.proxy import Proxy, is_listening, run_to_end

CHANGES = (
    "listener_added", "server_added", "listener_removed", "server_removed", "upstream_added", "upstream_removed")
"""Of the good reloads, in turn."""
BROKEN = ("syntax", "unknown_key", "missing_upstream", "fixed_key", "certificate", "port_in_use")
TRIGGERS = ("sighup", "ctl", "watch")
EVERY_BROKEN = 5
VERIFICATIONS = 3
"""Of the audit log while it is written."""


def planned(options):
    """[(fraction of the day, step, number)], evenly spread."""
    counts = {
        "reload": options.reloads, "rotate": options.rotations, "drain": options.drains, "kill": options.kills,
        "verify": VERIFICATIONS}
    # Beside each other rather than at the same time.
    offsets = {"reload": 0.5, "rotate": 0.3, "drain": 0.65, "kill": 0.8, "verify": 0.9}
    steps = [
        ((number + offsets[step]) / count, step, number)
        for step, count in counts.items() for number in range(count)]
    steps += [((number + 1) / (options.upgrades + 1), "upgrade", number) for number in range(options.upgrades)]
    return sorted(steps)


class Steps:
    def __init__(self, day):
        self.day = day
        self.good = 0
        self.refused = 0
        self.listeners = []
        self.upstreams = []

    def run(self, step, number):
        """A step that fails is a failure of the day, which goes on."""
        began = time.monotonic()
        try:
            told = getattr(self, step)(number)
        except Exception as error:  # noqa: BLE001 - all of them are failures
            self.day.ledger.write(traceback.format_exc().partition("--- end of the proxy's log")[0])
            told = str(error).partition("--- end of the proxy's log")[0] or repr(error)
            self.day.ledger.fail(f"step {step} {number + 1}", " ".join(told.split())[:1500], began)
            return
        self.day.figures[f"{step}s"] += 1
        self.day.ledger.event(f"{step} {number + 1} done after {time.monotonic() - began:.2f} s{told or ''}")

    # Reloads

    def reload(self, number):
        trigger = TRIGGERS[number % len(TRIGGERS)]
        if number % EVERY_BROKEN == EVERY_BROKEN - 1:
            return self.reload_broken(number // EVERY_BROKEN, trigger)
        change = CHANGES[self.good % len(CHANGES)]
        self.good += 1
        self.day.ledger.event(f"reload {number + 1}: {change} by {trigger}")
        config = copy.deepcopy(self.day.config)
        config["via"] = f"day-{number + 1}"
        after = getattr(self, change)(config)
        self.put_in_force(config, trigger)
        after()

    def put_in_force(self, config, trigger):
        """Writes a configuration and waits until it is the one that serves."""
        day = self.day
        before = day.admin.json("/status")["generation"]
        count = len(day.proxy.find("configuration reloaded"))
        day.write(config)
        self.trigger(trigger, succeeds=True)
        day.proxy.wait_for("configuration reloaded", count=count + 1)
        generation = day.admin.json("/status")["generation"]
        assert generation == before + 1, f"generation {before}, then {generation}"
        day.config = config
        via = day.probe().get("via")
        assert config["via"] in via, f"Via: {via} instead of {config['via']}"

    def trigger(self, trigger, succeeds):
        day = self.day
        if trigger == "sighup":
            day.proxy.signal(signal.SIGHUP)
        elif trigger == "ctl":
            code, out, errors = run_to_end(["ctl", "reload", "--address", day.admin.address])
            assert (code == 0) == succeeds, f"ctl reload: exit {code}: {out}{errors}"

    def reload_broken(self, number, trigger):
        day = self.day
        kind = BROKEN[number % len(BROKEN)]
        day.ledger.event(f"broken reload: {kind} by {trigger}")
        config = copy.deepcopy(day.config)
        config["via"] = "broken"
        text, named = getattr(self, f"broken_{kind}")(config)
        before, force = day.admin.json("/status")["generation"], day.admin.get("/config")[2]
        count = len(day.proxy.find("configuration rejected"))
        at = day.proxy.log_path.stat().st_size
        day.write(text)
        self.trigger(trigger, succeeds=False)
        line = day.proxy.wait_for("configuration rejected", count=count + 1)
        assert line["generation"] == str(before), line.text
        with open(day.proxy.log_path, "rb") as log:
            log.seek(at)
            told = log.read().decode()
        assert named in told, f"nothing of {named!r} in the log: {told}"
        assert day.admin.json("/status")["generation"] == before, "another generation is in force"
        assert day.admin.get("/config")[2] == force, "another configuration is in force"
        via = day.probe().get("via")
        assert day.config["via"] in via, f"Via: {via}"
        # Or the next certificate would be refused with it.
        day.write(day.config)
        self.refused += 1

    def broken_syntax(self, _):
        return "listeners: [}\n", f"{self.day.file.name}:1:"

    def broken_unknown_key(self, config):
        config["listenres"] = []
        return config, "listenres"

    def broken_missing_upstream(self, config):
        config["routes"][0]["upstream"] = "nowhere"
        return config, "nowhere"

    def broken_fixed_key(self, config):
        config["workers"] += 1
        return config, "workers"

    def broken_certificate(self, config):
        key = self.day.folder / "missing.key"
        config["listeners"][1]["tls"]["certificates"][0]["key"] = str(key)
        return config, str(key)

    def broken_port_in_use(self, config):
        config["listeners"].append(configuration.listener(self.day.lasting.port, name="taken"))
        return config, "is in use"

    # What comes and goes with a reload. Each returns what is to be checked once it is in force.

    def listener_added(self, config):
        port = ports.free_port()
        name = f"guest-{self.good}"
        config["listeners"].append(configuration.listener(port, name=name))

        def after():
            guest = HTTP1(name, self.day.ledger, 0.1, port, obeys_once=True)
            guest.start()
            self.listeners.append((name, port, guest))

        return after

    def listener_removed(self, config):
        name, port, guest = self.listeners.pop(0)
        config["listeners"] = [listener for listener in config["listeners"] if listener["name"] != name]
        return lambda: self.check_listener_is_gone(name, port, guest)

    def check_listener_is_gone(self, name, port, guest):
        guest.join(settings.HANG)
        assert not guest.is_alive(), f"{name} is not told to leave"
        assert self.day.ledger.told_to_leave[name] == 1, f"{name} did not end by Connection: close"
        self.day.wait(lambda: port not in measures.listening_ports(), f"port {port} still listens")
        assert not is_listening(port), f"port {port} can be connected to"

    def server_added(self, config):
        server = self.day.new_server()
        config["upstreams"]["steady"]["servers"].append(server.address)

        def after():
            self.day.steady.append(server)
            server.wait_for(lambda state: state["answered"] > 0, "a server that was added gets nothing")

        return after

    def server_removed(self, config):
        server = self.day.steady.pop(0)
        config["upstreams"]["steady"]["servers"].remove(server.address)
        return lambda: self.stop_when_quiet(server)

    def stop_when_quiet(self, server):
        server.wait_until_quiet(self.day.wait_for_answers)
        server.stop()

    def upstream_added(self, config):
        name, server = f"extra-{self.good}", self.day.new_server()
        config["upstreams"][name] = self.day.upstream([server])
        config["routes"].append({"match": {"path": f"/{name}"}, "upstream": name})

        def after():
            self.upstreams.append((name, server))
            self.day.probe(name)

        return after

    def upstream_removed(self, config):
        name, server = self.upstreams.pop(0)
        del config["upstreams"][name]
        config["routes"] = [route for route in config["routes"] if route["upstream"] != name]
        return lambda: self.stop_when_quiet(server)

    def back_to_the_first(self):
        """Everything that came goes, and the servers of the first configuration are those that are there now."""
        day = self.day
        config = copy.deepcopy(day.first_config)
        config["upstreams"]["steady"]["servers"] = [server.address for server in day.steady]
        day.ledger.event("the last reload")
        config["via"] = "day-last"
        self.put_in_force(config, "sighup")
        for name, port, guest in self.listeners:
            self.check_listener_is_gone(name, port, guest)
        for _, server in self.upstreams:
            self.stop_when_quiet(server)

    # Certificates

    def rotate(self, number):
        day = self.day
        trigger = ("sighup", "watch")[number % 2]
        day.ledger.event(f"certificate {number + 1} by {trigger}")
        began = time.monotonic()
        certificate = day.put_certificate()
        self.trigger(trigger, succeeds=True)
        day.wait(lambda: day.shown_certificate() == certificate, "the new certificate is not shown")
        return f", shown {time.monotonic() - began:.2f} s after it was written"

    # Servers

    def drain(self, number):
        """Taken out by the operator, stopped, started and taken in again."""
        day = self.day
        server = day.steady[number % len(day.steady)]
        name = f"steady/{server.address}"
        day.ledger.event(f"drain {name}")
        self.set_state(name, "drain")
        self.stop_when_quiet(server)
        day.wait_for_answers()
        server.start()
        self.set_state(name, "up")
        server.wait_for(lambda state: state["answered"] > 0, "a server that is up again gets nothing")

    def set_state(self, name, state):
        code, out, errors = run_to_end(["ctl", "server", name, state, "--address", self.day.admin.address])
        assert code == 0, f"ctl server: exit {code}: {out}{errors}"

    def kill(self, number):
        """Dies without a word while it serves requests that are safe to repeat."""
        day = self.day
        server = day.fragile[number % len(day.fragile)]
        day.ledger.event(f"kill {server.address}")
        server.kill()
        day.wait_for_answers(60)
        server.start()
        server.wait_for(lambda state: state["answered"] > 0, "a server that is there again gets nothing")

    # The audit log

    def verify(self, _):
        """While it is written, its end may be without a seal (3)."""
        code, told = AuditLog(self.day.audit).verify()
        assert code in (0, 3), f"exit {code}: {told}"

    # Upgrades

    def upgrade(self, number):
        day = self.day
        old = day.proxy
        self.upgrade_that_fails(old)
        day.ledger.event(f"upgrade {number + 1}")
        context, session = self.session()
        count = sum(tunnel.process is old for tunnel in day.tunnels)
        began = time.monotonic()
        new = day.start_process(["run", str(day.file), "--upgrade"], day.options.upgrade_to)
        new.wait_for("upgrade done")
        old.wait_for("draining", reason="upgrade")
        seconds = time.monotonic() - began
        assert day.admin.json("/status")["pid"] == new.pid, "the admin socket is not the new process's"
        with day.secure_connection(context, session) as client:
            assert client.session_reused, "a session of the old process is not resumed"
        day.probe()
        day.ledger.event(f"upgrade {number + 1}: the new process serves; the old one drains")
        # Its workers end one by one.
        day.wait(lambda: measures.connections(old) == count, f"the old process has more than its {count} tunnels", 60)
        day.open_tunnel(("plain", "h2", "tls")[number % 3])
        return f", which serves after {seconds:.2f} s; the old one has {count} tunnels"

    def session(self):
        """A session of the process that serves."""
        context = certificates.authority().client()
        with self.day.secure_connection(context) as client:
            # TLS 1.3: the ticket comes behind the handshake.
            self.day.exchange(wire.Wire(client))
            return context, client.session

    def upgrade_that_fails(self, old):
        """One that cannot open a listener leaves the old process serving."""
        day = self.day
        day.ledger.event("upgrade that fails")
        config, _ = self.broken_port_in_use(copy.deepcopy(day.config))
        with tempfile.TemporaryDirectory() as folder:
            process = Proxy(pathlib.Path(folder), config)
            process.command.append("--upgrade")
            process.spawn()
            code = process.wait()
            told = process.log_path.read_text()
        assert code in (1, 2) and "is in use" in told, f"exit {code}: {told}"
        status = day.admin.json("/status")
        assert (status["pid"], status["phase"]) == (old.pid, "serving"), status["phase"]
        day.probe()
