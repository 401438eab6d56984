"""node: its modules http2, https and http, a process for each exchange (`node.js`)."""

import json
import pathlib
import shutil
import subprocess

import exchanges
from clients import ALL, BOTH, BaseClient

VARIANTS = BOTH
EXCHANGES = ALL
SCRIPT = pathlib.Path(__file__).with_name("node.js")


def missing():
    return None if shutil.which("node") else "node is not installed"


def version():
    return "node " + subprocess.run(["node", "-v"], capture_output=True, text=True, check=True).stdout.strip()


class Client(BaseClient):
    def __init__(self, target, variant):
        super().__init__(target, variant)
        self.given = target.folder / "given.json"
        self.given.write_text(json.dumps({
            "upload": exchanges.UPLOAD.decode(),
            "stream": [piece.decode() for piece in exchanges.STREAM],
            "cookies": exchanges.COOKIES,
            "together": exchanges.TOGETHER,
            "drained": exchanges.DRAINED,
        }))

    def expected(self, name):
        if name == "continue":
            # That it came is known from the content, which waited for it.
            return exchanges.EXPECTED["post"]
        return super().expected(name)

    def run(self, name):
        done = subprocess.run(
            ["node", SCRIPT, self.target.url(""), self.target.authority, self.variant.version, name, self.given],
            capture_output=True, text=True, timeout=60, check=False)
        return (done.stdout + done.stderr).strip()

    def counted(self, name):
        text, connections = self.target.count_connections(lambda: self.run(name))
        return f"{text}, connections {connections}"

    def drain(self):
        self.target.replace_soon()
        return self.run("drain")


def _exchange(name):
    counts = name in ("parallel", "idle")
    return (lambda self: self.counted(name)) if counts else (lambda self: self.run(name))


for _name in ALL:
    if _name != "drain":
        setattr(Client, _name, _exchange(_name))
