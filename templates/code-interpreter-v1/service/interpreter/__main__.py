import asyncio
import os
import sys

from . import http
from .contexts import Contexts
from .routes import Routes

PORT = 49999


async def main(port):
    contexts = Contexts(os.getcwd())
    # The first execution shall not wait for it; the port is bound when it is there, which is what `ready` looks at.
    await contexts.default("python").start()
    for language in ("javascript", "bash"):
        contexts.default(language)
    server = await http.serve(Routes(contexts).handle, "0.0.0.0", port)
    async with server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else PORT))
