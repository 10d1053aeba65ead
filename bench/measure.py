"""What is measured. Each function gives {series name: [milliseconds or MB/s, one per round]}; A and B take turns."""
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from wire import Sandbox

MEGA = 1_000_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def clocked(action, *arguments):
    begun = time.perf_counter()
    action(*arguments)
    return (time.perf_counter() - begun) * 1000


def add(into, values, prefix):
    for name, value in (values or {}).items():
        into.setdefault(f"{prefix} {name}", []).append(value)


def atoll_life(world, tier):
    box = world.sandbox()
    begun = time.perf_counter()
    box.create(tier, world.template)
    times = {"create": (time.perf_counter() - begun) * 1000}
    try:
        box.run("/bin/true")
        times["first_exec"] = (time.perf_counter() - begun) * 1000
        times["exec"] = clocked(box.run, "/bin/true")
    finally:
        times["kill"] = clocked(box.kill)
    return times


def life(world, rounds):
    """Creates, first commands, commands and kills of each tier beside the runtimes that are under it."""
    out = {}
    for tier in world.tiers:
        atoll_life(world, tier)
    for number in range(rounds):
        turns = [(f"atoll {t}", lambda t=t: atoll_life(world, t)) for t in world.tiers]
        turns += [(f"bare {b.name}", b.life) for b in world.bare]
        for name, turn in turns if number % 2 == 0 else reversed(turns):
            add(out, turn(), name)
            # The node makes the next disk in the background; that is nobody's cost.
            time.sleep(world.pause)
    return out


def exec_overhead(world, rounds):
    """A command's round trip for the client, and the time of the same fork and exec in a loop inside."""
    out, count = {}, 50
    loop = f"a=$(date +%s%N); i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done; b=$(date +%s%N); echo $((b-a))"
    for tier in world.tiers:
        with Lease(world, tier) as box:
            box.run("/bin/true")
            for _ in range(rounds):
                inside = int(box.run("/bin/sh", "-c", loop)) / count / MEGA
                trips = sorted(clocked(box.run, "/bin/true") for _ in range(9))
                add(out, {"client": trips[4], "inside": inside, "overhead": trips[4] - inside}, f"exec {tier}")
    return out


class Lease:
    """A sandbox for the length of a `with`."""

    def __init__(self, world, tier):
        self.box, self.tier, self.template = world.sandbox(), tier, world.template

    def __enter__(self):
        self.box.create(self.tier, self.template)
        return self.box

    def __exit__(self, *_):
        self.box.kill()


class Sink:
    """What this machine can do at this moment: Python to Python over loopback into (or from) a file."""

    def __init__(self):
        self.file = None
        self.listener = socket.create_server(("127.0.0.1", 0))

    def receive(self, total):
        peer, _ = self.listener.accept()
        self.file = tempfile.TemporaryFile(dir="/var/tmp")  # a new one each time, as in the sandbox
        buffer, left = bytearray(1 << 18), total
        while left > 0 and (count := peer.recv_into(buffer)) > 0:
            self.file.write(memoryview(buffer)[:count])
            left -= count
        self.file.flush()
        peer.sendall(b"k")
        peer.close()

    def upload(self, content):
        thread = threading.Thread(target=self.receive, args=(len(content),))
        thread.start()
        with socket.create_connection(self.listener.getsockname()) as peer:
            peer.sendall(content)
            peer.recv(1)
        thread.join()

    def send(self):
        peer, _ = self.listener.accept()
        self.file.seek(0)
        peer.sendfile(self.file)
        peer.close()

    def download(self, into):
        thread = threading.Thread(target=self.send)
        thread.start()
        view, have = memoryview(into), 0
        with socket.create_connection(self.listener.getsockname()) as peer:
            while have < len(into) and (count := peer.recv_into(view[have:])) > 0:
                have += count
        thread.join()

    def close(self):
        self.listener.close()


def transfer(world, rounds):
    """100 MB up and down through the edge as octet-stream, beside a plain socket and file."""
    content, into, out, sink = os.urandom(1 << 20) * 100, bytearray(100 << 20), {}, Sink()
    rate = lambda ms: len(content) / MEGA / (ms / 1000)
    try:
        for tier in world.tiers:
            with Lease(world, tier) as box:
                for number in range(rounds):
                    # A new file: writing over an old one also pays for freeing it.
                    path = f"/tmp/hundred-{number}"
                    up = rate(clocked(box.upload, path, content))
                    plain_up = rate(clocked(sink.upload, content))
                    down = rate(clocked(box.download, path, into))
                    if into != content:
                        raise RuntimeError("what came back is not what was sent")
                    plain_down = rate(clocked(sink.download, into))
                    add(out, {"upload": up, "plain upload": plain_up, "download": down, "plain download": plain_down}, f"transfer {tier}")
    finally:
        sink.close()
    return out


def rss_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / MEGA


class RssWatch(threading.Thread):
    """Resident memory of processes each 100 ms."""

    def __init__(self, pids):
        super().__init__()
        self.pids, self.over = pids, threading.Event()
        self.samples = {name: [rss_mb(pid)] for name, pid in pids.items()}

    def run(self):
        while not self.over.wait(0.1):
            for name, pid in self.pids.items():
                self.samples[name].append(rss_mb(pid))

    def stop(self):
        self.over.set()
        self.join()
        return self.samples


def stream(world, rounds):
    """A GB of a command's standard output, and the memory of who carries it."""
    total, out = world.stream_bytes, {}
    for tier in world.tiers:
        with Lease(world, tier) as box:
            watch = RssWatch({"edge rss": world.instance.role_pid("edge"), "init rss": world.init_pid(box.id)})
            watch.start()
            begun, seen, tail = time.perf_counter(), 0, b""
            try:
                for piece in box.start("/usr/bin/head", "-c", str(total), "/dev/zero"):
                    seen += len(piece)
                    tail = (tail + piece)[-2000:]
            finally:
                samples = watch.stop()
            seconds = time.perf_counter() - begun
            if seen < total * 4 / 3 or b'"end"' not in tail:
                raise RuntimeError(f"{seen} bytes on the wire of {total} bytes in base64; the end: {tail[-300:]!r}")
            add(out, {"MB/s": total / MEGA / seconds}, f"stream {tier}")
            for name, values in samples.items():
                out[f"stream {tier} {name}"] = values
    return out


def interactive(world, rounds):
    """Create, one command that identifies the sandbox, `node -v`: each through a login shell, as the SDKs do."""
    out = {}

    def once(tier):
        box = world.sandbox()
        begun = time.perf_counter()
        box.create(tier, world.template)
        try:
            box.run("/bin/bash", "-l", "-c", "hostname")
            box.run("/bin/bash", "-l", "-c", "node -v")
            return (time.perf_counter() - begun) * 1000
        finally:
            box.kill()

    for _ in range(rounds):
        for tier in world.tiers:
            add(out, {"interactive": once(tier)}, f"tti {tier}")
            time.sleep(world.pause)
    return out


MEASUREMENTS = {"life": life, "exec": exec_overhead, "transfer": transfer, "stream": stream, "tti": interactive}
