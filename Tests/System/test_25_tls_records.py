"""Layer 2: who seals the records of long responses. In sessions of TLS 1.3 that is the proxy with libcrypto's ciphers, unless
it is told otherwise; what clients get must be the same.

What goes through OpenSSL's record layer is counted by tls-writes.c, loaded before the proxy.
"""

import hashlib
import subprocess
import unittest

from harness import certificates, peers, settings, tlsrecords
from harness.case import SystemCase, on_both_engines

_SIZE = 2_000_000
_CONTENT = "".join(f"{number:07}\n" for number in range(_SIZE // 8)).encode()
# A session carries so much before the proxy seals its records, and then what one call of OpenSSL's had begun.
_BEFORE = 400_000
_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


@on_both_engines
class Records(SystemCase):
    def start_counted(self, environment=None, **tls):
        def script(served):
            while message := served.request():
                served.answer(_CONTENT[: int(message.target[1:])])

        library = self.folder / "tls-writes.so"
        subprocess.run(
            ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", library, settings.SYSTEM_TESTS / "tls-writes.c"],
            check=True)
        pair = dict(zip(("certificate", "key"), map(str, certificates.site())))
        config = self.settings_for(self.start_origin(script).port, tls={"certificates": [pair], **tls})
        environment = {"LD_PRELOAD": str(library), "TLS_WRITES": str(self.folder / "written"), **(environment or {})}
        return self.start_proxy(config, environment=environment)

    def written(self):
        """Bytes that OpenSSL's record layer has taken."""
        return int.from_bytes((self.folder / "written").read_bytes(), "little")

    def fetch_long(self, proxy, *arguments):
        """What OpenSSL's record layer took of a long response, which must arrive as it is."""
        before = self.written()
        result = peers.curl(f"https://site.test:{proxy.port}/{_SIZE}", *arguments, folder=self.folder)
        self.assertEqual((result.exit, result.status), (0, 200), result.errors)
        self.assertEqual(hashlib.sha256(result.body).digest(), hashlib.sha256(_CONTENT).digest())
        return self.written() - before

    def test_long_responses_are_sealed_without_openssls_record_layer(self):
        proxy = self.start_counted()
        for suite in _SUITES:
            for version in ("--http1.1", "--http2"):
                with self.subTest(suite=suite, version=version):
                    taken = self.fetch_long(proxy, "--tlsv1.3", "--tls13-ciphers", suite, version)
                    self.assertGreater(taken, 0)
                    self.assertLess(taken, _BEFORE)
        self.assertGreaterEqual(self.fetch_long(proxy, "--tls-max", "1.2"), _SIZE)

    def test_record_layer_openssl_seals_all(self):
        proxy = self.start_counted(record_layer="openssl")
        for version in ("--http1.1", "--http2"):
            self.assertGreaterEqual(self.fetch_long(proxy, "--tlsv1.3", version), _SIZE)

    def test_padding_that_openssl_is_configured_for_is_kept(self):
        file = self.folder / "openssl.cnf"
        file.write_text(
            "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = every\n[every]\nRecordPadding = 1000\n",
            encoding="ascii")
        for layer in ("auto", "openssl"):
            with self.subTest(layer=layer):
                proxy = self.start_counted({"OPENSSL_CONF": str(file)}, record_layer=layer)
                # Those behind a long session are told their secret.
                for _ in range(3):
                    ask = b"GET /300000 HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"
                    content, lengths = tlsrecords.exchange(proxy.port, ask)
                    self.assertTrue(content.endswith(_CONTENT[:300_000]))
                    self.assertGreater(len(lengths), 20)
                    # A record without its tag is a number of whole blocks, or one of the longest.
                    odd = [length for length in lengths if length < 16_400 and (length - 16) % 1000]
                    self.assertEqual(odd, [])
                proxy.stop()


if __name__ == "__main__":
    unittest.main()
