"""One scenario for every version of the Python client, sync and async: python scenario.py TIER"""
import asyncio
import sys
import time

import e2b
from e2b import AsyncSandbox, Sandbox
from steps import expect, leave, report

TIER = sys.argv[1]


class Sync:
    def __init__(self):
        self.s = Sandbox.create("base", timeout=120, metadata={"atoll.tier": TIER, "who": "sync"}, envs={"FROM_CREATE": "yes"})

    def run(self):
        r = self.s.commands.run("echo $FROM_CREATE; echo oops >&2")
        expect((r.stdout, r.stderr, r.exit_code), ("yes\n", "oops\n", 0))

    def exit_code(self):
        try:
            self.s.commands.run("exit 9")
        except e2b.CommandExitException as error:
            expect(error.exit_code, 9)
        else:
            raise AssertionError("no exception")

    def stdin(self):
        handle = self.s.commands.run("head -n 1", background=True, stdin=True)
        self.s.commands.send_stdin(handle.pid, "typed\n")
        expect(handle.wait().stdout, "typed\n")

    def timeout(self):
        begun = time.monotonic()
        try:
            self.s.commands.run("sleep 60", timeout=1)
        except e2b.TimeoutException:
            assert time.monotonic() - begun < 15
        else:
            raise AssertionError("no exception")

    def files(self):
        self.s.files.write("a/b.txt", "text")
        expect(self.s.files.read("a/b.txt"), "text")
        expect([(e.name, e.type.value) for e in self.s.files.list("a")], [("b.txt", "file")])
        self.s.files.rename("a/b.txt", "a/c.txt")
        expect(self.s.files.exists("a/c.txt"), True)
        self.s.files.remove("a")
        expect(self.s.files.exists("a"), False)
        try:
            self.s.files.read("missing")
        except e2b.NotFoundException:
            pass
        else:
            raise AssertionError("no exception")

    def watch(self):
        self.s.files.make_dir("w")
        watcher = self.s.files.watch_dir("w", recursive=True)
        self.s.files.write("w/x", "1")
        names, until = [], time.monotonic() + 10
        while "x" not in names and time.monotonic() < until:
            names += [e.name for e in watcher.get_new_events()]
        watcher.stop()
        assert "x" in names, names

    def pty(self):
        from e2b.sandbox.commands.command_handle import PtySize
        terminal = self.s.pty.create(PtySize(rows=30, cols=100))
        self.s.pty.resize(terminal.pid, PtySize(rows=31, cols=101))
        self.s.pty.send_stdin(terminal.pid, b"stty size; exit\n")
        seen = []
        terminal.wait(on_pty=lambda data: seen.append(bytes(data)))
        assert b"31 101" in b"".join(seen), seen

    def listing(self):
        found = []
        pages = Sandbox.list(query=e2b.SandboxQuery(metadata={"who": "sync"}))
        while pages.has_next:
            found += pages.next_items()
        assert self.s.sandbox_id in [f.sandbox_id for f in found], found

    def info_and_timeout(self):
        info = self.s.get_info()
        expect(info.sandbox_id, self.s.sandbox_id)
        self.s.set_timeout(200)
        assert self.s.get_info().end_at > info.end_at

    def connect(self):
        expect(Sandbox.connect(self.s.sandbox_id).commands.run("echo same").stdout, "same\n")

    def signed(self):
        import urllib.request
        self.s.files.write("signed", "sealed")
        with urllib.request.urlopen(self.s.download_url("signed"), timeout=20) as reply:
            expect(reply.read(), b"sealed")

    def kill(self):
        expect(self.s.is_running(), True)
        expect((self.s.kill(), self.s.kill(), self.s.is_running()), (True, False, False))
        try:
            self.s.commands.run("true")
        except e2b.TimeoutException:
            pass
        else:
            raise AssertionError("no exception")


STEPS = ["run", "exit_code", "stdin", "timeout", "files", "watch", "pty", "listing", "info_and_timeout", "connect", "signed", "kill"]


def sync_part():
    try:
        scenario = Sync()
    except Exception as error:
        return report("sync create", error)
    report("sync create")
    for step in STEPS:
        try:
            getattr(scenario, step)()
        except Exception as error:
            report(f"sync {step}", error)
        else:
            report(f"sync {step}")
    scenario.s.kill()


async def async_part():
    s = await AsyncSandbox.create("base", timeout=120, metadata={"atoll.tier": TIER})
    try:
        async def run():
            expect((await s.commands.run("echo async")).stdout, "async\n")

        async def many():
            results = await asyncio.gather(*[s.commands.run(f"echo {i}") for i in range(30)])
            expect([r.stdout for r in results], [f"{i}\n" for i in range(30)])

        async def files():
            await s.files.write("x", b"\x00\xff" * 100_000)
            expect(bytes(await s.files.read("x", format="bytes")), b"\x00\xff" * 100_000)

        async def stream():
            seen = []
            await s.commands.run("for i in 1 2 3; do echo $i; sleep 0.1; done", on_stdout=seen.append)
            expect("".join(seen), "1\n2\n3\n")

        async def background():
            handle = await s.commands.run("sleep 50", background=True)
            expect(await handle.kill(), True)

        for step in (run, many, files, stream, background):
            try:
                await step()
            except Exception as error:
                report(f"async {step.__name__}", error)
            else:
                report(f"async {step.__name__}")
    finally:
        await s.kill()


async def newest_part():
    """What only newer clients have."""
    s = await AsyncSandbox.create("base", timeout=120, metadata={"atoll.tier": TIER})
    try:
        if not hasattr(s.commands, "stream_input"):
            return
        handle = await s.commands.run("cat", background=True, stdin=True)
        await s.commands.send_stdin(handle.pid, "one\n")
        await s.commands.close_stdin(handle.pid)
        expect((await handle.wait()).stdout, "one\n")
        report("async close_stdin")
    except Exception as error:
        report("async close_stdin", error)
    finally:
        await s.kill()


sync_part()
for part in (async_part, newest_part):
    try:
        asyncio.run(part())
    except Exception as error:
        report(part.__name__, error)
leave()
