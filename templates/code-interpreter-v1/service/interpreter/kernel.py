"""One kernel process: started, given code, interrupted, killed."""
import asyncio
import json
import os
import signal
import socket

from . import languages
from .output import Output

EVENT_BYTES_MAX = 80 * 1024 * 1024
START_SECONDS_MAX = 30
QUEUE_ITEMS = 16
INTERRUPT_SECONDS_MAX = 5
INTERRUPT_EVERY_SECONDS = 0.3


class KernelFailed(Exception):
    pass


class Kernel:
    """Items of an execution come out of `items()`: ("stdout"|"stderr", text), ("event", dict) or ("died", reason)."""

    def __init__(self, language):
        self.language = language
        self.process = None
        self.died = None  # why, once it has
        self._queue = None  # of the execution that runs
        self._reader = self._writer = None
        self._outputs = []
        self._tasks = []

    @classmethod
    async def start(cls, language, cwd):
        self = cls(language)
        ours, theirs = socket.socketpair()
        try:
            await self._spawn(theirs, cwd)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=EVENT_BYTES_MAX)
        try:
            line = await asyncio.wait_for(self._reader.readline(), START_SECONDS_MAX)
        except asyncio.TimeoutError:
            line = b""
        if not line:
            text = await self._last_words()
            await self.kill()
            raise KernelFailed(f"the {language} kernel did not start: {text or 'it said nothing'}")
        for output in self._outputs:
            self._tasks.append(asyncio.create_task(output.pump(self._deliver)))
        self._tasks.append(asyncio.create_task(self._events()))
        return self

    async def _spawn(self, theirs, cwd):
        ends = [os.pipe(), os.pipe()]
        # The kernel finds its end as descriptor 3, whatever its number is here.
        shell = f'exec 3<&{theirs.fileno()} && exec setpriv --pdeathsig KILL "$@"'
        try:
            self.process = await asyncio.create_subprocess_exec(
                "/bin/bash", "-c", shell, "kernel", *languages.COMMANDS[self.language], stdin=asyncio.subprocess.DEVNULL,
                stdout=ends[0][1], stderr=ends[1][1], pass_fds=[theirs.fileno()], cwd=cwd, start_new_session=True,
                env=kernel_env())
        except BaseException:
            for read, _ in ends:
                os.close(read)
            raise
        finally:
            for _, write in ends:
                os.close(write)
        self._outputs = [Output("stdout", ends[0][0]), Output("stderr", ends[1][0])]

    async def _last_words(self):
        words = []

        async def deliver(_, text):
            words.append(text)
        for output in self._outputs:
            await output.drain(deliver)
        return "".join(words)[-1000:]

    async def send(self, code, env):
        self._queue = asyncio.Queue(QUEUE_ITEMS)
        if self.died:
            raise KernelFailed(self.died)
        self._writer.write(languages.encode_request(self.language, code, env))
        await self._writer.drain()

    async def items(self):
        """Up to and with the done event or the death."""
        while True:
            item = await self._queue.get()
            yield item
            if item[0] == "died" or (item[0] == "event" and item[1].get("event") == "done"):
                self._queue = None
                return

    async def interrupt(self):
        """Ends what runs; the kernel is killed where it does not let go. Nobody may be reading items() then."""
        deadline = asyncio.get_running_loop().time() + INTERRUPT_SECONDS_MAX
        reading = asyncio.create_task(self._read_rest())
        while not reading.done() and asyncio.get_running_loop().time() < deadline:
            self._signal(signal.SIGINT)
            await asyncio.wait([reading], timeout=INTERRUPT_EVERY_SECONDS)
        if not reading.done():
            await self.kill()
        await reading

    async def _read_rest(self):
        if self._queue is not None:
            async for _ in self.items():
                pass

    async def kill(self):
        self._signal(signal.SIGKILL)
        await self.process.wait()
        # What it started in the background may hold its outputs open.
        for task in self._tasks[:-1]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._writer:
            self._writer.close()
        for output in self._outputs:
            output.close()

    def _signal(self, number):
        if self.process.returncode is None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass

    async def _deliver(self, name, text):
        # Between executions nobody listens: a background thread's output is dropped rather than held up.
        if self._queue is not None:
            await self._queue.put((name, text))

    async def _events(self):
        try:
            while line := await self._reader.readline():
                event = json.loads(line)
                if event.get("event") != "started":
                    await self._drain()  # what was printed before it comes before it
                if self._queue is not None:
                    await self._queue.put(("event", event))
        except (ValueError, OSError, AttributeError):
            pass  # user code wrote on the kernel's descriptor, or it was reset: either way it is of no use any more
        self._signal(signal.SIGKILL)
        code = await self.process.wait()
        self.died = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit status {code}"
        await self._drain()
        if self._queue is not None:
            await self._queue.put(("died", self.died))

    async def _drain(self):
        for output in self._outputs:
            await output.drain(self._deliver)


def kernel_env():
    """The sandbox's environment without what only the service needs."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OLDPWD", "SHLVL", "_")}
    env.setdefault("PYTHONUNBUFFERED", "1")
    return env
