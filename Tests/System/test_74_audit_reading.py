"""Layer 7: the audit log read: what `audit verify` says of a log that a power cut tore, that is being
written, or that was edited, and what `audit cat` and `audit tail` show of it.

Where a log cannot be had from a proxy (a failed commit needs a failing disk), it is written here, by
code that shares nothing with the proxy's.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
import unittest

from harness import settings, streams, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.proxy import run_to_end

BLOCK = 4096
TIME = "2026-11-21T01:33:58.{:06}Z"


def millrace(*arguments):
    """A command that ends by itself: (exit code, lines of stdout, stderr)."""
    code, out, errors = run_to_end(arguments)
    return code, out.splitlines(), errors


class Log:
    """A chain written here: batches of lines, each with its seal, in blocks of newlines."""

    def __init__(self, folder, worker=0, run="1" * 32):
        self.folder, self.worker, self.run = folder, worker, run
        folder.mkdir(exist_ok=True)
        self.seal, self.next, self.number = "0" * 64, 1, 0
        self.text = b""

    @property
    def path(self):
        return self.folder / f"w{self.worker:03}-{self.number:010}.jsonl"

    def segment(self, lost=None):
        """Begins one: its header belongs to the next batch."""
        self.number += 1
        self.text = b""
        first = lost[1] + 1 if lost else self.next
        header = {"kind": "segment", "format": 1, "run": self.run, "worker": self.worker}
        header |= {"segment": self.number, "created": TIME.format(0), "seq_next": first}
        header |= {"previous": self.seal}
        if lost:
            header |= {"lost_first": lost[0], "lost_last": lost[1]}
        self.next = first
        self.pending = self.line(header)
        return self

    @staticmethod
    def line(members):
        return json.dumps(members, separators=(",", ":")).encode() + b"\n"

    def record(self, kind="exchange", id=0, time=None, **members):
        opening = {"seq": self.next, "kind": kind}
        opening |= {"time": TIME.format(self.next if time is None else time)}
        if kind not in ("loss", "recovery"):
            opening |= {"id": f"{id:016x}"}
        self.next += 1
        return self.line(opening | members)

    def batch(self, *records):
        """Seals these records and writes the segment."""
        content = self.pending + b"".join(records)
        self.pending = b""
        digest = hashlib.sha256(bytes.fromhex(self.seal) + content).hexdigest()
        seal = {"kind": "seal", "seq_first": self.next - len(records), "seq_last": self.next - 1}
        seal |= {"bytes": len(content), "previous": self.seal, "sha256": digest}
        self.seal = digest
        whole = content + self.line(seal)
        self.text += whole + b"\n" * (-len(whole) % BLOCK)
        self.path.write_bytes(self.text)
        return self


class AuditCase(SystemCase):
    def start_audited(self, *origin_ports, **others):
        self.log = AuditLog(self.folder / "audit")
        audit = {"directory": str(self.log.directory), **others.pop("audit", {})}
        return self.proxy_before(*origin_ports, audit=audit, **others)

    def cat(self, *arguments, code=0):
        done, lines, errors = millrace("audit", "cat", self.log.directory, *arguments)
        self.assertEqual(done, code, errors)
        return lines

    def records(self, *arguments):
        return [json.loads(line) for line in self.cat("--format", "json", *arguments)]


@on_both_engines
class Verify(AuditCase):
    def test_every_shape_of_a_torn_last_batch_is_an_unsealed_tail(self):
        proxy = self.start_audited(self.start_origin().port)
        connection = self.connect(proxy)
        for number in range(4):
            connection.send(wire.get(f"/{number}")).response()
        # Each quotation mark takes two bytes: a record of several blocks.
        connection.send(wire.get("/" + '"' * 7000)).response()
        proxy.kill()
        (segment,) = [path for path in self.log.segments() if path.read_bytes().strip()]
        whole = segment.read_bytes()
        end = len(whole.rstrip(b"\n"))
        start = whole.rindex(b'\n\n{"seq":') + 2
        blocks = list(range(start, end, BLOCK))
        self.assertEqual(start % BLOCK, 0)
        self.assertGreaterEqual(len(blocks), 4)
        self.assertEqual(self.log.verify()[0], 0)
        first, second, *_, last = blocks
        shapes = {
            "the first only": blocks[1:],
            "the first two": blocks[2:],
            "the second missing": [second],
            "the last missing": [last],
            "the first missing": [first],
        }
        for name, missing in shapes.items():
            torn = bytearray(whole)
            for block in missing:
                torn[block : block + BLOCK] = b"\n" * BLOCK
            segment.write_bytes(torn)
            code, text = self.log.verify()
            self.assertEqual(code, 3, f"{name}: {text}")
            self.assertIn("unsealed tail", text)
            # An edit of what was acknowledged before is none.
            torn[start - BLOCK + 20] ^= 1
            segment.write_bytes(torn)
            code, text = self.log.verify()
            self.assertEqual(code, 1, f"{name}, edited: {text}")
        segment.write_bytes(whole)
        proxy.start()
        proxy.stop()
        self.assertEqual(self.log.verify()[0], 0)

    def test_a_log_that_rotates_meanwhile_is_never_broken(self):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        proxy = self.start_audited(nginx.port, audit={"segment": {"size": "1MiB"}})
        url = f"http://127.0.0.1:{proxy.port}/small"
        load = subprocess.Popen(
            ["h2load", "--h1", "-n", "10000", "-c", "50", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        verified = 0
        while load.poll() is None:
            code, text = self.log.verify()
            self.assertIn(code, (0, 3), text)
            verified += 1
        self.assertGreaterEqual(verified, 3)
        self.assertGreaterEqual(len(self.log.segments()), 4)
        proxy.stop()
        self.assertEqual(self.log.verify()[0], 0)
        self.assertEqual(len(self.cat()), 10000)

    def test_anchors_are_found_however_they_were_kept(self):
        proxy = self.start_audited(self.start_origin().port, workers=2)
        for number in range(6):
            self.fetch(proxy, wire.get(f"/{number}"))
        proxy.stop()
        lines = [line.text for line in proxy.lines() if "audit anchor" in line.text]
        anchors = [line[line.index("{") :] for line in lines]
        self.assertTrue(anchors)
        spaced = [json.dumps(json.loads(text)) for text in anchors]
        forms = {
            "the log": "\n".join(lines) + "\n",
            "without a last newline": "\n".join(lines),
            "a JSON log": "".join(json.dumps({"level": "info", "msg": line}) + "\n" for line in lines),
            "with spaces": "\n".join(spaced),
            "over lines": "\n".join(json.dumps(json.loads(text), indent=2) for text in anchors),
        }
        file = self.folder / "anchors"
        for name, text in forms.items():
            with self.subTest(form=name):
                file.write_text(text, encoding="utf-8")
                code, said = self.log.verify("--anchor", file)
                self.assertEqual(code, 0, said)
                count = len(anchors)
                self.assertIn(f"anchors read={count} checked={count}", said)
        for name, text in forms.items():
            with self.subTest(form=name, seal="another"):
                changed = re.sub(r'(seal\\*": ?\\*")([0-9a-f]{8})', r"\g<1>00000000", text)
                file.write_text(changed, encoding="utf-8")
                code, said = self.log.verify("--anchor", file)
                self.assertEqual(code, 1, said)
        for text in ("", "no anchor here\n", '{"kind":"anchor"}\n', anchors[0][:-20]):
            file.write_text(text, encoding="utf-8")
            code, said = self.log.verify("--anchor", file)
            self.assertEqual(code, 2, said)
            self.assertIn("no anchor in", said)


class Edited(AuditCase):
    """Logs written here; no proxy runs."""

    def with_failed_commit(self):
        """Two segments; the second declares sequences 3 and 4 as lost. Gives the first one's path."""
        writer = Log(self.folder / "audit").segment()
        writer.batch(writer.record(), writer.record(id=1))
        path, seal = writer.path, writer.seal
        self.failed = [writer.record(id=2), writer.record(id=3)]
        writer.next = 3
        writer.segment(lost=(3, 4)).batch(writer.record(id=4))
        self.assertEqual(len(seal), 64)
        self.log = AuditLog(self.folder / "audit")
        return path

    def test_a_log_written_here_is_intact(self):
        self.with_failed_commit()
        code, text = self.log.verify()
        self.assertEqual(code, 0, text)
        self.assertEqual([entry["id"][-1] for entry in self.records()], ["0", "1", "4"])

    def test_what_stands_behind_the_last_seal_is_looked_at_where_a_loss_is_declared(self):
        path = self.with_failed_commit()
        whole = path.read_bytes()
        forged = self.failed[0]
        for name, tail, expected in (
            ("newlines", b"\n" * BLOCK, 0),
            ("a forged record", forged, 3),
            ("a forged record and newlines", forged + b"\n" * BLOCK, 1),
            ("another sequence", forged.replace(b'"seq":3', b'"seq":9'), 1),
            ("no record", b"hello\n\n", 1),
        ):
            with self.subTest(tail=name):
                path.write_bytes(whole + tail)
                code, text = self.log.verify()
                self.assertEqual(code, expected, text)
                # What is left out is named, unless it is nothing.
                code, lines, errors = millrace("audit", "cat", self.log.directory)
                self.assertEqual((code, len(lines)), (0 if expected == 0 else 1, 3))
                self.assertEqual(path.name in errors, expected != 0)

    def test_a_directory_without_a_log_is_named(self):
        empty = self.folder / "empty"
        empty.mkdir()
        (self.folder / "other").mkdir()
        (self.folder / "other" / "notes.txt").write_text("x", encoding="utf-8")
        for directory in (empty, self.folder / "other", "/etc"):
            for words in (["verify"], ["cat"], ["tail"], ["tail", "-f"]):
                code, out, errors = millrace("audit", *words, directory)
                self.assertEqual(code, 2, errors)
                self.assertEqual(out, [])
                self.assertIn(f"no audit log in {directory}", errors)
        for words in (["verify"], ["cat"], ["tail"]):
            code, _, errors = millrace("audit", *words, self.folder / "absent")
            self.assertEqual(code, 2, errors)
            self.assertIn("absent: No such file or directory", errors)

    def test_workers_are_merged_by_time_and_exchanges_are_joined(self):
        for worker in range(3):
            writer = Log(self.folder / "audit", worker).segment()
            for step in range(4):
                writer.batch(writer.record(id=step, time=step * 10 + worker, method="GET"))
        begin = {"client": "192.0.2.1", "method": "GET", "host": "h", "path": "/long"}
        writer.batch(writer.record("begin", id=77, time=40, **begin))
        writer.batch(writer.record("begin", id=78, time=41, **begin))
        writer.batch(writer.record("begin", id=79, time=42, **begin))
        writer.batch(writer.record("end", id=77, time=50, status=200, ending="complete"))
        writer.batch(writer.record("abort", id=78, time=51, status=200, ending="client_reset"))
        self.log = AuditLog(self.folder / "audit")
        records = self.records()
        times = [record["time"] for record in records[:-1]]
        self.assertEqual(times, sorted(times))
        self.assertEqual(len(records), 15)
        joined, aborted, unfinished = records[-3:]
        self.assertEqual((joined["kind"], joined["path"], joined["status"]), ("exchange", "/long", 200))
        self.assertEqual((joined["begin_seq"], joined["seq"]), (5, 8))
        self.assertEqual(joined["begin_time"], TIME.format(40))
        self.assertEqual((aborted["kind"], aborted["ending"]), ("abort", "client_reset"))
        self.assertEqual(aborted["path"], "/long")
        self.assertEqual((unfinished["kind"], unfinished["id"]), ("begin", f"{79:016x}"))
        apart = [record["kind"] for record in self.records("--no-join")]
        self.assertEqual(apart[-5:], ["begin", "begin", "begin", "end", "abort"])
        _, lines, _ = millrace("audit", "tail", "-n", 2, "--format", "json", self.log.directory)
        self.assertEqual([json.loads(line)["id"][-2:] for line in lines], ["4e", "4f"])
        _, lines, _ = millrace("audit", "tail", "-n", 0, self.log.directory)
        self.assertEqual(lines, [])

    def test_a_run_that_was_killed_leaves_its_begin_unjoined(self):
        writer = Log(self.folder / "audit").segment()
        writer.batch(writer.record("begin", id=5, method="GET", path="/one"))
        writer.run = "2" * 32
        writer.segment().batch(writer.record("begin", id=5, method="GET", path="/two"))
        writer.batch(writer.record("end", id=5, status=200))
        self.log = AuditLog(self.folder / "audit")
        found = [(record["kind"], record["path"]) for record in self.records()]
        self.assertEqual(found, [("begin", "/one"), ("exchange", "/two")])

    def test_nothing_that_drives_a_terminal_is_shown(self):
        writer = Log(self.folder / "audit").segment()
        hostile = "\u009b31m\u202e\u2028\u200e\u001b]0;x\u0007\u007f\U000e0041é漢\uf79b"
        line = writer.record(method="GET", host="h", path="/" + hostile)
        raw = json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=False) + "\n"
        writer.batch(raw.encode())
        self.log = AuditLog(self.folder / "audit")
        (record,) = self.records()
        self.assertEqual(record["path"], "/" + hostile)
        for form in ("json", "text"):
            (line,) = self.cat("--format", form)
            self.assertIn("é漢", line)
            self.assertTrue(all(letter.isprintable() for letter in line), ascii(line))
        self.assertIn("\\u{9b}31m", line)
        self.assertIn("\\u001b]0;x\\u0007", line)

    def test_what_cannot_be_read_is_named_and_the_rest_is_shown(self):
        writer = Log(self.folder / "audit").segment()
        for step in range(3):
            writer.batch(writer.record(id=step), writer.record(id=step + 8))
        damaged = writer.text.replace(b'{"seq":3,', b'{"sxq":3,')
        writer.path.write_bytes(damaged)
        path = writer.path
        writer.segment().batch(writer.record(id=100))
        self.log = AuditLog(self.folder / "audit")
        code, lines, errors = millrace("audit", "cat", "--format", "json", self.log.directory)
        self.assertEqual(code, 1)
        self.assertIn(path.name, errors)
        self.assertEqual([json.loads(line)["seq"] for line in lines], [1, 2, 4, 5, 6, 7])

    def test_a_fifo_in_the_place_of_a_segment_is_named_and_hangs_nothing(self):
        """Opening it to read would wait for a writer."""
        writer = Log(self.folder / "audit").segment()
        writer.batch(writer.record(id=1))
        os.mkfifo(self.folder / "audit" / "w000-0000000002.jsonl")
        for command in ("verify", "cat", "tail"):
            with self.subTest(command=command):
                code, lines, errors = millrace("audit", command, self.folder / "audit")
                self.assertIn(code, (1, 2))
                self.assertIn("w000-0000000002.jsonl", errors + "\n".join(lines))
                self.assertIn("not a regular file", errors + "\n".join(lines))


@on_both_engines
class CatAndTail(AuditCase):
    def test_a_live_log_is_shown_without_reading_what_is_not_used(self):
        proxy = self.start_audited(self.start_origin().port, workers=2)
        for number in range(20):
            self.fetch(proxy, wire.get(f"/{number}"))
        before = self.bytes_read()
        records = self.records()
        lines = self.cat("--format", "text")
        _, last, _ = millrace("audit", "tail", "-n", 5, "--format", "json", self.log.directory)
        self.assertLess(self.bytes_read() - before, 8 << 20)
        self.assertEqual({record["path"] for record in records}, {f"/{n}" for n in range(20)})
        self.assertEqual(len(lines), 20)
        self.assertTrue(all(" GET " in line and " 200 " in line for line in lines), lines)
        self.assertEqual([json.loads(line) for line in last], records[-5:])
        # A closed pipe is no failure.
        done = subprocess.run(
            ["sh", "-c", f"{settings.BINARY} audit cat {self.log.directory} | head -n 1"],
            capture_output=True, check=False, timeout=settings.HANG,
        )
        self.assertEqual((done.returncode, done.stdout.count(b"\n"), done.stderr), (0, 1, b""))

    @staticmethod
    def bytes_read():
        """By this process and the children that it has waited for."""
        with open("/proc/self/io", encoding="ascii") as facts:
            return int(re.search(r"rchar: (\d+)", facts.read()).group(1))

    def test_a_streamed_response_is_one_line(self):
        size = 4 << 20

        def script(served):
            while served.request():
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
                for block in streams.blocks(size):
                    served.send(block)

        proxy = self.start_audited(self.start_origin(script).port)
        self.fetch(proxy, wire.get("/streamed"))
        proxy.settle({"exchanges": 0})
        kinds = [record["kind"] for record in self.records("--no-join")]
        self.assertEqual(kinds, ["begin", "end"])
        (record,) = self.records()
        self.assertEqual((record["kind"], record["status"]), ("exchange", 200))
        self.assertGreaterEqual(record["response_bytes"], size)
        (line,) = self.cat("--format", "text")
        self.assertIn("/streamed 200", line)

    def follow(self, *arguments, **options):
        tail = subprocess.Popen(
            [settings.BINARY, "audit", "tail", "-f", "--format", "json", *arguments,
             str(self.log.directory)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.stderr.close)
        return tail

    def test_follow_goes_over_rotation_restart_and_new_workers(self):
        origin = self.start_origin()
        audit = {"segment": {"age": "1s"}}
        proxy = self.start_audited(origin.port, audit=audit)
        self.fetch(proxy, wire.get("/before"))
        tail = self.follow()
        seen = []

        def expect(path, through):
            self.assertEqual(self.fetch(through, wire.get(path)).status, 200)
            seen.append(json.loads(tail.stdout.readline())["path"])
            self.assertEqual(seen[-1], path)

        self.assertEqual(json.loads(tail.stdout.readline())["path"], "/before")
        segments = len(self.log.segments())
        number = 0
        while len(self.log.segments()) < segments + 2:
            expect(f"/{number}", proxy)
            number += 1
            time.sleep(0.3)
        proxy.stop()
        proxy = self.start_audited(origin.port, audit=audit, workers=3)
        for number in range(20):
            expect(f"/again/{number}", proxy)
        workers = {path.name[:4] for path in self.log.segments() if path.read_bytes().strip()}
        self.assertGreaterEqual(len(workers), 2)
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(settings.HANG), 0)
        self.assertEqual((tail.stdout.read(), tail.stderr.read()), (b"", b""))

    def test_follow_ends_when_its_output_is_closed(self):
        proxy = self.start_audited(self.start_origin().port)
        self.fetch(proxy, wire.get("/one"))
        tail = self.follow()
        self.assertIn(b"/one", tail.stdout.readline())
        tail.stdout.close()
        self.assertEqual(tail.wait(settings.HANG), 0)

    def test_follow_ends_on_sigterm_and_with_a_whole_line(self):
        proxy = self.start_audited(self.start_origin().port)
        self.fetch(proxy, wire.get("/one"))
        tail = self.follow("-n", "1")
        self.assertIn(b"/one", tail.stdout.readline())
        os.kill(tail.pid, signal.SIGTERM)
        self.assertEqual(tail.wait(settings.HANG), 0)


if __name__ == "__main__":
    unittest.main()
