#!/usr/bin/env python3
"""Measures Atoll on this machine beside the bare runtimes. See bench/README.md."""
import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "e2e")]

from bare import Engine, Helper  # noqa: E402
from harness import Instance, cache_folder  # noqa: E402
from measure import MEASUREMENTS, Lease  # noqa: E402
from report import goals, print_goals, print_table, summary  # noqa: E402
from wire import Sandbox, Wire  # noqa: E402

ROUNDS = {"life": 40, "exec": 20, "transfer": 8, "stream": 1, "tti": 15}
ROUNDS_QUICK = {"life": 8, "exec": 5, "transfer": 3, "stream": 1, "tti": 4}
RUNTIME_FLAGS = {"crun": ["--cgroup-manager=disabled"], "runc": [],
                 "runsc": ["--platform=systrap", "--ignore-cgroups", "--network=none", "--overlay2=none", "--file-access=exclusive"]}


def first_line(*argv):
    try:
        return (subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout.splitlines() or [""])[0]
    except (OSError, subprocess.SubprocessError):
        return ""


def machine(cache):
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {"cpu": model, "cores": os.cpu_count(), "memoryMiB": memory, "kernel": platform.release(),
            "system": first_line("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"), "crun": first_line("crun", "--version"),
            "runc": first_line("runc", "--version"), "runsc": first_line(str(cache / "runtimes" / "runsc"), "--version"),
            "commit": first_line("git", "-C", str(HERE), "rev-parse", "--short", "HEAD")}


def load():
    return [float(x) for x in Path("/proc/loadavg").read_text().split()[:3]]


def go_first(instance):
    """Before other programs on a busy machine: this process and what it starts by niceness, sandboxes by their group's share."""
    os.nice(-20)
    group = "atoll-" + instance.options[instance.options.index("--instance") + 1]
    for file, value in ((f"/sys/fs/cgroup/cpu/{group}/cpu.shares", 88_000), (f"/sys/fs/cgroup/{group}/cpu.weight", 10_000)):
        if os.path.exists(file):
            Path(file).write_text(str(value))
    for role in ("node", "edge", "api"):
        for task in Path(f"/proc/{instance.role_pid(role)}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), -20)


class World:
    """A private Atoll, the bare runtimes beside it, and what the measurements ask of both."""

    def __init__(self, instance, options):
        self.instance, self.template = instance, options.template
        self.stream_bytes = (256 << 20) if options.quick else (1 << 30)
        self.pause = 0.05
        self.key, self.bare = instance.key, []
        self.api, self.agent = Wire(instance.endpoint), Wire(instance.endpoint)
        known = instance.call("GET", "/atoll/v1/tiers")["tiers"]
        working = [t["name"] for t in known if t["works"]]
        self.tiers = [t for t in options.tiers if t in working]
        self.absent = {f"tier {t['name']}": t.get("reason", "") for t in known if not t["works"]}

    def sandbox(self):
        return Sandbox(self.api, self.agent, self.key)

    def state_of(self, sandbox_id):
        return self.instance.root / "node" / "sandboxes" / sandbox_id

    def init_pid(self, sandbox_id):
        return json.loads((self.state_of(sandbox_id) / "journal.json").read_text())["initPid"]

    def config_of(self, tier):
        """The bundle that Atoll itself gives to the tier's runtime."""
        with Lease(self, tier) as box:
            return json.loads((self.state_of(box.id) / "bundle" / "config.json").read_text())

    def open_bare(self):
        about = json.loads((self.instance.root / "templates" / self.template / "template.json").read_text())
        layers = [os.path.realpath(self.instance.root / "layers" / layer) for layer in reversed(about["layers"])]
        wanted = [("crun", "container", shutil.which("crun")), ("runc", "container", shutil.which("runc")),
                  ("runsc", "gvisor", str(self.instance.cache / "runtimes" / "runsc"))]
        for name, tier, path in wanted:
            if tier not in self.tiers or not path or not os.path.exists(path):
                self.absent[f"bare {name}"] = "its tier is not measured" if tier not in self.tiers else "not installed"
                continue
            place = self.instance.folder / "bare" / name
            self.keep(Helper(name, place, path, RUNTIME_FLAGS[name], self.config_of(tier), layers))
        for name in ("podman", "docker"):
            self.keep(Engine(name))

    def keep(self, bare):
        if bare.absent:
            self.absent[f"bare {bare.name}"] = bare.absent
            bare.close()
        else:
            self.bare.append(bare)

    def close(self):
        for bare in self.bare:
            bare.close()
        self.api.close()
        self.agent.close()


@contextlib.contextmanager
def frozen(build):
    """A copy of the executables, so that a build meanwhile does not change what is measured."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "src").mkdir()
        for name in ("atolld", "atoll-agent", "atoll-jail"):
            shutil.copy2(build / "src" / name, Path(folder) / "src" / name)
        yield Path(folder)


def arguments():
    parser = argparse.ArgumentParser(description="Measures Atoll beside the bare runtimes on this machine (as root).")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there")
    parser.add_argument("--quick", action="store_true", help="few rounds, 256 MB instead of 1 GB of output")
    parser.add_argument("--only", metavar="NAMES", default=",".join(MEASUREMENTS), help="of " + ",".join(MEASUREMENTS))
    parser.add_argument("--first", action="store_true", help="all that is measured goes before other programs (nice -20)")
    parser.add_argument("--tiers", default="container,gvisor", type=lambda text: text.split(","))
    parser.add_argument("--template", default="base")
    parser.add_argument("--rounds", type=int, help="instead of each measurement's own number")
    parser.add_argument("--build", default=HERE.parent / "build", type=Path)
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(MEASUREMENTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}: none of {', '.join(MEASUREMENTS)}")
    return options


def measure(world, options):
    if "life" in options.only:
        world.open_bare()
    series, loads = {}, {}
    for name in options.only:
        before = load()
        rounds = options.rounds or (ROUNDS_QUICK if options.quick else ROUNDS)[name]
        print(f"{name}: {rounds} rounds, load {before[0]}", file=sys.stderr, flush=True)
        series |= MEASUREMENTS[name](world, rounds)
        loads[name] = [before[0], load()[0]]
    return series, loads


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("bench/run.py starts an Atoll of its own, so it must be root")
    cache = cache_folder()
    result = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(cache), "quick": options.quick, "first": options.first}
    with frozen(options.build) as build, Instance(cache, build) as instance:
        if options.first:
            go_first(instance)
        world = World(instance, options)
        try:
            series, result["load1"] = measure(world, options)
            # Rounds that failed are missing in the series, which must not go unnoticed.
            result["failures"] = {b.name: b.failures for b in world.bare if b.failures}
        finally:
            world.close()
    result |= {"absent": world.absent, "summary": summary(series), "series": series}
    result["goals"] = goals(result["summary"])
    print_table(result)
    print_goals(result["goals"])
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
