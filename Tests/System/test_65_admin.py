"""Layer 6: the admin server. Who may ask, what it says of a running proxy, and what it changes: server states,
the log level, the end."""

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

from harness import configuration, ports, settings, wire
from harness.admin import Admin, with_admin
from harness.case import SystemCase, on_both_engines
from harness.http2server import Server, answer_all
from harness.proxy import run_to_end


@on_both_engines
class AdminServer(SystemCase):
    def started(self, *origin_ports, address=None, **options):
        config = self.settings_for(*origin_ports, **options)
        admin = with_admin(self, config, address)
        return self.start_proxy(config), admin

    def test_the_status_says_what_runs_and_what_it_has_done(self):
        origin = self.start_origin()
        proxy, admin = self.started(origin.port, workers=2, audit={"directory": str(self.folder / "log")})
        for _ in range(5):
            self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(self.fetch(proxy, b"BAD\r\n\r\n").status, 400)
        proxy.settle({"connections": 0, "exchanges": 0})
        status = admin.json("/status")
        self.assertEqual(status["phase"], "serving")
        self.assertEqual(status["engine"]["kind"], self.engine)
        self.assertEqual(status["pid"], proxy.pid)
        self.assertEqual(status["generation"], 1)
        self.assertEqual(len(status["workers"]), 2)
        self.assertEqual(status["totals"]["requests"], 6)
        self.assertEqual(sum(worker["requests"] for worker in status["workers"]), 6)
        listener = status["listeners"][0]
        self.assertEqual(listener["address"], f"127.0.0.1:{proxy.port}")
        self.assertEqual(listener["responses"], {"2xx": 5, "3xx": 0, "4xx": 1, "5xx": 0})
        upstream = status["upstreams"][0]
        self.assertEqual(upstream["name"], "origin")
        self.assertEqual(sum(upstream["duration"]["counts"]), 5)
        self.assertEqual(sum(upstream["first_byte"]["counts"]), 5)
        self.assertEqual(
            sum(upstream["connect"]["counts"]), status["totals"]["upstream_connects"])
        self.assertEqual(upstream["servers"][0]["state"], "up")
        self.assertEqual(status["routes"][0]["responses"]["2xx"], 5)
        self.assertEqual(status["terminations"], {"complete": 5, "bad_request": 1})
        self.assertEqual(status["audit"]["records"], 6)
        self.assertEqual(sum(status["audit"]["commit"]["counts"]), status["audit"]["commits"])
        names = {feature["name"] for feature in status["engine"]["features"]}
        self.assertIn("busy_poll", names)
        self.assertEqual("defer_taskrun" in names, self.engine == "io_uring")

    def test_a_status_does_not_disturb_what_the_workers_hold(self):
        origin = self.start_origin()
        proxy, admin = self.started(origin.port)
        before = self.warm(proxy)
        for _ in range(20):
            admin.json("/status")
            admin.metrics()
        proxy.settle(before)

    def test_health_and_readiness_through_a_drain(self):
        asked = threading.Event()

        def script(served):
            served.request()
            asked.set()
            time.sleep(1.5)
            served.answer(b"late")

        origin = self.start_origin(script)
        proxy, admin = self.started(origin.port)
        self.assertEqual(admin.get("/health")[0], 200)
        self.assertEqual(admin.get("/ready")[::2], (200, b"serving\n"))
        slow = self.connect(proxy)
        slow.send(wire.get("/slow"))
        self.assertTrue(asked.wait(settings.HANG))
        self.assertEqual(admin.post("/drain"), (202, {"phase": "draining"}))
        # At once, and not when the process's own thread has got to it.
        self.assertEqual(admin.get("/ready")[::2], (503, b"draining\n"))
        proxy.wait_for("draining", reason="admin")
        self.assertEqual(admin.get("/health")[0], 200)
        self.assertEqual(admin.post("/drain")[0], 409)
        self.assertEqual(slow.response().status, 200)
        proxy.ended_by_test = True
        self.assertEqual(proxy.wait(), 0)

    def test_a_server_that_is_drained_gets_no_new_request_and_comes_back(self):
        origins = [self.start_origin(), self.start_origin()]
        proxy, admin = self.started(*(origin.port for origin in origins), workers=2)
        names = [f"origin/127.0.0.1:{origin.port}" for origin in origins]

        def served(count):
            for origin in origins:
                origin.forget()
            for _ in range(count):
                self.assertEqual(self.fetch(proxy).status, 200)
            return [len(origin.requests) for origin in origins]

        self.assertTrue(all(served(20)))
        for state in ("drain", "maintenance"):
            answer = admin.post("/server", {"server": names[0], "state": state})
            self.assertEqual(answer, (200, {"server": names[0], "state": state}))
            shown = admin.json("/status")["upstreams"][0]["servers"]
            self.assertEqual([server["state"] for server in shown], [state, "up"])
            self.assertEqual(served(20), [0, 20], state)
        # With the other one out too there is none, and the answer says why.
        admin.post("/server", {"server": names[1], "state": "drain"})
        answer = self.fetch(proxy)
        self.assertEqual(answer.status, 503)
        self.assertIn(b"no_server_available", answer.body)
        for name in names:
            admin.post("/server", {"server": name, "state": "up"})
        self.assertTrue(all(served(20)))

    def test_maintenance_closes_idle_connections_at_once_and_leaves_a_request_in_progress(self):
        origin = self.start_origin()
        proxy, admin = self.started(
            origin.port, upstream={"timeouts": {"idle": "60s", "response": "60s"}})
        name = f"origin/127.0.0.1:{origin.port}"
        self.fetch(proxy)
        proxy.settle({"upstream_idle": 1, "exchanges": 0})
        admin.post("/server", {"server": name, "state": "maintenance"})
        proxy.settle({"upstream_idle": 0, "upstream_connections": 0})

    def test_maintenance_ends_connections_that_are_shared(self):
        server = Server(answer_all)
        self.addCleanup(server.close)
        proxy, admin = self.started(
            server.port, upstream={"protocol": "h2c", "timeouts": {"idle": "60s"}})
        name = f"origin/127.0.0.1:{server.port}"
        for connections in (1, 2):
            self.assertEqual(self.fetch(proxy).status, 200)
            proxy.settle({"upstream_connections": 1, "exchanges": 0})
            admin.post("/server", {"server": name, "state": "maintenance"})
            proxy.settle({"upstream_connections": 0})
            self.assertEqual(self.fetch(proxy).status, 503)
            admin.post("/server", {"server": name, "state": "up"})
            self.assertEqual(server.connections, connections)

    def test_a_server_that_cannot_be_reached_is_shown_as_down(self):
        origin, gone = self.start_origin(), ports.free_port()
        proxy, admin = self.started(origin.port, gone)
        deadline = time.monotonic() + settings.HANG
        while True:
            self.fetch(proxy)
            states = [s["state"] for s in admin.json("/status")["upstreams"][0]["servers"]]
            if states == ["up", "down"]:
                break
            self.assertLess(time.monotonic(), deadline, states)

    def test_what_cannot_be_set_is_refused_with_what_can(self):
        proxy, admin = self.started(self.start_origin().port)
        for path, content, status, hint in (
            ("/server", {"server": "origin/1.2.3.4:5", "state": "drain"}, 404, "known: origin/127"),
            ("/server", {"server": "origin/1.2.3.4:5", "state": "off"}, 400, "up, drain, maintenance"),
            ("/server", {}, 400, "UPSTREAM/ADDRESS"),
            ("/log-level", {"level": "loud"}, 400, "trace, debug"),
            ("/nothing", {}, 404, "/metrics"),
            ("/status", {}, 405, "GET"),
        ):
            found, answer = admin.post(path, content)
            self.assertEqual(found, status, answer)
            self.assertIn(hint, answer["hint"])
        for path in ("/drain", "/server", "/log-level", "/reload"):
            self.assertEqual(admin.get(path)[0], 405, path)
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_the_log_level_changes_while_it_runs(self):
        proxy, admin = self.started(self.start_origin().port)
        proxy.counters()
        self.assertFalse(proxy.find("connection"))
        idle = self.connect(proxy)
        idle.send(wire.get("/"))
        idle.response()
        self.assertEqual(
            admin.post("/log-level", {"level": "debug"}), (200, {"level": "debug", "before": "info"}))
        proxy.counters()
        proxy.wait_for("connection")
        self.assertEqual(admin.json("/status")["log_level"], "debug")

    def test_the_configuration_in_force_names_no_key(self):
        (certificate, key), = self.site_tls
        proxy, admin = self.started(self.start_origin().port, tls=self.site_tls)
        text = admin.get("/config")[2].decode()
        config = json.loads(text)
        self.assertEqual(config["listeners"][0]["address"], f"127.0.0.1:{proxy.port}")
        self.assertEqual(
            config["listeners"][0]["tls"]["certificates"], [{"certificate": str(certificate)}])
        self.assertNotIn(str(key), text)
        self.assertEqual(config["drain"], {"deadline": "5s"})

    # Who may ask

    def test_the_socket_has_mode_0660_and_strangers_are_refused(self):
        proxy, admin = self.started(self.start_origin().port)
        path = admin.address.removeprefix("unix:")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        if os.geteuid() != 0:
            self.skipTest("another user can be only by root")
        # Even where the file lets everybody in, the peer's credentials do not.
        os.chmod(path, 0o666)
        os.chmod(os.path.dirname(path), 0o755)
        nobody = pwd.getpwnam("nobody")
        code = (
            "import socket,sys\n"
            "s=socket.socket(socket.AF_UNIX);s.settimeout(20);s.connect(sys.argv[1])\n"
            "try:\n"
            "  s.sendall(b'GET /status HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n')\n"
            "  print(len(s.recv(100)))\n"
            "except (BrokenPipeError, ConnectionResetError): print(0)\n")
        for groups, expected in (([], "0"), ([os.stat(path).st_gid], "100")):
            found = subprocess.run(
                ["python3", "-c", code, path], user=nobody.pw_uid, group=nobody.pw_gid,
                extra_groups=groups, capture_output=True, text=True, check=False)
            self.assertEqual(found.stdout.strip(), expected, found.stderr)
        self.assertIn(b"millrace_admin_refused_peers_total 1\n", admin.get("/metrics")[2])

    def test_on_tcp_a_page_of_another_site_can_neither_read_nor_change(self):
        port = ports.free_port()
        proxy, admin = self.started(self.start_origin().port, address=port)
        self.assertEqual(admin.get("/status")[0], 200)
        self.assertEqual(admin.get("/status", Host="attacker.example")[0], 421)
        for fields in (
            {"Origin": "http://attacker.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}
        ):
            self.assertEqual(admin.ask("POST", "/drain", {}, fields)[0], 403, fields)
        self.assertEqual(admin.json("/status")["phase"], "serving")
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_listener_never_serves_it(self):
        def script(served):
            while message := served.request():
                served.answer(b"origin:" + message.target.encode())

        origin = self.start_origin(script)
        proxy, _ = self.started(origin.port)
        for path in ("/metrics", "/status", "/config"):
            self.assertEqual(self.fetch(proxy, wire.get(path)).body, b"origin:" + path.encode())

    def test_silent_and_hostile_connections_stop_neither_it_nor_the_proxy(self):
        proxy, admin = self.started(self.start_origin().port)
        path = admin.address.removeprefix("unix:")
        held = []
        for number in range(60):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            if number % 3:
                connection.sendall(os.urandom(200) if number % 2 else b"GET /status HT")
            held.append(connection)
        self.assertEqual(admin.json("/status")["phase"], "serving")
        self.assertEqual(self.fetch(proxy).status, 200)
        for connection in held:
            connection.close()

    # Starting

    def test_a_socket_that_a_crash_left_is_taken_and_one_in_use_is_not(self):
        config = self.settings_for(self.start_origin().port)
        admin = with_admin(self, config)
        first = self.start_proxy(config)
        first.kill()
        second = self.start_proxy(config)
        self.assertEqual(admin.json("/status")["pid"], second.pid)
        other = dict(config)
        other["listeners"] = [configuration.listener(ports.free_port())]
        file = self.folder / "other.yaml"
        file.write_text(configuration.render(other) + "\n")
        code, out, errors = run_to_end(["run", file], limit=settings.HANG)
        self.assertEqual(code, 2)
        self.assertIn("admin.address", out + errors)
        self.assertIn("is in use", out + errors)
        self.assertEqual(admin.json("/status")["pid"], second.pid)

    def test_the_file_goes_with_the_process(self):
        proxy, admin = self.started(self.start_origin().port)
        proxy.stop()
        self.assertFalse(os.path.exists(admin.address.removeprefix("unix:")))


class Control(SystemCase):
    """`millrace ctl`: what it prints, and how it ends."""

    engine = "epoll"

    def ctl(self, admin, *arguments):
        address = admin.address if isinstance(admin, Admin) else admin
        return run_to_end(["ctl", *arguments, "--address", str(address)], limit=settings.HANG)

    def test_the_commands(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        admin = with_admin(self, config)
        proxy = self.start_proxy(config)
        self.fetch(proxy)
        code, out, _ = self.ctl(admin, "status")
        self.assertEqual(code, 0)
        self.assertIn("serving", out)
        self.assertIn(f"127.0.0.1:{origin.port}  up", out)
        code, out, _ = self.ctl(admin, "status", "--json")
        self.assertEqual(json.loads(out)["totals"]["requests"], 1)
        server = f"origin/127.0.0.1:{origin.port}"
        code, out, _ = self.ctl(admin, "server", server, "drain")
        self.assertEqual((code, out.strip()), (0, f"{server} is in state drain"))
        self.assertEqual(self.fetch(proxy).status, 503)
        code, out, errors = self.ctl(admin, "server", server, "gone")
        self.assertEqual(code, 1)
        self.assertIn("up, drain, maintenance", errors)
        code, out, _ = self.ctl(admin, "server", server, "up", "--json")
        self.assertEqual(json.loads(out), {"server": server, "state": "up"})
        code, out, _ = self.ctl(admin, "log-level", "debug")
        self.assertEqual((code, out.strip()), (0, "log level debug (was info)"))
        code, out, _ = self.ctl(admin, "config")
        self.assertEqual(json.loads(out)["admin"]["address"], admin.address)
        code, out, _ = self.ctl(admin, "drain")
        self.assertEqual((code, out.strip()), (0, "draining"))
        proxy.ended_by_test = True
        self.assertEqual(proxy.wait(), 0)
        code, out, errors = self.ctl(admin, "status")
        self.assertEqual(code, 2)
        self.assertIn("cannot connect", errors)

    def test_a_reload_says_what_came_of_it(self):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        admin = with_admin(self, config)
        proxy = self.start_proxy(config)
        code, out, _ = self.ctl(admin, "reload")
        self.assertEqual((code, out.strip()), (0, "nothing has changed"))
        config["via"] = "off"
        proxy.file.write_text(configuration.render(config) + "\n", encoding="utf-8")
        code, out, _ = self.ctl(admin, "reload", "--json")
        answer = json.loads(out)
        self.assertEqual(
            (code, answer["result"], answer["generation"], answer["problems"]), (0, "installed", 2, []))
        self.assertIn("via", " ".join(answer["changes"]))
        self.assertEqual(admin.json("/status")["generation"], 2)
        self.assertEqual(admin.json("/config")["via"], "off")
        proxy.file.write_text("engine: nothing\n", encoding="utf-8")
        code, _, errors = self.ctl(admin, "reload")
        self.assertEqual(code, 1)
        self.assertIn("generation 2 stays in force", errors)
        self.assertIn("engine", errors)
        self.assertEqual(admin.json("/status")["generation"], 2)
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_an_address_that_is_none(self):
        code, _, errors = self.ctl("nowhere", "status")
        self.assertEqual(code, 2)
        self.assertIn("--address", errors)


if __name__ == "__main__":
    unittest.main()
