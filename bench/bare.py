"""Runtimes without Atoll: the same bundle, the same template's tree, run from a helper in a mount namespace of its own."""
import ctypes
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

CLONE_NEWNS, MS_REC, MS_SLAVE, MNT_DETACH = 0x20000, 0x4000, 0x80000, 2
STEP_SECONDS = 60
libc = ctypes.CDLL(None, use_errno=True)


def finish(argv, stderr):
    """The exit code. Not subprocess's own wait with a time-out: that looks after 0.5, 1.5, 3.5, ... 63.5 ms only."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
    handle = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(STEP_SECONDS * 1000):
            process.kill()
            raise RuntimeError(f"{argv[0]}: no end within {STEP_SECONDS} s")
    finally:
        os.close(handle)
        process.wait()
    return process.returncode


def call(what, result):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def private_namespace():
    """crun 1.8 refuses hybrid cgroups, so the unified mount is hidden here; see Atoll's own node."""
    call("unshare", libc.unshare(CLONE_NEWNS))
    call("slave", libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None))
    if os.path.ismount("/sys/fs/cgroup/unified"):
        call("umount", libc.umount2(b"/sys/fs/cgroup/unified", MNT_DETACH))


def mount_root(place, layers, uid):
    for name in ("upper", "work", "root"):
        (place / name).mkdir(parents=True)
        os.chown(place / name, uid, uid)
        os.chmod(place / name, 0o755)
    options = f"lowerdir={':'.join(layers)},upperdir={place}/upper,workdir={place}/work".encode()
    call("overlay", libc.mount(b"overlay", str(place / "root").encode(), b"overlay", 0, options))


UID_FIRST = 3_600_000_000  # a range that no sandbox of a test or of the product has


class Runtime:
    """crun, runsc or runc with a bundle that was a sandbox's of Atoll, less the agent."""

    def __init__(self, place, path, flags, config, layers):
        self.place, self.path, self.name = place, path, os.path.basename(path)
        self.argv = [path, f"--root={place}/state", *flags]
        self.count = 0
        self.own_users(config["linux"])
        for folder in (place.parent, place):
            folder.mkdir(exist_ok=True)
            os.chmod(folder, 0o755)
        mount_root(place, layers, UID_FIRST)
        self.bundle("idle", config, ["/bin/sleep", "1000"])
        self.bundle("true", config, ["/bin/true"])

    @staticmethod
    def own_users(linux):
        """A user namespace that the runtime makes: Atoll's crun joins one that was made for it."""
        for namespace in linux["namespaces"]:
            if namespace["type"] == "user":
                namespace.pop("path", None)
        for kind in ("uidMappings", "gidMappings"):
            linux[kind] = [{"containerID": 0, "hostID": UID_FIRST, "size": 65536}]

    def bundle(self, name, config, args):
        config = json.loads(json.dumps(config))
        config["root"]["path"] = str(self.place / "root")
        config["process"]["args"] = args
        if self.name == "runc":
            # Atoll gives crun the filter as compiled code, which runc does not read; it runs with none.
            config["linux"].pop("seccomp", None)
        config["mounts"] = [m for m in config["mounts"] if not m["destination"].startswith("/run/atoll")]
        folder = self.place / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))

    def step(self, *args):
        with open(self.place / "stderr", "wb") as stderr:
            code = finish([*self.argv, *args], stderr)
        if code != 0:
            raise RuntimeError(f"{self.name} {args[0]}: exit {code}: {(self.place / 'stderr').read_text()[-300:]}")

    def life(self):
        """Milliseconds of each step of one container's life."""
        self.count += 1
        name, times = f"bench{os.getpid()}x{self.count}", {}
        begun = time.perf_counter()
        self.step("run", "--bundle", str(self.place / "true"), name + "t")
        times["run"] = time.perf_counter() - begun
        begun = time.perf_counter()
        self.step("run", "--detach", "--bundle", str(self.place / "idle"), name)
        times["create"] = time.perf_counter() - begun
        self.step("exec", name, "/bin/true")
        times["first_exec"] = time.perf_counter() - begun
        begun = time.perf_counter()
        self.step("exec", name, "/bin/true")
        times["exec"] = time.perf_counter() - begun
        begun = time.perf_counter()
        self.step("delete", "--force", name)
        times["kill"] = time.perf_counter() - begun
        return {k: v * 1000 for k, v in times.items()}

    def life_or_failure(self):
        """A round that fails is counted and told, and leaves no container behind."""
        try:
            return self.life()
        except (OSError, RuntimeError) as error:
            with open(os.devnull, "wb") as nowhere:
                finish([*self.argv, "delete", "--force", f"bench{os.getpid()}x{self.count}"], nowhere)
            return {"failure": str(error)}


def serve():
    """Started by Helper: a setup line, then one line a life."""
    setup = json.loads(sys.stdin.readline())
    place = Path(setup["place"])
    try:
        private_namespace()
        runtime = Runtime(place, setup["path"], setup["flags"], setup["config"], setup["layers"])
        print(json.dumps({"ready": True}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(runtime.life_or_failure()), flush=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(json.dumps({"error": str(error)}), flush=True)


class Helper:
    """A bare runtime behind a pipe; `absent` says why it cannot be measured here."""

    def __init__(self, name, place, path, flags, config, layers):
        self.name, self.absent, self.place, self.failures = name, None, Path(place), []
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.ask({"place": str(place), "path": path, "flags": flags, "config": config, "layers": layers}):
            self.life()  # the first one pays for cold caches, and shows whether it works at all
            if self.failures:
                self.absent = self.failures[0]

    def ask(self, line):
        try:
            self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
            reply = json.loads(self.process.stdout.readline() or '{"error": "the helper died"}')
        except OSError as error:
            reply = {"error": str(error)}
        if "error" in reply:
            self.absent = " ".join(reply["error"].split())[-220:]
            return None
        return reply

    def life(self):
        reply = None if self.absent else self.ask({})
        if reply and "failure" in reply:
            self.failures.append(" ".join(reply["failure"].split())[-220:])
            return None
        return reply

    def close(self):
        """Its mounts go with its namespace."""
        self.process.stdin.close()
        self.process.wait(STEP_SECONDS)
        shutil.rmtree(self.place, ignore_errors=True)


class Engine:
    """podman or docker, where there is one that answers."""

    def __init__(self, name):
        self.name, self.absent, self.failures = name, None, []
        path = shutil.which(name)
        if not path:
            self.absent = "not installed"
            return
        self.path = path
        try:
            done = subprocess.run([path, "info"], capture_output=True, text=True, timeout=10)
            if done.returncode != 0 or "ERROR" in done.stderr:
                self.absent = " ".join((done.stderr or done.stdout).split())[-160:]
                return
            images = subprocess.run([path, "images", "-q", "busybox"], capture_output=True, text=True, timeout=10).stdout
            if not images.strip():
                self.absent = "no busybox image here"
        except subprocess.SubprocessError as error:
            self.absent = str(error)

    def life(self):
        if self.absent:
            return None
        begun = time.perf_counter()
        if finish([self.path, "run", "--rm", "--network=none", "busybox", "true"], subprocess.DEVNULL) != 0:
            raise RuntimeError(f"{self.name} run failed")
        return {"run": (time.perf_counter() - begun) * 1000}

    def close(self):
        pass


if __name__ == "__main__":
    serve()
