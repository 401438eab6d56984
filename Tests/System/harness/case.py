"""The test case that all system tests extend, and the decorator that runs it on every engine.

A case owns a folder, origins and proxies; it ends them in reverse order and lets a proxy that died,
logged nonsense or did not end with code 0 fail the test that used it.
"""

import pathlib
import shutil
import ssl
import sys
import tempfile
import time
import unittest

from . import certificates, configuration, ports, settings, wire
from .nginx import Nginx
from .origin import Origin
from .proxy import Proxy


def on_both_engines(case):
    """Replaces a class by one class per engine, with the engine's name in its own."""
    module = sys.modules[case.__module__]
    for engine in settings.ENGINES:
        name = f"{case.__name__}_{engine}"
        members = {"engine": engine, "__module__": case.__module__, "__doc__": case.__doc__}
        setattr(module, name, type(name, (case,), members))
    return None  # the undecorated class must not be collected


class SystemCase(unittest.TestCase):
    """One folder per test, and whatever the test started."""

    engine = None
    hang_limit = settings.TEST_HANG
    maxDiff = 2000
    longMessage = True

    @classmethod
    def setUpClass(cls):
        if cls.engine == "io_uring" and settings.URING_REFUSAL and not settings.WRAPPER:
            raise unittest.SkipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")

    def setUp(self):
        self.proxies = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-test-"))
        # nginx's worker has no rights of root's: it must be able to pass through.
        self.folder.chmod(0o755)
        if not settings.KEEP:
            self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    # What a test starts

    def wait_until_asked(self, origin, target="/"):
        """Until a request has reached its server: what happens next to the proxy happens behind it."""
        for _ in range(1000):
            if any(message.target == target for message in origin.requests):
                return
            time.sleep(0.01)
        self.fail("the request did not reach the origin")

    def start_origin(self, script=None, **options):
        origin = Origin(script, **options) if script else Origin(**options)
        self.addCleanup(self._close_origin, origin)
        return origin

    def _close_origin(self, origin):
        origin.close()
        if origin.failures:
            raise AssertionError(f"the origin's script failed: {origin.failures[0]!r}")

    def start_nginx(self, **options):
        nginx = Nginx(self.folder, **options)
        self.addCleanup(nginx.close)
        return nginx.start()

    def settings_for(self, *origin_ports, tls=None, timeouts=None, upstream=None, **others):
        """The usual configuration: one worker, one listener, one upstream."""
        config = {
            "engine": self.engine or "auto",
            "workers": 1,
            "listeners": [
                configuration.listener(ports.free_port(), tls=tls, timeouts=timeouts),
            ],
            "upstreams": {"origin": configuration.upstream(*origin_ports, **(upstream or {}))},
            "drain": {"deadline": "5s"},
        }
        config.update(others)
        config.setdefault("routes", [{"match": {"path": "/"}, "upstream": "origin"}])
        return config

    def start_proxy(self, config=None, **options):
        """Starts a proxy on this case's engine; `.port` is its first listener's."""
        folder = self.folder / f"proxy-{len(self.proxies)}"
        folder.mkdir()
        proxy = Proxy(folder, config, **options)
        if isinstance(config, dict):
            proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
        self.proxies.append(proxy)
        self.addCleanup(proxy.clean_up)
        proxy.start()
        self.check_engine(proxy)
        return proxy

    def check_engine(self, proxy):
        """A test on an engine that ran on the other one would prove nothing."""
        expected = settings.EXPECTED_ENGINE if self.engine == "auto" else self.engine
        if expected:
            self.assertEqual(proxy.engine, expected, proxy.tail())

    def proxy_before(self, *origin_ports, **options):
        """The usual configuration, started."""
        return self.start_proxy(self.settings_for(*origin_ports, **options))

    @property
    def site_tls(self):
        return [certificates.site()]

    # What a test asks

    def connect(self, proxy, tls=False, **options):
        """A raw connection, closed when the test ends; `tls` may be a client's context."""
        if tls:
            own = isinstance(tls, ssl.SSLContext)
            options["tls"] = tls if own else certificates.authority().client()
            options.setdefault("name", "site.test")
        connection = wire.Wire.connect(options.pop("port", None) or proxy.port, **options)
        self.addCleanup(connection.close)
        return connection

    def fetch(self, proxy, data=None, method="GET", **options):
        """One request on a connection of its own."""
        connection = self.connect(proxy, **options)
        try:
            connection.send(data or wire.get())
            return connection.response(method)
        finally:
            connection.close()

    def warm(self, proxy, path="/", rounds=3):
        """A few requests, then the counters at rest: the baseline for `proxy.settle`."""
        for _ in range(rounds):
            self.assertLess(self.fetch(proxy, wire.get(path)).status, 400)
        return proxy.settle()

    def assertSameBytes(self, found, expected):
        """Equality of contents, told by length and first difference instead of by a diff."""
        if found == expected:
            return
        pairs = enumerate(zip(found, expected))
        first = next((n for n, (one, two) in pairs if one != two), min(len(found), len(expected)))
        self.fail(f"{len(found)} bytes for {len(expected)}; the first difference is at {first}")

    def assertClosed(self, connection, message=None):
        self.assertTrue(connection.is_closed_by_peer(), message or "the proxy keeps the connection")

    def transcript(self):
        """For the runner's report: the ends of the logs of this test's proxies."""
        return "\n".join(proxy.tail() for proxy in getattr(self, "proxies", []))


class SharedProxyCase(SystemCase):
    """For tables of small cases: one origin and one proxy per class instead of per test.

    A subclass gives `make_origin` and `make_settings`; every test starts with the origin's records
    empty and the proxy alive (a proxy that died fails its test and is started anew for the next).
    """

    shared_origin = None
    shared_proxy = None

    @classmethod
    def tearDownClass(cls):
        proxy, cls.shared_proxy = cls.shared_proxy, None
        origin, cls.shared_origin = cls.shared_origin, None
        try:
            if proxy:
                proxy.clean_up()
        finally:
            if origin:
                origin.close()
            if proxy:
                shutil.rmtree(proxy.directory, ignore_errors=True)

    def make_origin(self):
        return Origin()

    def make_settings(self, origin):
        return self.settings_for(origin.port)

    def setUp(self):
        super().setUp()
        cls = type(self)
        if cls.shared_origin is None:
            cls.shared_origin = self.make_origin()
        if cls.shared_proxy is None or not cls.shared_proxy.is_running:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-shared-"))
            config = self.make_settings(cls.shared_origin)
            proxy = Proxy(folder, config)
            proxy.port = int(config["listeners"][0]["address"].rpartition(":")[2])
            cls.shared_proxy = proxy
            proxy.start()
        self.origin, self.proxy = cls.shared_origin, cls.shared_proxy
        self.proxies.append(self.proxy)
        self.check_engine(self.proxy)
        self.origin.drop_all()
        self.origin.forget()
        self.addCleanup(self._check_alive)

    def _check_alive(self):
        proxy = self.proxy
        if not proxy.is_running:
            proxy.ended_by_test = True
            type(self).shared_proxy = None
            raise AssertionError(
                f"the proxy died (exit {proxy.process.returncode})\n{proxy.tail()}"
            )


def add_table(case, table, prefix):
    """Makes one test method per row: `case.check_row(*row)` under the row's own name."""
    for name, *row in table:
        slug = "".join(letter if letter.isalnum() else "_" for letter in name)

        def test(self, row=row):
            self.check_row(*row)

        test.__doc__ = name
        method = f"test_{prefix}_{slug}"
        if method in case.__dict__:
            raise ValueError(f"two rows named {name!r}")
        setattr(case, method, test)
    return case
