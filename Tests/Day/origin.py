#!/usr/bin/env python3
"""One origin as a process of its own, which can be stopped in order (SIGTERM) or killed: `origin.py PORT`.

It ends with its standard input, so that none outlives the campaign. `/control` says, past the proxy, how many requests
it has answered and how many are in progress.
"""

import base64
import hashlib
import json
import pathlib
import signal
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "System")]
sys.dont_write_bytecode = True

from exchanges import PAUSE, PIECES, WebSocket, content  # noqa: E402 - the paths come first
from harness.origin import Origin  # noqa: E402


class State:
    """What `/control` tells."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answered = 0
        self.in_progress = 0
        self.tunnels = 0

    def count(self, **changes):
        with self.lock:
            for name, change in changes.items():
                setattr(self, name, getattr(self, name) + change)

    def text(self):
        with self.lock:
            return json.dumps({
                "answered": self.answered, "in_progress": self.in_progress, "tunnels": self.tunnels}).encode()


STATE = State()


def script(served):
    while message := served.request():
        if message.target == "/control":
            served.answer(STATE.text())
            continue
        if message.get("upgrade"):
            STATE.count(tunnels=1)
            try:
                tunnel(served, message)
            finally:
                STATE.count(tunnels=-1)
            return
        STATE.count(in_progress=1)
        try:
            respond(served, message)
            STATE.count(answered=1)
        finally:
            STATE.count(in_progress=-1)


def respond(served, message):
    if message.method == "POST":
        return served.answer(message.body[::-1])
    body = content(message.target)
    if "/slow/" not in message.target:
        return served.answer(body)
    served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    size = -(-len(body) // PIECES)
    for number in range(PIECES):
        if piece := body[number * size : (number + 1) * size]:
            served.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        time.sleep(PAUSE)
    served.send(b"0\r\n\r\n")


def tunnel(served, message):
    key = message.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accepted = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    served.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accepted}\r\n\r\n")
    # As long as the day: the campaign ends it.
    served.socket.settimeout(None)
    WebSocket(served, masks=False).echo()


def main():
    origin = Origin(script, port=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=forget, args=(origin,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def forget(origin):
    """The harness keeps all requests, which nobody asks for here."""
    while True:
        time.sleep(1)
        origin.forget()


if __name__ == "__main__":
    main()
