"""One output of a kernel process, read as it comes and no faster than it is taken."""
import asyncio
import codecs
import os

READ_BYTES = 64 * 1024
# What a kernel wrote before its last event lies in the pipe, which holds no more than this.
PIPE_BYTES_MAX = 1024 * 1024


class Output:
    def __init__(self, name, descriptor):
        self.name = name
        self._descriptor = descriptor
        self._lock = asyncio.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        os.set_blocking(descriptor, False)

    async def pump(self, deliver):
        """Until the end of the output. `deliver(name, text)` may wait: so long nothing is read."""
        while True:
            await self._readable()
            async with self._lock:
                if await self._read(deliver) == 0:
                    return

    async def drain(self, deliver):
        """What is there now."""
        async with self._lock:
            taken = 0
            while taken < PIPE_BYTES_MAX:
                count = await self._read(deliver)
                if count <= 0:
                    return
                taken += count

    def close(self):
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    async def _read(self, deliver):
        """Bytes read; 0: the end, -1: nothing there now."""
        if self._descriptor < 0:
            return 0
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return -1
        except OSError:
            return 0
        text = self._decoder.decode(data)
        if text:
            await deliver(self.name, text)
        return len(data)

    async def _readable(self):
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        # Taken away at once: data that nobody takes must not wake the loop again and again.
        loop.add_reader(self._descriptor, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            if self._descriptor >= 0:
                loop.remove_reader(self._descriptor)
