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
INSTALLED = "/var/lib/atoll"  # where ./setup keeps templates and runtimes; ./check has a cache of its own


def cache_folder():
    """The first of ATOLL_CACHE, check's cache and what setup made that has the template base."""
    folders = [os.environ.get("ATOLL_CACHE"), "/var/cache/atoll", INSTALLED]
    for folder in filter(None, folders):
        if (Path(folder) / "templates" / "base" / "template.json").exists():
            return Path(folder)
    raise SystemExit(f"no template base in {' or '.join(filter(None, folders))}: run ./setup or ./check first")


def wait_for(condition, seconds, what):
    """Polls until `condition()` gives something true; that is returned."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s")


def uid_range():
    """(first, count) of the host ids for a run's sandboxes: far above the product's, by the run's process id."""
    slot = int(os.environ.get("ATOLL_CHECK_SLOT", os.getpid()))
    count = 64 * 65536
    return 1_400_000_000 + (slot % 512) * count, count


class Instance:
    """with Instance(cache, build) as i: ... Leaves nothing behind."""

    def __init__(self, cache, build, environment=None, options=()):
        """`options`: more of atolld's, such as --domain."""
        self.cache, self.build, self.environment, self.more_options = Path(cache), Path(build), environment, options
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
        (self.root / "guest").mkdir()
        for image in (self.cache / "guest").glob("image-*.erofs"):
            os.symlink(image, self.root / "guest" / image.name)
        runsc = self.cache / "runtimes" / "runsc"
        first, count = uid_range()
        self.options = ["--root", self.root, "--run-dir", self.run, "--port", "0", "--instance", self.folder.name[-8:].lower().replace("_", "x"),
                        "--uid-first", first, "--uid-ranges", count // 65536, "--agent", self.build / "src" / "atoll-agent",
                        "--runsc", runsc if runsc.exists() else "/nonexistent", "--jail", self.build / "src" / "atoll-jail",
                        "--guest-kernel", self.cache / "guest" / "kernel", *self.more_options]
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
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=self.environment)
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: exit {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self):
        argv = [str(a) for a in [self.build / "src" / "atolld", *self.options, "run"]]
        with open(self.folder / "atolld.log", "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env=self.environment)
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
    """What tests must not leave on the machine. Other Atolls, which come and go meanwhile, do not count."""

    def __init__(self, mark):
        self.mark = mark.encode()
        self.before = set(self.seen())

    @staticmethod
    def mounts():
        """The runtimes' own mounts are in private namespaces; one in this namespace is a leak."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            place = line.split()[4]
            if "/atoll-" in place or "null-netns" in place:
                yield f"mount {place}"

    @staticmethod
    def instances():
        """Names of the instances that run now."""
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = file.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"atolld" in words[0] and b"--instance" in words[:-1]:
                yield words[words.index(b"--instance") + 1].decode()

    @classmethod
    def cgroups(cls):
        known = {f"atoll-{name}" for name in cls.instances()} | {"atoll-main"}
        for top, folders, _ in os.walk("/sys/fs/cgroup"):
            folders[:] = [f for f in folders if f not in known]
            for folder in folders:
                if folder.startswith("atoll-"):
                    yield f"cgroup {top}/{folder}"

    @staticmethod
    def loops():
        for file in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                backing = file.read_text().strip()
            except OSError:
                continue
            if "/atoll-" in backing:
                yield f"loop device {file.parent.parent.name} of {backing}"

    def processes(self):
        first, count = uid_range()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                ours = self.mark in (folder / "environ").read_bytes() or first <= folder.stat().st_uid < first + count
                if ours and state not in "ZX" and int(folder.name) not in (os.getpid(), os.getppid()):
                    yield f"process {folder.name} {(folder / 'comm').read_text().strip()}"
            except OSError:
                continue

    def seen(self):
        names = [f"network namespace {p}" for p in Path("/run/netns").glob("*")] if os.path.isdir("/run/netns") else []
        names += [f"folder {p}" for p in Path("/tmp").glob("atoll-check-*")]
        return [*names, *self.mounts(), *self.cgroups(), *self.loops(), *self.processes()]

    def left_behind(self):
        left = lambda: sorted(set(self.seen()) - self.before)
        try:
            wait_for(lambda: not left(), 10, "cleanliness")
        except TimeoutError:
            return left()
        return []
