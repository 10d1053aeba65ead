"""As much of HTTP/1.1 as the service needs: requests with bounded heads and bodies, whole or streamed replies."""
import asyncio

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 16 * 1024 * 1024
HEAD_SECONDS_MAX = 620  # an idle connection
BODY_SECONDS_MAX = 60
CONNECTIONS_MAX = 256
REASONS = {200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
           408: "Request Timeout", 413: "Payload Too Large", 431: "Request Header Fields Too Large",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


class HttpError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body


class Exchange:
    """One request and its one reply."""

    def __init__(self, request, writer):
        self.request = request
        self._writer = writer
        self.streaming = False

    async def reply(self, status, body=b"", content_type="text/plain; charset=utf-8"):
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\n"
        if status != 204:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        await self._writer.drain()

    async def stream(self, chunk):
        """Waits while the client does not take what was sent."""
        head = b""
        if not self.streaming:
            self.streaming = True
            head = (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n")
        self._writer.write(head + f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await self._writer.drain()

    async def finish(self):
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


class Connection:
    def __init__(self, reader, writer, handler):
        self._reader, self._writer, self._handler = reader, writer, handler
        self._ahead = b""  # a byte of the next request, read while waiting for the client's end

    async def serve(self):
        while True:
            try:
                request = await self._read_request()
            except HttpError as error:
                await Exchange(None, self._writer).reply(error.status, str(error).encode())
                return
            if request is None or not await self._handle(request):
                return
            if request.headers.get("connection", "").lower() == "close":
                return

    async def _handle(self, request):
        """False when the client went away: its request's work is cancelled then."""
        work = asyncio.create_task(self._handler(Exchange(request, self._writer)))
        ahead = asyncio.create_task(self._reader.read(1)) if not self._ahead else None
        try:
            await asyncio.wait([task for task in (work, ahead) if task], return_when=asyncio.FIRST_COMPLETED)
            if ahead and ahead.done() and not work.done():
                self._ahead = ahead.result()
                if not self._ahead:
                    return False
            await work
        finally:
            if not work.done():
                work.cancel()
            await asyncio.wait([work])
            if ahead and not ahead.done():
                ahead.cancel()
                await asyncio.wait([ahead])
        if ahead and not ahead.cancelled() and not self._ahead:
            self._ahead = ahead.result()
            return bool(self._ahead)
        return True

    async def _read_request(self):
        try:
            head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS_MAX)
        except (asyncio.IncompleteReadError, asyncio.TimeoutError):
            return None
        except asyncio.LimitOverrunError:
            raise HttpError(431, f"the request's head is over {HEAD_BYTES_MAX} bytes") from None
        method, path, headers = parse_head(self._ahead + head)
        self._ahead = b""
        try:
            body = await asyncio.wait_for(self._read_body(headers), BODY_SECONDS_MAX)
        except asyncio.TimeoutError:
            raise HttpError(408, f"the request's body took over {BODY_SECONDS_MAX} s") from None
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise HttpError(400, "a chunk's head is too long") from None
        return Request(method, path, headers, body)

    async def _read_body(self, headers):
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise HttpError(400, "Transfer-Encoding: only chunked, and no Content-Length beside it")
            return await self._read_chunks()
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise HttpError(400, "Content-Length: not a number")
        if int(length) > BODY_BYTES_MAX:
            raise HttpError(413, f"the request's body is over {BODY_BYTES_MAX} bytes")
        return await self._reader.readexactly(int(length))

    async def _read_chunks(self):
        body = bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            try:
                size = int(line.split(b";")[0].strip() or b"x", 16)
            except ValueError:
                raise HttpError(400, "a chunk's size is not a number") from None
            if size < 0 or len(body) + size > BODY_BYTES_MAX:
                raise HttpError(413, f"the request's body is over {BODY_BYTES_MAX} bytes")
            if size == 0:
                break
            body += await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise HttpError(400, "a chunk does not end where it said")
        for _ in range(100):  # trailers
            if await self._reader.readuntil(b"\r\n") == b"\r\n":
                return bytes(body)
        raise HttpError(400, "too many trailers")


def parse_head(head):
    try:
        first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError:
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1") from None
    if version not in ("HTTP/1.1", "HTTP/1.0") or not target.startswith("/"):
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise HttpError(400, "a header line has no name")
        if name in ("content-length", "transfer-encoding") and name in headers:
            raise HttpError(400, f"{name} is given twice")
        headers[name] = value.strip()
    return method, target.split("?")[0], headers


async def serve(handler, host, port):
    """`handler(exchange)` replies; what it raises is its own bug."""
    open_now = 0

    async def connected(reader, writer):
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= CONNECTIONS_MAX:
                await Connection(reader, writer, handler).serve()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            open_now -= 1
            writer.close()
    return await asyncio.start_server(connected, host, port, limit=HEAD_BYTES_MAX, backlog=128)
