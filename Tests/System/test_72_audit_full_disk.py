"""Layer 7: a full disk. No executed request loses its answer, and service comes back with space.

The disk is a small ext4 of its own. Each request is a POST, which the proxy must never send twice
and must never leave unanswered once the origin has seen it.
"""

import itertools
import threading
import time
import unittest

from harness import disks, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines

MIB = 1 << 20


@on_both_engines
class FullDisk(SystemCase):
    def setUp(self):
        super().setUp()
        disks.require_loop_devices()
        self.disk = disks.Disk(self.folder, 96 * MIB)
        self.addCleanup(self.disk.close)
        self.executed = []
        lock = threading.Lock()

        def script(served):
            while message := served.request():
                with lock:
                    self.executed.append(message.target)
                served.answer(b"done")

        self.origin = self.start_origin(script)
        self.numbers = itertools.count()

    def start_on_disk(self, when_full):
        audit = {"directory": str(self.disk.path / "audit"), "durability": "before_response"}
        audit |= {"when_full": when_full, "segment": {"size": "1MiB"}}
        return self.proxy_before(self.origin.port, audit=audit)

    def post(self, connection):
        path = f"/pay/{next(self.numbers)}/{'p' * 1500}"
        connection.send(wire.request("POST", path, body=b"amount=1"))
        response = connection.response()
        return path, response

    def post_until(self, proxy, status, limit=20_000):
        """Posts on one connection after another until an answer has this status."""
        connection = self.connect(proxy)
        answered = []
        for _ in range(limit):
            path, response = self.post(connection)
            if response.status == 200:
                answered.append(path)
            else:
                self.assertEqual(response.status, 503)
                if status == 503:
                    connection.close()
                    return answered, path
                time.sleep(0.02)
            if response.status == status == 200:
                connection.close()
                return answered, path
            if response.closes:
                connection.close()
                connection = self.connect(proxy)
        self.fail(f"no {status} in {limit} requests")

    def test_reject_answers_503_before_the_origin_sees_it_and_recovers(self):
        proxy = self.start_on_disk("reject")
        self.assertEqual(self.fetch(proxy).status, 200)
        ballast = self.disk.fill(leave=6 * MIB)
        answered, refused = self.post_until(proxy, 503)
        self.assertGreater(len(answered), 10)
        self.assertNotIn(refused, self.executed, "a refused request was executed")
        executed = [path for path in self.executed if path != "/"]
        self.assertTrue(executed == answered, f"{len(executed)} executed, {len(answered)} answered")
        before = len(self.executed)
        for _ in range(20):  # it stays refused, and stays alive
            connection = self.connect(proxy)
            self.assertEqual(self.post(connection)[1].status, 503)
            connection.close()
        self.assertEqual(len(self.executed), before)
        ballast.unlink()
        more, _ = self.post_until(proxy, 200, limit=1000)
        proxy.stop()
        log = AuditLog(self.disk.path / "audit")
        recorded = log.paths()
        missing = [path[:20] for path in [*answered, *more] if path not in recorded]
        self.assertFalse(missing, f"{len(missing)} answered and not recorded")
        code, text = log.verify()
        self.assertEqual(code, 0, text)

    def test_no_executed_post_loses_its_answer_with_many_clients(self):
        proxy = self.start_on_disk("reject")
        self.assertEqual(self.fetch(proxy).status, 200)
        self.disk.fill(leave=8 * MIB)
        answered, failures, full = [], [], []
        lock = threading.Lock()

        def client():
            connection = self.connect(proxy)
            refusals = 0
            for _ in range(5000):
                if refusals == 20:
                    with lock:
                        full.append(True)
                    return
                try:
                    path, response = self.post(connection)
                except (OSError, wire.Truncated) as error:
                    failures.append(repr(error))
                    return
                with lock:
                    if response.status == 200:
                        answered.append(path)
                    else:
                        refusals += 1
                if response.closes:
                    connection.close()
                    connection = self.connect(proxy)

        threads = [threading.Thread(target=client, daemon=True) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(settings.TEST_HANG)
        self.assertEqual(failures, [])
        self.assertEqual(len(full), 16, "the disk never was full")
        unanswered = {path[:20] for path in self.executed if path != "/"} - {
            p[:20] for p in answered
        }
        self.assertFalse(unanswered, "executed and not answered")

    def test_drop_serves_on_and_counts(self):
        proxy = self.start_on_disk("drop")
        self.disk.fill(leave=4 * MIB)
        connection = self.connect(proxy)
        for _ in range(6000):
            _, response = self.post(connection)
            self.assertEqual(response.status, 200)
            if response.closes:
                connection = self.connect(proxy)
        proxy.stop(limit=60)
        log = AuditLog(self.disk.path / "audit")
        self.assertLess(len(log.requests()), 6000, "the disk never was full")
        code, text = log.verify()
        self.assertEqual(code, 0, text)

    def test_block_waits_and_goes_on_when_there_is_space(self):
        proxy = self.start_on_disk("block")
        ballast = self.disk.fill(leave=4 * MIB)
        connection = self.connect(proxy)
        connection.socket.settimeout(3)
        blocked = False
        for _ in range(20_000):
            try:
                _, response = self.post(connection)
                self.assertEqual(response.status, 200)
            except TimeoutError:
                blocked = True
                break
        self.assertTrue(blocked, "the disk never was full")
        before = len(self.executed)
        ballast.unlink()
        connection.socket.settimeout(settings.HANG)
        self.assertEqual(connection.response().status, 200)
        self.assertEqual(len(self.executed), before + 1, "a blocked request had been executed")
        connection.close()
        proxy.stop()


if __name__ == "__main__":
    unittest.main()
