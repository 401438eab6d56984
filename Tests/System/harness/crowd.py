"""Many connections at once from few threads: idle crowds, and clients that keep asking under load.

`Crowd` holds connections and uses several loopback addresses as sources, since one address has only
some 28,000 outgoing ports. `Askers` are threads that send request after request as a polite client
would, and note the fate of each.
"""

import socket
import threading

from . import wire


class Crowd:
    """Many connections that stay open until `close`."""

    def __init__(self, port, count, prepare=None, receive_buffer=None, per_source=2000):
        self.members = []
        try:
            for index in range(count):
                source = f"127.0.{1 + index // per_source}.1"
                member = wire.Wire.connect(port, source=source, receive_buffer=receive_buffer)
                self.members.append(member)
                if prepare:
                    prepare(member, index)
        except BaseException:
            self.close()
            raise

    def __len__(self):
        return len(self.members)

    def close(self):
        for member in self.members:
            member.close()

    def reset(self):
        for member in self.members:
            member.reset()


class Askers:
    """`count` threads, each with a keep-alive connection; `make(thread, number)` gives a request.

    A request counts as `answered` when its response was received whole, as `refused` when the
    connection could not be made, as `lost` (with its error) otherwise. An asker that is told
    `Connection: close` obeys; it goes on with a new connection only if `reconnect` is set.
    """

    def __init__(self, port, count, make, tls=None, reconnect=True):
        self.port = port
        self.make = make
        self.tls = tls
        self.reconnect = reconnect
        self.stop_asking = threading.Event()
        self.lock = threading.Lock()
        self.answered = []
        self.statuses = {}
        self.lost = []
        self.refused = 0
        self.told_to_leave = 0
        self.threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(count)
        ]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def wait_until(self, predicate, limit):
        """Waits for `predicate(self)`; False when the limit passes first."""
        timer = threading.Event()
        for _ in range(int(limit / 0.02)):
            if predicate(self):
                return True
            if not any(thread.is_alive() for thread in self.threads):
                return predicate(self)
            timer.wait(0.02)
        return False

    def join(self, limit):
        for thread in self.threads:
            thread.join(limit)
        return not any(thread.is_alive() for thread in self.threads)

    def finish(self, limit):
        self.stop_asking.set()
        return self.join(limit)

    def _connect(self):
        name = "site.test" if self.tls else None
        return wire.Wire.connect(self.port, tls=self.tls, name=name)

    def _run(self, index):
        connection = None
        number = 0
        while not self.stop_asking.is_set():
            key, data = self.make(index, number)
            number += 1
            if connection is None:
                try:
                    connection = self._connect()
                except OSError:
                    with self.lock:
                        self.refused += 1
                    return
            try:
                connection.send(data)
                response = connection.response()
            except (OSError, wire.Truncated, wire.BadMessage, socket.timeout) as error:
                with self.lock:
                    self.lost.append((key, repr(error)))
                connection.close()
                return
            with self.lock:
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
                if response.status < 400:
                    self.answered.append(key)
            if response.closes:
                connection.close()
                connection = None
                with self.lock:
                    self.told_to_leave += 1
                if not self.reconnect:
                    return
        if connection:
            connection.close()
