"""Layer 1: which engine runs, and what the log says of the reason, where io_uring is refused.

The refusal is real: a seccomp filter on io_uring_setup(2), installed by seccomp-deny.c before the
proxy starts, as a container's profile would do it.
"""

import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import ports, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.proxy import Proxy, is_listening, run_to_end

_folder = None


def seccomp_deny():
    """The wrapper, compiled once per lane and in a folder of that lane: a program that another lane is just
    linking cannot be run (ETXTBSY).
    """
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="millrace-seccomp-")
        source = settings.SYSTEM_TESTS / "seccomp-deny.c"
        subprocess.run(["cc", "-O1", "-Wall", "-o", f"{_folder.name}/seccomp-deny", source], check=True)
    return f"{_folder.name}/seccomp-deny"


class Refused(SystemCase):
    """`engine: auto` where the kernel refuses the ring: epoll, a reason, and service."""

    def start_refused(self, mode, engine="auto"):
        origin = self.start_origin()
        config = self.settings_for(origin.port)
        config["engine"] = engine
        return self.start_proxy(config, wrapper=[seccomp_deny(), mode])

    def check_refused(self, mode, cause):
        proxy = self.start_refused(mode)
        selected = proxy.wait_for("engine selected")
        self.assertEqual((selected["engine"], selected["reason"]), ("epoll", cause))
        self.assertTrue(selected["detail"], "an operator must learn what to change")
        for _ in range(10):
            self.assertEqual(self.fetch(proxy).status, 200)
        proxy.stop()

    def test_EPERM_leads_to_epoll_and_the_log_says_seccomp(self):
        self.check_refused("EPERM", "EPERM_seccomp")

    def test_ENOSYS_leads_to_epoll_and_the_log_says_so(self):
        self.check_refused("ENOSYS", "ENOSYS")

    def test_KILL_strikes_the_probe_only_and_the_proxy_runs(self):
        self.check_refused("KILL", "killed")

    def test_configured_epoll_runs_even_under_KILL(self):
        proxy = self.start_refused("KILL", engine="epoll")
        selected = proxy.wait_for("engine selected")
        self.assertEqual((selected["engine"], selected["reason"]), ("epoll", "configured"))
        self.assertEqual(self.fetch(proxy).status, 200)

    def check_configured_ring(self, mode):
        config = self.settings_for(ports.free_port())
        config["engine"] = "io_uring"
        port = int(config["listeners"][0]["address"].rpartition(":")[2])
        proxy = Proxy(self.folder, config, wrapper=[seccomp_deny(), mode])
        self.addCleanup(proxy.kill)
        proxy.spawn()
        self.assertGreater(proxy.wait(), 0, "an engine asked for by name must not be swapped")
        self.assertIn("io_uring", proxy.tail())
        self.assertFalse(is_listening(port))

    def test_configured_io_uring_fails_with_a_reason_under_EPERM(self):
        self.check_configured_ring("EPERM")

    def test_configured_io_uring_fails_with_a_reason_under_KILL(self):
        self.check_configured_ring("KILL")


@on_both_engines
class Selected(SystemCase):
    def test_the_log_names_the_engine_and_the_cause_once(self):
        proxy = self.proxy_before(self.start_origin().port)
        lines = proxy.find("engine selected")
        self.assertEqual(len(lines), 1)
        if self.engine == "auto":
            self.assertNotEqual(lines[0]["reason"], "configured")
        else:
            self.assertEqual((lines[0]["engine"], lines[0]["reason"]), (self.engine, "configured"))

    def test_several_workers_each_serve_and_count(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, workers=2)
        self.assertEqual(proxy.workers, 2)
        for _ in range(40):
            self.assertEqual(self.fetch(proxy).status, 200)
        self.assertEqual(proxy.counters()["responses"], 40)


class ThreadedWrites(SystemCase):
    """`threaded_writes`: who writes the audit log on io_uring."""

    engine = "io_uring"

    def writers(self, **engine):
        config = self.settings_for(self.start_origin().port)
        config["engine"] = {"kind": "io_uring", **engine}
        config["audit"] = {"directory": str(self.folder / f"audit{len(engine)}")}
        proxy = self.start_proxy(config)
        self.assertEqual(self.fetch(proxy).status, 200)
        names = [task.read_text().strip() for task in Path(f"/proc/{proxy.pid}/task").glob("*/comm")]
        return [name for name in names if name.startswith("millrace-file")]

    @unittest.skipIf(settings.URING_REFUSAL, "needs io_uring")
    def test_threads_write_where_that_is_asked_for(self):
        self.assertEqual(self.writers(), [])
        self.assertNotEqual(self.writers(threaded_writes=True), [])


class Examined(SystemCase):
    """`millrace doctor`: the same self-tests, a line for each feature."""

    FEATURES = (
        "defer_taskrun no_sqarray multishot_accept multishot_receive quiet_sends registered_ring "
        "direct_descriptors registered_buffers linked_chains zero_copy_send ring_messages "
        "worker_limits sqpoll min_wait receive_bundles incremental_buffers ring_resize "
        "worker_affinity threaded_writes busy_poll precise_wait"
    ).split()

    def examine(self, mode=None):
        wrapper = [seccomp_deny(), mode] if mode else settings.WRAPPER
        code, out, _ = run_to_end(["doctor"], wrapper=wrapper)
        ring, _, epoll = out.partition("\nepoll:\n")
        # A name, a state, and where it is not on a colon and the cause.
        lines = [line.split(maxsplit=2) for line in (ring + "\n" + epoll).splitlines()
                 if line.startswith("  ")]
        for line in lines:
            self.assertIn(line[1], ("on", "off:", "refused:"), line)
            self.assertEqual(len(line), 2 if line[1] == "on" else 3, line)
        for name in self.FEATURES:
            self.assertIn(name, [line[0] for line in lines])
        self.assertRegex(epoll, r"(?m)^  precise_wait +on$")
        return code, ring, lines

    @unittest.skipIf(settings.WRAPPER, "this run refuses io_uring on purpose")
    def test_every_feature_has_a_line_and_what_is_on_by_default_works(self):
        if settings.URING_REFUSAL:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")
        code, ring, lines = self.examine()
        self.assertEqual(code, 0)
        self.assertRegex(ring, r"^io_uring: single_issuer")
        self.assertIn(["quiet_sends", "on"], lines)

    def test_a_refused_ring_is_explained_and_the_features_of_epoll_are_tried(self):
        for mode, cause in (("EPERM", "EPERM_seccomp"), ("KILL", "killed")):
            with self.subTest(mode=mode):
                code, ring, lines = self.examine(mode)
                self.assertEqual(code, 1)
                self.assertTrue(ring.startswith(f"io_uring: refused ({cause}). "), ring)
                self.assertIn(["quiet_sends", "off:", "not tried: no ring"], lines)


class Automatic(SystemCase):
    @unittest.skipIf(settings.WRAPPER, "this run refuses io_uring on purpose")
    def test_auto_takes_io_uring_where_it_works(self):
        if settings.URING_REFUSAL:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")
        config = self.settings_for(self.start_origin().port)
        config["engine"] = "auto"
        proxy = self.start_proxy(config)
        selected = proxy.wait_for("engine selected")
        self.assertEqual((selected["engine"], selected["reason"]), ("io_uring", "probed"))
        self.assertEqual(self.fetch(proxy, wire.get()).status, 200)


if __name__ == "__main__":
    unittest.main()
