"""Contexts: each has a language, a folder, and a kernel that is started when it is first needed."""
import asyncio
import os
import uuid

from . import languages, results
from .kernel import Kernel, KernelFailed

CONTEXTS_MAX = 64


class NotFound(Exception):
    pass


class Refused(Exception):
    pass


class Context:
    def __init__(self, language, cwd):
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self._kernel = None
        self._turn = asyncio.Lock()
        self._ending = None  # why the kernel that runs now is being killed
        self.removed = False

    def shown(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    async def start(self):
        if self._kernel is None or self._kernel.died:
            if self._kernel:
                await self._kernel.kill()
            self._kernel = await Kernel.start(self.language, self.cwd)
        return self._kernel

    async def execute(self, code, env):
        """The execution's lines. When its reader goes away, what runs is interrupted before the next one's turn."""
        await self._turn.acquire()
        kernel, finished = None, False
        try:
            if self.removed:
                raise NotFound(f"context {self.id} was removed")
            self._ending = None
            kernel = await self.start()
            await kernel.send(code, env)
            async for item in kernel.items():
                finished = item[0] == "died" or (item[0] == "event" and item[1].get("event") == "done")
                for line in self._lines(item):
                    yield line
        except KernelFailed as error:
            finished = True
            yield results.error("KernelError", str(error))
        finally:
            if kernel is None or finished:
                self._turn.release()
            else:
                _keep(asyncio.create_task(self._interrupt(kernel)))

    async def _interrupt(self, kernel):
        try:
            await kernel.interrupt()
        finally:
            self._turn.release()

    def _lines(self, item):
        kind, value = item
        if kind in ("stdout", "stderr"):
            yield {"type": kind, "text": value}
        elif kind == "died":
            why = self._ending or f"the {self.language} kernel ended ({value})"
            yield results.error("KernelError", f"{why}: the variables of this context are gone; "
                                "the next execution gets a new kernel")
        else:
            yield from event_lines(value)

    async def restart(self):
        await self._end("the context was restarted")
        async with self._turn:
            await self.start()

    async def remove(self):
        self.removed = True
        await self._end("the context was removed")

    async def _end(self, why):
        self._ending = why
        if self._kernel:
            kernel, self._kernel = self._kernel, None
            await kernel.kill()


def event_lines(event):
    kind = event.get("event")
    if kind == "started":
        yield {"type": "number_of_executions", "execution_count": event.get("count")}
    elif kind == "display" and isinstance(event.get("data"), dict):
        yield results.result(event["data"], event.get("main"))
    elif kind == "error":
        yield results.error(str(event.get("name", "")), str(event.get("value", "")), str(event.get("traceback", "")))


class Contexts:
    def __init__(self, cwd):
        self._cwd = cwd
        self._by_id = {}
        self._default = {}  # by language

    def list(self):
        return [context.shown() for context in self._by_id.values()]

    def default(self, language):
        """The context that code without one runs in."""
        if language not in self._default:
            self._default[language] = self._add(Context(language, self._cwd))
        return self._default[language]

    async def create(self, language, cwd):
        cwd = os.path.join(self._cwd, os.path.expanduser(cwd or self._cwd))
        if not os.path.isdir(cwd):
            raise Refused(f"cwd '{cwd[:200]}' is not a folder")
        context = self._add(Context(language, cwd))
        try:
            await context.start()
        except BaseException:
            await self.remove(context.id)
            raise
        return context

    def find(self, context_id):
        context = self._by_id.get(context_id)
        if context is None:
            raise NotFound(f"context '{str(context_id)[:100]}' does not exist")
        return context

    async def remove(self, context_id):
        context = self.find(context_id)
        del self._by_id[context.id]
        if self._default.get(context.language) is context:
            del self._default[context.language]
        await context.remove()

    def _add(self, context):
        if len(self._by_id) >= CONTEXTS_MAX:
            raise Refused(f"there are {CONTEXTS_MAX} contexts, the limit; remove some first")
        self._by_id[context.id] = context
        return context


_background = set()


def _keep(task):
    """The loop alone would forget it."""
    _background.add(task)
    task.add_done_callback(_background.discard)
