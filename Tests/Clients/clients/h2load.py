"""h2load: many streams, every response counted."""

import re
import shutil
import subprocess

import exchanges
from clients import BOTH, BaseClient

VARIANTS = BOTH
EXCHANGES = ["many", "uploads", "large_ones"]


def missing():
    return None if shutil.which("h2load") else "h2load is not installed"


def version():
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Client(BaseClient):
    different = {
        "many": "3000 succeeded, 0 failed, 0 errored, 0 timeout; 3000 2xx",
        "uploads": "300 succeeded, 0 failed, 0 errored, 0 timeout; 300 2xx",
        "large_ones": "20 succeeded, 0 failed, 0 errored, 0 timeout; 20 2xx",
    }

    def load(self, path, *arguments):
        # Over HTTP/1.1 it would pipeline.
        version = ["--h1", "-m1"] if self.variant.version == "1.1" else []
        done = subprocess.run(
            ["h2load", *map(str, arguments), *version, self.target.url(path)],
            capture_output=True, text=True, timeout=120, check=True)
        counts = re.search(r"\d+ succeeded, .*", done.stdout).group(0)
        return f"{counts}; {re.search(r'[0-9]+ 2xx', done.stdout).group(0)}"

    def many(self):
        return self.load("/small", "-n", 3000, "-c", 5, "-m", 20)

    def uploads(self):
        file = self.target.folder / "upload"
        file.write_bytes(exchanges.UPLOAD)
        return self.load("/echo", "-n", 300, "-c", 3, "-m", 10, "-d", file)

    def large_ones(self):
        return self.load("/large", "-n", 20, "-c", 2, "-m", 5)
