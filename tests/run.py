#!/usr/bin/env python3
"""Runs every test of the project and counts: called by ./check. Python's standard library only.

Items run in stages: what must be there first (build, template, runsc, clients), then unit tests, fuzzing, tidy, end to
end. Each test of an item counts once; an item that breaks without saying which test failed counts as one failure.
"""
import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
CACHE = Path(os.environ.get("ATOLL_CACHE", "/var/cache/atoll"))
INSTALLED = Path("/var/lib/atoll")  # what setup has made there need not be made again
BUILD = TOP / "build"
FUZZ_BUILD = TOP / "build-fuzz"
UNIT_SECONDS_MAX = 600
# In the environment of all that a run starts: what still has it at the end was left behind.
MARK = f"ATOLL_CHECK_RUN={os.getpid()}-{time.time_ns()}"
E2E_SECONDS_MAX = 900
FUZZ_SECONDS_IN_ALL = 60
INTERPRETER = "template code-interpreter-v1"

sys.path.insert(0, str(HERE / "e2e"))


@dataclass
class Outcome:
    passed: int = 0
    failed: list = field(default_factory=list)   # "name: why"
    skipped: list = field(default_factory=list)  # "name: why"


class Report:
    def __init__(self):
        self.total = Outcome()
        self.lock = threading.Lock()
        self.begun = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)

    def add(self, item, outcome, seconds):
        with self.lock:
            self.total.passed += outcome.passed
            self.total.failed += [f"{item}: {f}" for f in outcome.failed]
            self.total.skipped += [f"{item}: {s}" for s in outcome.skipped]
            counts = f"{outcome.passed} passed, {len(outcome.failed)} failed, {len(outcome.skipped)} skipped"
            self.say(f"{item}: {counts} ({seconds:.0f} s)")
            for failure in outcome.failed:
                print("    FAILED " + failure.replace("\n", "\n      "), flush=True)


def run(argv, seconds, log, env=None, cwd=TOP):
    """Exit code, or None after the time limit, when the whole process group is ended."""
    with open(log, "ab") as out:
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:  # also when check itself is ended
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def tail(log, lines=25):
    text = Path(log).read_text(errors="replace") if Path(log).exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def outcome_of_gtest(code, report_file, log):
    outcome = Outcome()
    try:
        report = json.loads(Path(report_file).read_text())
    except (OSError, ValueError):
        outcome.failed.append(f"exit {code}, no report; its last lines:\n{tail(log)}")
        return outcome
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            name = f'{suite["name"]}.{test["name"]}'
            if test.get("failures"):
                outcome.failed.append(f'{name}: {test["failures"][0]["failure"][:600]}')
            elif test.get("result") == "SKIPPED" or test.get("status") == "NOTRUN":
                outcome.skipped.append(f"{name}: {skip_reason(log, name)}")
            else:
                outcome.passed += 1
    if code != 0 and not outcome.failed:
        outcome.failed.append(f"exit {code}; its last lines:\n{tail(log)}")
    return outcome


def skip_reason(log, name):
    found = re.search(r"\[ RUN +\] " + re.escape(name) + r"\n(.*?)\[  SKIPPED \]", Path(log).read_text(errors="replace"), re.S)
    return " ".join(found.group(1).split()[1:])[:200] if found else "no reason given"


def outcome_of_lines(code, log):
    """Items that print lines: `ok NAME`, `not ok NAME: why`, `skip NAME: why`."""
    outcome = Outcome()
    for line in Path(log).read_text(errors="replace").splitlines():
        if line.startswith("ok "):
            outcome.passed += 1
        elif line.startswith("not ok "):
            outcome.failed.append(line[7:])
        elif line.startswith("skip "):
            outcome.skipped.append(line[5:])
    if code != 0 and not outcome.failed:
        outcome.failed.append(f"{'time limit' if code is None else f'exit {code}'}; its last lines:\n{tail(log)}")
    if code == 0 and not outcome.passed and not outcome.failed and not outcome.skipped:
        outcome.failed.append("it ran no test")
    return outcome


class Check:
    def __init__(self, options):
        self.options = options
        self.report = Report()
        # Not in /tmp, over which unit tests get a folder of their own.
        self.logs = Path(tempfile.mkdtemp(prefix="atoll-check-logs-", dir="/var/tmp"))
        self.env = dict(os.environ, ATOLL_RUNSC=str(self.runsc()), ATOLL_GUEST_KERNEL=str(self.guest_kernel()), ATOLL_CHECK_SLOT=str(os.getpid()),
                        **dict([MARK.split("=", 1)]))

    @staticmethod
    def runsc():
        return CACHE / "runtimes" / "runsc"

    @staticmethod
    def guest_kernel():
        return CACHE / "guest" / "kernel"

    def wanted(self, name):
        return self.options.only in name

    def item(self, name, work):
        if not self.wanted(name):
            return
        if self.options.list:
            print(name)
            return
        begun = time.monotonic()
        try:
            outcome = work(self.logs / (name.replace("/", "_") + ".log"))
        except Exception as error:  # a broken item is a failure, not the end of the run
            outcome = Outcome(failed=[f"{type(error).__name__}: {error}"])
        self.report.add(name, outcome, time.monotonic() - begun)

    def items(self, named):
        """Two at a time."""
        with ThreadPoolExecutor(2) as pool:
            for name, work in named:
                pool.submit(self.item, name, work)

    # -- what must be there first ---------------------------------------------------------------

    def prepare(self):
        """False: nothing else can run. The build has one core's worth of company."""
        if self.options.list:
            return True
        CACHE.mkdir(parents=True, exist_ok=True)
        steps = {
            "build": (["tools/build"] + self.build_targets(), 3000),
            "template base": (["templates/build", "base", "--root", CACHE, "--from", INSTALLED], 1500),
            "template minimal": (["templates/build", "minimal", "--root", CACHE, "--from", INSTALLED], 600),
            "runsc": (["nice", "-n", "5", "tools/build-runsc", CACHE / "runtimes", INSTALLED / "runtimes"], 1500),
            "guest kernel": (["tools/guest-kernel", CACHE / "guest" / "kernel"], 600),
            "clients": (["tools/clients", CACHE / "clients"], 900),
            INTERPRETER: (["nice", "-n", "5", "templates/build", "code-interpreter-v1", "--root", CACHE, "--from", INSTALLED], 1500),
        }
        results = {}

        def step(name):
            argv, seconds = steps[name]
            log = self.logs / f"prepare-{name.replace(' ', '-')}.log"
            results[name] = (run(argv, seconds, log), log)
            self.report.say(f"prepared: {name}" if results[name][0] == 0 else f"NOT prepared: {name}")

        def others():
            for name in ("guest kernel", "clients", "template base", "template minimal", "runsc", INTERPRETER):
                # Minutes and gigabytes from nothing; without it, its scenarios say that they are skipped.
                if name != INTERPRETER or (not self.options.quick and self.wanted_interpreter()):
                    step(name)

        worker = threading.Thread(target=others)
        worker.start()
        with self.progress(self.logs / "prepare-build.log"):
            step("build")
        worker.join()
        for name, (code, log) in results.items():
            if code != 0 and name not in ("runsc", "guest kernel", INTERPRETER):
                self.report.add(f"prepare {name}", Outcome(failed=[tail(log)]), 0)
        if results["runsc"][0] != 0:
            self.report.add("prepare runsc", Outcome(skipped=[f"tier gvisor: {tail(results['runsc'][1], 1)}"]), 0)
        if results.get(INTERPRETER, (0,))[0] != 0:
            self.report.add(f"prepare {INTERPRETER}", Outcome(skipped=[f"code interpreter: {tail(results[INTERPRETER][1], 1)}"]), 0)
        if results["guest kernel"][0] != 0:
            self.report.add("prepare guest kernel", Outcome(skipped=[f"tier microvm: {tail(results['guest kernel'][1], 1)}"]), 0)
        return results["build"][0] == 0

    def wanted_interpreter(self):
        return any(self.wanted(name) for name, _ in self.interpreter_jobs())

    @contextlib.contextmanager
    def progress(self, log):
        """Every 30 seconds says how far a build is."""
        done = threading.Event()

        def show():
            while not done.wait(30):
                steps = re.findall(r"^\[\d+/\d+\]", log.read_text(errors="replace") if log.exists() else "", re.M)
                self.report.say(f"building {steps[-1] if steps else '(waiting)'}")

        threading.Thread(target=show, daemon=True).start()
        try:
            yield
        finally:
            done.set()

    @staticmethod
    def build_targets():
        tests = [f"{p.name}_test" for p in sorted((TOP / "src").iterdir()) if p.is_dir() and list(p.rglob("*_test.cpp"))]
        return ["atolld", "atoll", "atoll-agent", "atoll-jail"] + tests

    # -- stages -----------------------------------------------------------------------------------

    def unit(self):
        def work(log, target):
            report, folder = self.logs / f"{target}.json", self.logs / f"{target}.tmp"
            argv = [BUILD / "src" / target, f"--gtest_output=json:{report}"]
            if os.geteuid() == 0:
                folder.mkdir()
                folder.chmod(0o1777)
                # A /tmp of its own shows what a test leaves there.
                argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                        'mount --bind "$0" /tmp && exec "$@"', folder, *argv]
            outcome = outcome_of_gtest(run(argv, UNIT_SECONDS_MAX, log, self.env), report, log)
            if folder.exists() and os.listdir(folder):
                outcome.failed.append(f"left in /tmp: {sorted(os.listdir(folder))[:5]}")
            return outcome

        def service(log):
            env = dict(self.env, PYTHONPATH=str(TOP / "templates" / "code-interpreter-v1" / "service"))
            return outcome_of_lines(run([sys.executable, HERE / "e2e" / "main.py", "interpreter_test"], UNIT_SECONDS_MAX, log, env), log)

        targets = [t for t in self.build_targets() if t.endswith("_test")]
        self.items([(f"unit/{t}", lambda log, t=t: work(log, t)) for t in targets] + [("unit/interpreter_service", service)])

    def fuzz(self):
        targets = sorted(p.stem for p in (TOP / "src").rglob("*_fuzz.cpp"))
        if self.options.quick or not targets or not any(self.wanted(f"fuzz/{t}") for t in targets):
            return
        if not self.options.list:
            log = self.logs / "fuzz-build.log"
            env = dict(os.environ, BUILD_DIR=FUZZ_BUILD.name, CMAKE_ARGS="-DATOLL_SANITIZE=ON")
            with self.progress(log):
                code = run(["tools/build"] + targets, 3000, log, env)
            if code != 0:
                self.report.add("fuzz/build", Outcome(failed=[tail(log)]), 0)
                return
            self.report.say("fuzz targets built")
        each = max(2, FUZZ_SECONDS_IN_ALL // max(1, len(targets)))
        for target in targets:
            def work(log, target=target):
                corpus = tempfile.mkdtemp(prefix="atoll-fuzz-")
                argv = [FUZZ_BUILD / "src" / target, corpus, f"-max_total_time={each}", "-timeout=60",
                        "-rss_limit_mb=2048", f"-artifact_prefix={self.logs}/",
                        "-seed=1"]  # the same start each time; longer runs by hand vary it
                code = run(argv, each + 120, log)
                subprocess.run(["rm", "-rf", corpus], check=False)
                if code == 0:
                    return Outcome(passed=1)
                return Outcome(failed=[f"exit {code}:\n{tail(log)}"])
            self.item(f"fuzz/{target}", work)

    def tidy(self):
        def work(log):
            return outcome_of_lines(run([sys.executable, HERE / "tidy" / "tidy.py"], 120, log), log)
        self.item("tidy", work)

    def nested_kvm(self):
        if self.options.quick:
            return

        def work(log):
            if not (self.guest_kernel() / "nested" / "order").exists():
                return Outcome(skipped=["KVM in an emulated machine: no guest kernel"])
            argv = [sys.executable, HERE / "nested_kvm.py", BUILD, self.guest_kernel()]
            code = run(argv, 700, log, self.env)
            return Outcome(passed=1) if code == 0 else Outcome(failed=[f"exit {code}:\n{tail(log)}"])
        self.item("microvm with KVM, nested", work)

    def end_to_end(self):
        judge = CACHE / "clients" / "jsonschema-4.23.0" / "bin" / "python"
        e2e = [(f"e2e/{n}", [judge if n == "api" else self.client_python(), HERE / "e2e" / "main.py", f"test_{n}"])
               for n in ("sandbox", "control", "api", "traps", "attacks", "cli", "domain", "crash")]
        jobs = [job for job in e2e + self.client_jobs() if self.wanted(job[0])]
        if self.options.list:
            return print("\n".join(name for name, _ in jobs))
        if not jobs:
            return None
        if os.geteuid() != 0:
            return self.report.add("e2e", Outcome(skipped=["end to end: needs root"]), 0)
        from harness import Instance
        def work(argv, env):
            return lambda log: outcome_of_lines(run(argv, E2E_SECONDS_MAX, log, env), log)
        own = ("e2e/domain", "e2e/crash")  # these start an instance of their own, and harm or configure it
        alone = [job for job in jobs if job[0].startswith("e2e/") and job[0] not in own]
        machines = [job for job in jobs if job[0].endswith("/microvm")]
        shared = [job for job in jobs if job[0].startswith("clients/") and job not in machines]
        if alone or shared:
            with Instance(CACHE, BUILD, self.env) as instance:
                env = dict(self.env, **instance.client_env(), ATOLL_CHECK_QUICK="1" if self.options.quick else "")
                for name, argv in alone:
                    self.item(name, work(argv, env))
                self.items([(name, work(argv, env)) for name, argv in shared])
        if machines:  # one after the other: an emulated CPU takes a whole one of the host's
            with Instance(CACHE, BUILD, self.env, options=("--microvm-slow",)) as instance:
                for name, argv in machines:
                    self.item(name, work(argv, dict(self.env, **instance.client_env())))
        own_env = dict(self.env, ATOLL_CACHE=str(CACHE), ATOLL_BUILD=str(BUILD), ATOLL_CHECK_QUICK="1" if self.options.quick else "")
        for name, argv in jobs:
            if name in own:
                self.item(name, work(argv, own_env))
        return None

    @staticmethod
    def client_python(version="2.63.0"):
        return CACHE / "clients" / f"python-{version}" / "bin" / "python"

    def client_jobs(self):
        tiers = ["container"] if self.options.quick or not self.runsc().exists() else ["container", "gvisor"]
        python_versions = ["2.63.0"] if self.options.quick else ["2.45.1", "2.51.0", "2.63.0"]
        js_versions = ["2.51.0"] if self.options.quick else ["2.45.0", "2.51.0"]
        jobs = []
        for tier in tiers:
            jobs += [(f"clients/python-{v}/{tier}", [self.client_python(v), HERE / "clients" / "scenario.py", tier])
                     for v in python_versions]
            jobs += [(f"clients/js-{v}/{tier}", [TOP / "tools" / "with-node", CACHE / "node", "node", HERE / "clients" / "scenario.mjs", CACHE / "clients" / f"js-{v}", tier])
                     for v in js_versions]
        if not self.options.quick:
            jobs += [job for job in self.interpreter_jobs() if self.options.list or (CACHE / "templates" / "code-interpreter-v1").exists()]
        machine_jobs = [("clients/python-2.63.0/microvm", [self.client_python(), HERE / "clients" / "scenario.py", "microvm"])]
        if not self.options.quick:
            machine_jobs.append(("clients/js-2.51.0/microvm", [TOP / "tools" / "with-node", CACHE / "node", "node", HERE / "clients" / "scenario.mjs", CACHE / "clients" / "js-2.51.0", "microvm"]))
        if (self.guest_kernel() / "vmlinux").exists():
            jobs += machine_jobs
        jobs.append(("clients/cli", [TOP / "tools" / "with-node", CACHE / "node", sys.executable, HERE / "clients" / "cli.py", CACHE / "clients" / "cli"]))
        return jobs

    def interpreter_jobs(self):
        jobs, node = [], [TOP / "tools" / "with-node", CACHE / "node", "node"]
        for tier in ["container", "gvisor"] if self.runsc().exists() else ["container"]:
            python = CACHE / "clients" / "interpreter-python-2.11.5" / "bin" / "python"
            jobs.append((f"clients/interpreter-python-2.11.5/{tier}", [python, HERE / "clients" / "interpreter.py", tier]))
            jobs.append((f"clients/interpreter-js-2.8.0/{tier}",
                         [*node, HERE / "clients" / "interpreter.mjs", CACHE / "clients" / "interpreter-js-2.8.0", tier]))
        return jobs

    def cleanliness(self, footprint):
        """Whatever was asked for with --only, what it left counts."""
        if self.options.list:
            return print("nothing left behind")
        left = footprint.left_behind()
        return self.report.add("nothing left behind", Outcome(passed=not left, failed=[f"left behind: {x}" for x in left]), 0)

    def all(self):
        from harness import Footprint
        footprint = Footprint(MARK)
        self.tidy()
        if self.options.only != "tidy" and self.prepare():
            self.unit()
            self.end_to_end()
            self.nested_kvm()
            self.fuzz()
            self.cleanliness(footprint)
        if self.options.list:
            return 0
        total = self.report.total
        if total.skipped:
            print("skipped:")
            for reason in total.skipped:
                print("  " + reason)
        if total.failed:
            print(f"failed (logs: {self.logs}):")
            for failure in total.failed:
                print("  " + failure.splitlines()[0])
        else:
            subprocess.run(["rm", "-rf", self.logs], check=False)
        print(f"{total.passed} passed, {len(total.failed)} failed, {len(total.skipped)} skipped", flush=True)
        return 1 if total.failed or total.passed == 0 else 0


def main():
    # What was started is ended by those who started it, on their way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="check")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    sys.exit(Check(parser.parse_args()).all())


if __name__ == "__main__":
    main()
