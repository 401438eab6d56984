"""A headless Chromium, spoken to over its DevTools pipe with the standard library alone.

The browser reads commands from its descriptor 3 and writes answers and events to its descriptor 4,
each a JSON object with a zero byte after it (`--remote-debugging-pipe`).
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time

#: A page of two megabytes is there in well under a second; a loaded machine may take ten times that.
PATIENCE_SECONDS = 60


class BrowserError(Exception):
    """The browser said no, or nothing."""


def program():
    """Its path, or None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One browser with one page. Everything that goes wrong in the page is in `problems`."""

    def __init__(self, folder):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        self._log = open(os.path.join(folder, "chromium.log"), "wb")
        # The shell puts the two ends at 3 and 4, whatever their numbers were here.
        command = (
            f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}')
        self._process = subprocess.Popen(
            ["bash", "-c", command, program(), "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             f"--user-data-dir={os.path.join(folder, 'chromium')}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=self._log, stderr=self._log,
            start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        self._number = 0
        self._buffer = b""
        self._session = None
        self._events = []
        self.problems = []
        self.requests = []
        self._attach()

    def _attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call(
            "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """Ends the browser and all its children."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        for descriptor in (self._read, self._write):
            os.close(descriptor)
        self._log.close()

    def call(self, method, **parameters):
        """Sends a command and gives its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data):]
        while True:
            answer = self._next(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self, waiting_for):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise BrowserError(f"no answer to {waiting_for} in {PATIENCE_SECONDS} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise BrowserError(f"the browser ended while it was asked for {waiting_for}")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        method, details = event.get("method"), event.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            thrown = details["exceptionDetails"]
            self.problems.append(
                thrown.get("exception", {}).get("description") or thrown.get("text", ""))
        elif method == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console.{details['type']}: {details['args']}")
        elif method == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"log: {details['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])

    def size(self, width, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)

    def scheme(self, name):
        """`light` or `dark`, as the user's system prefers it."""
        self.call("Emulation.setEmulatedMedia", media="",
                  features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, file):
        """Loads a local file, and waits until it is there."""
        self.visit(f"file://{file}")

    def visit(self, url):
        """Loads a page, and waits until it is there."""
        self.problems.clear()
        self.requests.clear()
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._note(self._next("Page.loadEventFired"))

    def evaluate(self, expression):
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, file, full=True):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))
