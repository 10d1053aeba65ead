"""An Atoll of its own for tests: private folders, port, host ids and cgroup names, beside any other Atoll."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

START_SECONDS_MAX = 60


def wait_for(condition, seconds, what):
    """Polls until `condition()` gives something true; that is returned."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s")


class Instance:
    """with Instance(cache, build) as i: ... Leaves nothing behind."""

    def __init__(self, cache, build):
        self.cache, self.build = Path(cache), Path(build)
        self.process = None

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="atoll-check-"))
        os.chmod(self.folder, 0o755)
        self.root, self.run = self.folder / "root", self.folder / "run"
        self.root.mkdir()
        (self.root / "layers").mkdir()
        for layer in (self.cache / "layers").iterdir():
            os.symlink(layer, self.root / "layers" / layer.name)
        shutil.copytree(self.cache / "templates", self.root / "templates")
        runsc = self.cache / "runtimes" / "runsc"
        # Ranges of host ids that no other instance uses: by the process id, far above the product's.
        first = 1_400_000_000 + (os.getpid() % 4096) * 65536 * 4
        self.options = ["--root", self.root, "--run-dir", self.run, "--port", "0", "--instance", self.folder.name[-8:].lower().replace("_", "x"),
                        "--uid-first", first, "--uid-ranges", 64, "--agent", self.build / "src" / "atoll-agent",
                        "--runsc", runsc if runsc.exists() else "/nonexistent"]
        try:
            self.atolld("bootstrap")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        self.end()
        subprocess.run(["rm", "-rf", "--one-file-system", self.folder], check=False)

    def atolld(self, *arguments):
        argv = [str(a) for a in [self.build / "src" / "atolld", *self.options, *arguments]]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: exit {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self):
        argv = [str(a) for a in [self.build / "src" / "atolld", *self.options, "run"]]
        with open(self.folder / "atolld.log", "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.wait_until_healthy()

    def wait_until_healthy(self):
        def healthy():
            try:
                with urllib.request.urlopen(self.request("/v2/sandboxes"), timeout=5) as reply:
                    return reply.status == 200
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"atolld ended: {self.log_tail()}")
                return False
        wait_for(healthy, START_SECONDS_MAX, f"atolld's first answer; its log ends:\n{self.log_tail()}")

    def log_tail(self):
        return (self.folder / "atolld.log").read_text(errors="replace")[-2000:]

    def stop(self):
        """Ends the roles; sandboxes go on."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def end(self):
        if self.process and self.process.poll() is None:
            for sandbox in self.call("GET", "/v2/sandboxes"):
                self.call("DELETE", f"/sandboxes/{sandbox['sandboxID']}")
        self.stop()

    @property
    def endpoint(self):
        return "http://" + (self.run / "endpoint").read_text().strip()

    @property
    def key(self):
        return json.loads((self.root / "credentials.json").read_text())["apiKey"]

    def request(self, path, method="GET", body=None):
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.Request(self.endpoint + path, data=data, method=method,
                                      headers={"X-API-KEY": self.key, "Content-Type": "application/json"})

    def call(self, method, path, body=None):
        with urllib.request.urlopen(self.request(path, method, body), timeout=60) as reply:
            text = reply.read()
            return json.loads(text) if text else None

    def role_pid(self, role):
        return int((self.run / f"{role}.pid").read_text().split()[0])

    def client_env(self):
        return {"E2B_API_KEY": self.key, "E2B_API_URL": self.endpoint, "E2B_SANDBOX_URL": self.endpoint,
                "ATOLL_BUILD": str(self.build), "ATOLL_ROOT": str(self.root), "ATOLL_RUN": str(self.run),
                "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


class Footprint:
    """What tests must not leave on the machine."""

    PROGRAMS = ("atolld", "atoll-agent", "crun", "runc", "runsc", "runsc-sandbox", "runsc-gofer", "exe")

    @classmethod
    def take(cls):
        self = cls()
        self.mounts = cls._mounts()
        self.cgroups = cls._cgroups()
        self.loops = cls._loops()
        self.processes = cls._processes()
        return self

    @staticmethod
    def _mounts():
        return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}

    @staticmethod
    def _cgroups():
        found = set()
        for top, folders, _ in os.walk("/sys/fs/cgroup"):
            found.update(os.path.join(top, f) for f in folders if f.startswith("atoll-"))
        return found

    @staticmethod
    def _loops():
        return {(p.parent.parent.name, p.read_text().strip()) for p in Path("/sys/block").glob("loop*/loop/backing_file")}

    @classmethod
    def _processes(cls):
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name = (folder / "comm").read_text().strip()
                stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if name.startswith(("atoll", "runsc", "crun")) and stat[0] not in "ZX":
                found[(int(folder.name), stat[19])] = name
        return found

    def left_behind(self):
        def left():
            return (sorted(f"mount {m}" for m in self._mounts() - self.mounts) +
                    sorted(f"cgroup {c}" for c in self._cgroups() - self.cgroups) +
                    sorted(f"loop device {l}" for l in self._loops() - self.loops) +
                    sorted(f"process {p}" for k, p in self._processes().items() if k not in self.processes))
        try:
            wait_for(lambda: not left(), 10, "cleanliness")
        except TimeoutError:
            return left()
        return []
