"""Layer 7: the audit log says what happened, no more and no less, and `audit verify` proves it.

The log is read as its users read it: JSON Lines, by Python's json and by jq.
"""

import json
import re
import subprocess
import time
import unittest

from harness import peers, settings, streams, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.origin import raw
from harness.proxy import Proxy

DURABILITIES = ("before_response", "interval", "none")


class AuditCase(SystemCase):
    def start_audited(self, *origin_ports, durability="before_response", tls=None, **others):
        self.log = AuditLog(self.folder / "audit")
        audit = {"directory": str(self.log.directory), "durability": durability}
        audit.update(others.pop("audit", {}))
        return self.proxy_before(*origin_ports, tls=tls, audit=audit, **others)

    def assertVerifies(self):
        code, text = self.log.verify()
        self.assertEqual(code, 0, text)
        return text


@on_both_engines
class Records(AuditCase):
    def test_records_equal_responses_in_every_durability(self):
        for durability in DURABILITIES:
            with self.subTest(durability=durability):
                self.check_equal(durability)

    def check_equal(self, durability):
        nginx = self.start_nginx_once()
        self.log = AuditLog(self.folder / f"audit-{durability}")
        audit = {"directory": str(self.log.directory), "durability": durability}
        proxy = self.proxy_before(nginx.port, tls=self.site_tls, workers=2, audit=audit)
        requests = 5000
        result = peers.h2load(f"https://127.0.0.1:{proxy.port}/small", requests, 50)
        self.assertEqual((result.succeeded, result.failed), (requests, 0), result.text)
        proxy.settle({"exchanges": 0})
        counters = proxy.counters()
        self.assertEqual((counters["responses"], counters["records"]), (requests, requests))
        proxy.stop()
        self.assertEqual(len(self.log.requests()), requests)
        self.assertVerifies()

    def start_nginx_once(self):
        if not hasattr(self, "nginx"):
            self.nginx = self.start_nginx()
            self.nginx.add("small", b"x" * 128)
        return self.nginx

    def test_a_record_tells_what_happened(self):
        proxy = self.start_audited(self.start_origin().port, tls=self.site_tls)
        connection = self.connect(proxy, tls=True)
        connection.send(wire.request("POST", "/orders?id=7", body=b"hello", X_Request_ID="r-1"))
        response = connection.response()
        connection.close()
        proxy.stop()
        (record,) = self.log.requests()
        self.assertEqual(record["kind"], "exchange")
        expected = {"method": "POST", "host": "site.test", "path": "/orders", "status": 200}
        expected |= {"listener": "edge", "query": "id=7"}
        self.assertEqual({key: record[key] for key in expected}, expected)
        self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertIn("127.0.0.1", str(record["client"]))
        text = str(record)
        self.assertIn("TLSv1.3", text.replace("TLS 1.3", "TLSv1.3"))
        self.assertIn("TLS_AES", text)
        self.assertGreaterEqual(record["response_bytes"], len(response.body))
        self.assertGreaterEqual(record["request_bytes"], 5)
        self.assertVerifies()

    def test_hostile_text_is_valid_json_and_one_line(self):
        proxy = self.start_audited(self.start_origin().port)
        hostile = ["/%22%5C%0a", '/"\\', '/{"kind":"seal"}', "/'`$<>|", "/" + "u" * 4000]
        for target in hostile:
            self.fetch(proxy, wire.get(target, User_Agent='"\\}\t\xe9\xff'))
        self.fetch(proxy, wire.get('/ok?"query"\\'))
        proxy.stop()
        served = [record for record in self.log.requests()]
        answers = [record["path"] for record in served if record.get("status") == 200]
        self.assertIn("/%22%5C%0a", answers)
        self.assertEqual(len(served), len({record["seq"] for record in served}))
        self.assertVerifies()

    def test_jq_reads_every_segment(self):
        proxy = self.start_audited(self.start_origin().port)
        for number in range(20):
            self.fetch(proxy, wire.get(f"/{number}"))
        # While it runs, too: the active segment is valid at any instant.
        for moment in ("running", "stopped"):
            if moment == "stopped":
                proxy.stop()
            out = subprocess.run(
                ["jq", "-r", 'select(.kind == "exchange") | .path', *self.log.segments()],
                capture_output=True,
                check=False,
                timeout=settings.HANG,
            )
            self.assertEqual(out.returncode, 0, out.stderr)
            self.assertEqual(
                sorted(out.stdout.split()), sorted(f"/{n}".encode() for n in range(20))
            )

    def test_a_proxy_made_answer_is_recorded_too(self):
        origin = self.start_origin(raw(b"", "reset"))
        proxy = self.start_audited(origin.port, upstream={"retries": {"attempts": 0}})
        self.assertEqual(self.fetch(proxy, wire.get("/broken")).status, 502)
        proxy.stop()
        (record,) = self.log.requests()
        self.assertEqual((record["path"], record["status"]), ("/broken", 502))
        self.assertVerifies()

    def test_a_streamed_response_has_a_begin_and_an_end(self):
        size = 20 << 20

        def script(served):
            while served.request():
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
                for block in streams.blocks(size):
                    served.send(block)

        proxy = self.start_audited(self.start_origin(script).port)
        response = self.fetch(proxy, wire.get("/streamed"))
        self.assertEqual(len(response.body), size)
        proxy.settle({"exchanges": 0})
        proxy.stop()
        self.assertEqual(self.log.ending_of("/streamed"), ["begin", "end"])
        self.assertVerifies()

    def test_a_client_that_leaves_has_an_abort(self):
        def script(served):
            while served.request():
                served.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for block in streams.blocks(100_000_000):
                    served.send(block)

        proxy = self.start_audited(self.start_origin(script).port)
        connection = self.connect(proxy).send(wire.get("/left"))
        connection.take(100_000)
        connection.reset()
        proxy.settle({"exchanges": 0})
        proxy.stop()
        kinds = self.log.ending_of("/left")
        self.assertEqual((kinds[0], kinds[-1]), ("begin", "abort"))
        self.assertVerifies()

    def test_a_redacted_query_is_nowhere(self):
        proxy = self.start_audited(self.start_origin().port, audit={"redact_query": True})
        self.fetch(proxy, wire.get("/login?token=secret-word"))
        proxy.stop()
        self.assertEqual([record["path"] for record in self.log.requests()], ["/login"])
        for segment in self.log.segments():
            self.assertNotIn(b"secret-word", segment.read_bytes())

    def test_two_proxies_cannot_share_a_folder(self):
        proxy = self.start_audited(self.start_origin().port)
        config = self.settings_for(1, audit={"directory": str(self.log.directory)})
        folder = self.folder / "second"
        folder.mkdir()
        second = Proxy(folder, config)
        self.addCleanup(second.kill)
        second.spawn()
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(str(self.log.directory), second.tail())
        self.assertEqual(self.fetch(proxy).status, 200)


@on_both_engines
class Segments(AuditCase):
    def test_rotation_by_size_under_load(self):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        proxy = self.start_audited(nginx.port, audit={"segment": {"size": "1MiB"}})
        requests = 20_000
        result = peers.h2load(f"http://127.0.0.1:{proxy.port}/small", requests, 100)
        self.assertEqual((result.succeeded, result.failed), (requests, 0), result.text)
        proxy.stop()
        self.assertGreaterEqual(len(self.log.segments()), 4)
        for segment in self.log.segments():
            self.assertLessEqual(segment.stat().st_size, 1 << 20)
        records = self.log.requests()
        self.assertEqual(len(records), requests)
        self.assertEqual(len({record["seq"] for record in records}), requests)
        self.assertVerifies()

    def test_rotation_by_age(self):
        proxy = self.start_audited(self.start_origin().port, audit={"segment": {"age": "1s"}})
        for number in range(3):
            self.assertEqual(self.fetch(proxy, wire.get(f"/{number}")).status, 200)
            time.sleep(1.3)
        proxy.stop()
        self.assertGreaterEqual(len(self.log.segments()), 2)
        self.assertEqual(len(self.log.requests()), 3)
        self.assertVerifies()

    def test_a_restart_goes_on_with_the_chain(self):
        origin = self.start_origin()
        proxy = self.start_audited(origin.port)
        for number in range(4):
            self.assertEqual(self.fetch(proxy, wire.get(f"/{number}")).status, 200)
            proxy.stop()
            proxy.ended_by_test = False
            proxy.start()
        proxy.stop()
        self.assertEqual(set(self.log.paths()), {f"/{number}" for number in range(4)})
        self.assertVerifies()

    def test_a_restart_with_another_number_of_workers(self):
        origin = self.start_origin()
        for workers in (2, 1, 3):
            proxy = self.start_audited(origin.port, workers=workers)
            for number in range(30):
                self.fetch(proxy, wire.get(f"/{workers}/{number}"))
            proxy.stop()
        self.assertEqual(len(self.log.requests()), 90)
        self.assertVerifies()


@on_both_engines
class Tampering(AuditCase):
    """What `audit verify` must notice; each edit is undone before the next."""

    def setUp(self):
        super().setUp()
        proxy = self.start_audited(self.start_origin().port)
        connection = self.connect(proxy)
        for number in range(60):
            connection.send(wire.get(f"/{number}")).response()
        connection.close()
        proxy.stop()
        self.assertVerifies()
        self.segment = max(self.log.segments(), key=lambda path: path.stat().st_size)
        self.original = self.segment.read_bytes()

    def assertNoticed(self, changed, what):
        self.assertNotEqual(changed, self.original)
        self.segment.write_bytes(changed)
        code, text = self.log.verify()
        self.segment.write_bytes(self.original)
        self.assertNotEqual(code, 0, f"{what} went unnoticed: {text}")
        self.assertIn(self.segment.name, text)

    def test_a_changed_byte_in_any_record(self):
        positions = [match.start(1) for match in re.finditer(rb'"path":"/(\d)', self.original)]
        self.assertGreater(len(positions), 50)
        for position in positions[::7]:
            old = self.original[position : position + 1]
            new = b"1" if old != b"1" else b"2"
            changed = self.original[:position] + new + self.original[position + 1 :]
            self.assertNoticed(changed, f"a byte at {position}")

    def test_a_removed_line_and_a_doubled_line(self):
        lines = self.original.splitlines(keepends=True)
        places = [n for n, line in enumerate(lines) if b'"exchange"' in line]
        for place in (places[0], places[len(places) // 2], places[-1]):
            self.assertNoticed(b"".join(lines[:place] + lines[place + 1 :]), "a removed line")
            self.assertNoticed(
                b"".join(lines[:place] + [lines[place]] + lines[place:]), "a doubled line"
            )

    def test_two_lines_exchanged(self):
        lines = self.original.splitlines(keepends=True)
        places = [n for n, line in enumerate(lines) if b'"exchange"' in line]
        one, two = places[3], places[4]
        lines[one], lines[two] = lines[two], lines[one]
        self.assertNoticed(b"".join(lines), "two lines exchanged")

    def test_an_anchor_notices_truncation(self):
        text = self.segment.read_bytes()
        lines = text.splitlines(keepends=True)
        seals = [
            n
            for n, line in enumerate(lines)
            if b'"seal"' in line and json.loads(line)["kind"] == "seal"
        ]
        self.assertGreater(len(seals), 2)
        # As an operator would keep it: the log's own lines, or the value taken out of its quotes.
        anchors = [line.text for line in self.proxies[-1].lines() if "anchor" in line.text]
        self.assertTrue(anchors, "no anchor in the log at stop")
        anchor = self.folder / "anchor"
        anchor.write_text("\n".join(anchors).replace('\\"', '"') + "\n", encoding="utf-8")
        code, said = self.log.verify("--anchor", anchor)
        self.assertEqual(code, 0, said)
        self.segment.write_bytes(b"".join(lines[: seals[-2] + 1]))
        code, said = self.log.verify("--anchor", anchor)
        self.segment.write_bytes(self.original)
        self.assertNotEqual(code, 0, said)


if __name__ == "__main__":
    unittest.main()
