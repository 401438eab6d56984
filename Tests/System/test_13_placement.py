"""Layer 1: where connections come from and which worker they go to.

On loopback a packet is handled by the CPU that sent it, so that a client that is pinned to a CPU
chooses the CPU that its connection arrives on.
"""

import json
import os
import threading
import unittest

from harness import configuration, namespaces, ports, settings, wire
from harness.case import SystemCase, on_both_engines

CPUS = sorted(os.sched_getaffinity(0))


def peer_name(served):
    """Answers each request with the other end of the connection, and keeps it open."""
    while served.request():
        served.answer(json.dumps(served.socket.getpeername()[:2]).encode())


@on_both_engines
class Placement(SystemCase):
    CLIENTS = 40

    def accepted(self, proxy):
        """By worker: connections accepted, and those of them whose packets arrived elsewhere."""
        proxy.counters()
        lines = proxy.find("counters")[-proxy.workers :]
        lines.sort(key=lambda line: int(line["worker"]))
        return [(int(line["accepted"]), int(line["accepted_elsewhere"])) for line in lines]

    def ask_from(self, proxy, cpu):
        def ask():
            os.sched_setaffinity(0, {cpu})
            for _ in range(self.CLIENTS):
                self.assertEqual(self.fetch(proxy, wire.get()).status, 200)

        failures = []

        def run():
            try:
                ask()
            except BaseException as failure:  # reported by the main thread
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(failures, [])

    def start(self, placement):
        if len(CPUS) < 2:
            self.skipTest("needs two CPUs")
        origin = self.start_origin(peer_name)
        return self.proxy_before(
            origin.port, workers=len(CPUS), pin="on", placement=placement
        )

    def test_by_cpu_each_connection_goes_to_the_worker_of_its_cpu(self):
        proxy = self.start("cpu")
        for worker, cpu in enumerate(CPUS):
            before = self.accepted(proxy)
            self.ask_from(proxy, cpu)
            grown = [now[0] - then[0] for now, then in zip(self.accepted(proxy), before)]
            expected = [self.CLIENTS if one == worker else 0 for one in range(len(CPUS))]
            self.assertEqual(grown, expected, f"from CPU {cpu}")
        self.assertEqual([one[1] for one in self.accepted(proxy)], [0] * len(CPUS))

    def test_without_placement_they_are_spread_and_strangers_are_counted(self):
        proxy = self.start("off")
        self.ask_from(proxy, CPUS[0])
        accepted = self.accepted(proxy)
        self.assertEqual(sum(one[0] for one in accepted), self.CLIENTS)
        self.assertGreater(min(one[0] for one in accepted), 0)
        self.assertEqual(accepted[0][1], 0)
        self.assertEqual([one[1] for one in accepted[1:]], [one[0] for one in accepted[1:]])


@on_both_engines
class Queues(SystemCase):
    """A card with two queues, as a veth pair has them: each with a NAPI instance of its own."""

    CLIENTS = 60

    def start(self, placement):
        namespaces.require()
        net = namespaces.Wire()
        self.addCleanup(net.cut)
        net.lay()
        origin = net.inside(net.server, lambda: self.start_origin(peer_name))
        config = self.settings_for(origin.port, workers=2, pin="off", placement=placement)
        address = configuration.listener(ports.free_port(), address=namespaces.SERVER)
        config["listeners"] = [address]
        proxy = self.start_proxy(config, wrapper=[*net.wrapper(), *settings.WRAPPER])
        return net, proxy

    def connections(self, net, proxy):
        """So many at once, each asked twice."""

        def open_one():
            return wire.Wire.connect(proxy.port, address=namespaces.SERVER)

        def ask():
            opened = [open_one() for _ in range(self.CLIENTS)]
            for _ in range(2):
                for one in opened:
                    one.send(wire.get())
                    self.assertEqual(one.response("GET").status, 200)
            return opened

        opened = net.inside(net.client, ask)
        for one in opened:
            self.addCleanup(one.close)
        proxy.counters()
        lines = proxy.find("counters")[-2:]
        for one in opened:
            one.close()
        return sorted(lines, key=lambda line: int(line["worker"]))

    def test_each_worker_serves_one_queue_and_no_connection_is_lost(self):
        net, proxy = self.start("queue")
        lines = self.connections(net, proxy)
        self.assertEqual([line["queues"] for line in lines], ["1", "1"])
        self.assertEqual(sum(int(line["accepted"]) for line in lines), self.CLIENTS)
        self.assertGreater(min(int(line["accepted"]) for line in lines), 0)
        # The kernel spreads them by a hash that knows nothing of queues: half went to the wrong one.
        self.assertGreater(min(int(line["handed_over"]) for line in lines), 0)

    def test_it_drains_with_connections_that_were_handed_over(self):
        net, proxy = self.start("queue")
        self.connections(net, proxy)
        proxy.stop()
        self.assertEqual(proxy.process.returncode, 0)

    def test_on_loopback_there_are_no_queues_and_all_stay_where_they_are(self):
        origin = self.start_origin(peer_name)
        proxy = self.proxy_before(origin.port, workers=2, pin="off", placement="queue")
        for _ in range(20):
            self.assertEqual(self.fetch(proxy).status, 200)
        proxy.counters()
        for line in proxy.find("counters")[-2:]:
            self.assertEqual((line["queues"], line["handed_over"]), ("0", "0"))


@on_both_engines
class Source(SystemCase):
    def test_connections_to_servers_come_from_the_source(self):
        origin = self.start_origin(peer_name)
        first_port = ports.unused_outgoing(4)
        source = {"source_address": "127.0.0.9",
                  "source_ports": f"{first_port}-{first_port + 3}"}
        proxy = self.proxy_before(origin.port, upstream=source)
        host, port = json.loads(self.fetch(proxy).body)
        self.assertEqual(host, "127.0.0.9")
        self.assertIn(port, range(first_port, first_port + 4))

    def test_one_port_serves_several_servers_and_no_second_connection_to_one(self):
        """IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, when the destination is known."""
        held = threading.Event()
        self.addCleanup(held.set)

        def script(served):
            while message := served.request():
                if message.target == "/held":
                    held.wait(60)
                served.answer(json.dumps(served.socket.getpeername()[:2]).encode())

        first, second = self.start_origin(script), self.start_origin(script)
        only = ports.unused_outgoing(1)
        source = {"source_address": "127.0.0.9", "source_ports": f"{only}-{only}"}
        proxy = self.proxy_before(first.port, second.port, upstream=source)
        one, two = self.connect(proxy), self.connect(proxy)
        one.send(wire.get("/held"))
        two.send(wire.get("/held"))
        while len(first.requests) + len(second.requests) < 2:
            threading.Event().wait(0.01)
        self.assertEqual((len(first.requests), len(second.requests)), (1, 1))
        # Both servers have a connection from the only port: a third one cannot be made.
        self.assertIn(self.fetch(proxy).status, (502, 503))
        held.set()
        for connection in one, two:
            host, port = json.loads(connection.response("GET").body)
            self.assertEqual((host, port), ("127.0.0.9", only))


if __name__ == "__main__":
    unittest.main()
