"""How the programs of this folder are built, pinned and read: what Benchmarks/engine/run and
Benchmarks/features/run share."""

import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBURING = ("nop", "echo")  # the C programs that need it


class Stop(Exception):
    """The run cannot go on; the text says why and what to do."""


def say(text=""):
    print(text, flush=True)


class Programs:
    """Builds what the rows need, once each: C by cc, Swift by packages of their own."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.made = {}
        scratch.mkdir(parents=True, exist_ok=True)

    def command(self, words):
        kind, *rest = words
        if kind == "c":
            return [self._c(rest[0]), *rest[1:]]
        if kind == "engine":
            return [self._swift("swift", "engine-bench"), *rest]
        if kind == "nginx":
            return ["nginx"]
        if kind == "nio":
            return [self._swift("nio", "nio-echo"), *rest]
        return list(words)

    def _c(self, name):
        if name not in self.made:
            if name in LIBURING and not Path("/usr/include/liburing.h").exists():
                self._install("liburing-dev")
            target = self.scratch / name
            command = ["cc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", target,
                       HERE / "c" / f"{name}.c"]
            self._run(command + (["-luring"] if name in LIBURING else []))
            self.made[name] = target
        return self.made[name]

    def _swift(self, folder, product):
        if product not in self.made:
            command = ["swift", "build", "-c", "release", "--package-path", HERE / folder,
                       "--scratch-path", self.scratch / folder, "--product", product]
            say(f"building {product}")
            self._run(command)
            shown = subprocess.run(command + ["--show-bin-path"], capture_output=True, text=True,
                                   check=True)
            self.made[product] = Path(shown.stdout.strip()) / product
        return self.made[product]

    @staticmethod
    def _run(command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Stop(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")

    @staticmethod
    def _install(package):
        """liburing is for the comparison only: nothing else in this repository needs it."""
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise Stop(f"missing: {package} (Debian's name); install it, then run this again")
        say(f"installing: {package}")
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
                       check=True, stdout=subprocess.DEVNULL)


def pinned(cpu, command):
    # Before what else runs, where we may: the figures of a starved server say little of it.
    first = ["nice", "-n", "-15"] if os.geteuid() == 0 else []
    return [*first, "taskset", "-c", str(cpu), *map(str, command)]


def figures(text, who):
    found = re.search(r"operations (\d+) cpu (\d+)(?: wall (\d+))?", text)
    if not found or int(found[1]) == 0:
        raise Stop(f"{who} reported no operations: {text!r}")
    operations, cpu, wall = int(found[1]), int(found[2]), int(found[3] or 0)
    return {"cpu": cpu / operations, "wall": wall / operations, "busy": cpu / wall if wall else 0}
