"""The fenced blocks of the documentation, and a shell in which their lines can be run.

Ports, paths and names of the text are replaced by those of the test; nothing else is. A line that
goes on after its command (`millrace run`, `&`) runs beside the next ones until the block ends.
"""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import time

from . import settings
from .proxy import is_listening

ROOT = pathlib.Path(__file__).resolve().parents[3]


@dataclasses.dataclass
class Block:
    """A fenced block: where it stands, its language and its text."""

    file: str
    line: int
    language: str
    text: str

    @property
    def name(self):
        return f"{self.file}:{self.line}"

    def commands(self):
        """The lines of a shell block, continued ones joined, comment lines left out."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def blocks(language):
    """All blocks of a language in README.md and docs/."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        lines = path.read_text("utf-8").splitlines()
        start = None
        for number, line in enumerate(lines, 1):
            if not line.startswith("```"):
                continue
            if start is None:
                start, tag = number, line[3:].strip()
                continue
            if tag == language:
                text = "\n".join(lines[start : number - 1]) + "\n"
                found.append(Block(str(path.relative_to(ROOT)), start, tag, text))
            start = None
    return found


class Shell:
    """Runs lines of the documentation in a folder, with `millrace` in the path."""

    def __init__(self, folder, replacements):
        self.folder = pathlib.Path(folder)
        self.replacements = replacements
        self.behind = []
        binaries = self.folder / "bin"
        binaries.mkdir()
        (binaries / "millrace").symlink_to(pathlib.Path(settings.BINARY).resolve())
        self.environment = {
            **os.environ, "PATH": f"{binaries}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

    def adapt(self, text):
        for pattern, replacement in self.replacements:
            text = re.sub(pattern, replacement, text)
        return text

    def run(self, line, codes=(0,)):
        """Runs a line to its end: what it wrote to standard output."""
        line = self.adapt(line)
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environment, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=settings.TEST_HANG)
        if done.returncode not in codes:
            raise AssertionError(
                f"{line!r} gave {done.returncode}, expected one of {codes}\n"
                f"{done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()

    def start(self, line):
        """Runs a line beside the next ones."""
        line = self.adapt(line).rstrip().removesuffix("&")
        log = open(self.folder / f"beside-{len(self.behind)}.log", "wb")
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        self.behind.append(process)
        return process

    def start_server(self, line, port):
        """`start`, and waits until the port takes connections."""
        process = self.start(line)
        deadline = time.monotonic() + settings.HANG
        while not is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{line!r} does not listen on {port}\n{self.logs()}")
            time.sleep(0.02)
        return process

    def logs(self):
        return "\n".join(
            path.read_text("utf-8", "replace") for path in sorted(self.folder.glob("beside-*.log")))

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        return process.wait(settings.HANG)

    def close(self):
        for process in self.behind:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
