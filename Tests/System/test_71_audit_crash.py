"""Layer 7: kill -9 and a power cut under load. What a client received whole, the log has.

Every request carries its own path, so a lost record has a name. The power cut is real as far as the
file system can tell: see harness/disks.py. The same cut with `durability: none` must lose records;
if it did not, the test would prove nothing.
"""

import itertools
import unittest

from harness import certificates, disks, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.crowd import Askers

ANSWERS = 1500


class CrashCase(SystemCase):
    def audited(self, directory, durability, site, tls=True):
        audit = {"directory": str(directory), "durability": durability}
        config = self.settings_for(
            site.port, tls=self.site_tls if tls else None, audit=audit, workers=2
        )
        return self.start_proxy(config)

    def start_site(self):
        def script(served):
            while served.request():
                served.answer(b"receipt\n")

        return self.start_origin(script)

    def ask_until(self, proxy, round_name, answers=ANSWERS, tls=True):
        numbers = itertools.count()

        def make(index, _):
            path = f"/{round_name}/{index}/{next(numbers)}"
            return path, wire.get(path)

        context = certificates.authority().client() if tls else None
        askers = Askers(proxy.port, 24, make, tls=context).start()
        reached = askers.wait_until(lambda a: len(a.answered) >= answers, settings.TEST_HANG)
        self.assertTrue(reached, f"only {len(askers.answered)} answers; lost: {askers.lost[:3]}")
        return askers

    def lost_records(self, directory, askers):
        recorded = AuditLog(directory).paths()
        return [path for path in askers.answered if path not in recorded]


@on_both_engines
class Killed(CrashCase):
    def test_kill_9_under_tls_load_three_times_in_a_row(self):
        site = self.start_site()
        directory = self.folder / "audit"
        proxy = self.audited(directory, "before_response", site)
        every = []
        for round_number in range(3):
            askers = self.ask_until(proxy, f"round{round_number}")
            proxy.kill()
            self.assertTrue(askers.finish(settings.HANG))
            every.append(askers)
            proxy.ended_by_test = False
            proxy.start()
        proxy.stop()
        log = AuditLog(directory)
        for askers in every:
            self.assertGreaterEqual(len(askers.answered), ANSWERS)
            lost = self.lost_records(directory, askers)
            self.assertFalse(lost, f"{len(lost)} acknowledged and not recorded, such as {lost[:3]}")
        code, text = log.verify()
        self.assertEqual(code, 0, text)
        self.assertEqual(max(log.paths().values()), 1, "a record was written twice")

    def test_kill_9_in_every_durability_leaves_a_log_that_verifies(self):
        site = self.start_site()
        for durability in ("interval", "none"):
            with self.subTest(durability=durability):
                directory = self.folder / f"audit-{durability}"
                proxy = self.audited(directory, durability, site)
                askers = self.ask_until(proxy, durability)
                proxy.kill()
                askers.finish(settings.HANG)
                proxy.ended_by_test = False
                proxy.start()
                self.assertEqual(self.fetch(proxy, wire.get("/after"), tls=True).status, 200)
                proxy.stop()
                log = AuditLog(directory)
                code, text = log.verify()
                self.assertEqual(code, 0, text)
                self.assertIn("/after", log.paths())


@on_both_engines
class PowerCut(CrashCase):
    def cut(self, durability):
        """(answered paths without a record, verify's exit code and words) after cut and restart."""
        disks.require_loop_devices()
        disk = disks.VolatileDisk(self.folder)
        self.addCleanup(disk.close)
        site = self.start_site()
        directory = disk.path / "audit"
        proxy = self.audited(directory, durability, site)
        askers = self.ask_until(proxy, durability)
        disk.cut_power()
        # From here on no commit succeeds: an answer that still arrives had its record before.
        askers.wait_until(lambda a: False, 0.5)
        proxy.kill()
        self.assertTrue(askers.finish(settings.HANG))
        disk.restore_power()
        proxy.ended_by_test = False
        proxy.start()
        self.assertEqual(self.fetch(proxy, wire.get("/after"), tls=True).status, 200)
        proxy.stop()
        lost = self.lost_records(directory, askers)
        log = AuditLog(directory)
        self.assertIn("/after", log.paths())
        code, text = log.verify()
        print(
            f"        {len(askers.answered)} answered, {len(lost)} without a record ({durability})"
        )
        disk.close()
        return lost, code, text

    def test_no_acknowledged_record_is_missing(self):
        lost, code, text = self.cut("before_response")
        self.assertFalse(lost, f"{len(lost)} acknowledged and not recorded, such as {lost[:3]}")
        self.assertEqual(code, 0, text)

    def test_and_without_syncing_records_are_missing(self):
        lost, code, text = self.cut("none")
        self.assertGreater(len(lost), 0, "the cut loses nothing, so it cannot prove anything")
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
