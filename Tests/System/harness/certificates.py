"""Certificates made by the openssl command, once per run, and TLS settings for clients.

One authority signs all. The names end in `.test`, which nobody owns (RFC 6761).
"""

import functools
import pathlib
import ssl
import subprocess
import tempfile


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="millrace-certificates-")
        self.folder = pathlib.Path(self._folder.name)
        self.folder.chmod(0o755)
        self.certificate = self.folder / "authority.pem"
        self._key = self.folder / "authority.key"
        _openssl(
            *("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30".split()),
            *("-subj", "/CN=Millrace test authority", "-addext", "keyUsage=keyCertSign"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, *names, kind="ec"):
        """(certificate, key) for these names, which also hold for 127.0.0.1."""
        stem = self.folder / f"{names[0].replace('*', 'any')}-{kind}"
        certificate, key, request = (
            stem.with_name(stem.name + s) for s in (".pem", ".key", ".csr")
        )
        extensions = stem.with_name(stem.name + ".ext")
        alternatives = ",".join([*(f"DNS:{name}" for name in names), "IP:127.0.0.1"])
        extensions.write_text(f"subjectAltName={alternatives}\n", encoding="ascii")
        parameters = "ec -pkeyopt ec_paramgen_curve:P-256" if kind == "ec" else "rsa:2048"
        _openssl(
            *f"req -newkey {parameters} -nodes".split(),
            *("-subj", f"/CN={names[0]}", "-keyout", key, "-out", request),
        )
        _openssl(
            *("x509 -req -days 30 -CAcreateserial".split()),
            *("-CA", self.certificate, "-CAkey", self._key),
            *("-in", request, "-extfile", extensions, "-out", certificate),
        )
        return certificate, key

    def client(self, minimum=None, maximum=None):
        """TLS settings that trust this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        if minimum:
            context.minimum_version = minimum
        if maximum:
            context.maximum_version = maximum
        return context


@functools.cache
def authority():
    return Authority()


@functools.cache
def site():
    """The pair that most tests use: site.test and localhost."""
    return authority().issue("site.test", "localhost")
