"""Certificates made by the openssl command, once per run, and TLS settings for clients.

One authority signs all. The names end in `.test`, which nobody owns (RFC 6761).
"""

import datetime
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

    def issue(self, *names, kind="ec", address="127.0.0.1", days=(0, 30)):
        """(certificate, key) for these names, which also hold for `address`; `days` from today say
        when they are valid."""
        stem = self.folder / f"{names[0].replace('*', 'any')}-{kind}-{address}-{days[0]}-{days[1]}"
        certificate, key, request = (
            stem.with_name(stem.name + s) for s in (".pem", ".key", ".csr")
        )
        extensions = stem.with_name(stem.name + ".ext")
        alternatives = ",".join([*(f"DNS:{name}" for name in names), f"IP:{address}"])
        extensions.write_text(f"subjectAltName={alternatives}\n", encoding="ascii")
        parameters = "ec -pkeyopt ec_paramgen_curve:P-256" if kind == "ec" else "rsa:2048"
        _openssl(
            *f"req -newkey {parameters} -nodes".split(),
            *("-subj", f"/CN={names[0]}", "-keyout", key, "-out", request),
        )
        if days == (0, 30):
            _openssl(
                *("x509 -req -days 30 -CAcreateserial".split()),
                *("-CA", self.certificate, "-CAkey", self._key),
                *("-in", request, "-extfile", extensions, "-out", certificate),
            )
        else:
            self._sign_dated(request, extensions, certificate, days)
        return certificate, key

    def _sign_dated(self, request, extensions, certificate, days):
        """`openssl x509` of OpenSSL 3.0 takes no first day; `openssl ca` does."""
        database, rules = self.folder / "index.txt", self.folder / "ca.cnf"
        database.touch()
        rules.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nnew_certs_dir={self.folder}\n"
            "default_md=sha256\nrand_serial=yes\nunique_subject=no\npolicy=any\n[any]\ncommonName=supplied\n",
            encoding="ascii",
        )
        today = datetime.datetime.now(datetime.timezone.utc)
        first, last = (
            (today + datetime.timedelta(days=day)).strftime("%Y%m%d%H%M%SZ") for day in days
        )
        _openssl(
            *("ca -batch -notext -config".split()),
            *(rules, "-cert", self.certificate, "-keyfile", self._key),
            *("-startdate", first, "-enddate", last, "-extfile", extensions),
            *("-in", request, "-out", certificate),
        )

    def self_sign(self, name):
        """(certificate, key) that only vouches for itself, for this name and 127.0.0.1."""
        certificate, key = self.folder / f"{name}-self.pem", self.folder / f"{name}-self.key"
        _openssl(
            *("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30".split()),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
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
def stranger():
    """An authority that no test trusts."""
    return Authority()


@functools.cache
def site():
    """The pair that most tests use: site.test and localhost."""
    return authority().issue("site.test", "localhost")
