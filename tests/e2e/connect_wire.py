"""The agent's protocol by hand: JSON envelopes over plain HTTP, each frame when it arrives."""
import base64
import http.client
import json
import struct
import time
from urllib.parse import urlsplit

from plain import URL, send

END = 2  # flag of the last frame


class Box:
    """A sandbox as POST /sandboxes answered it."""

    def __init__(self, created):
        self.id, self.token = created["sandboxID"], created.get("envdAccessToken")

    def headers(self, **more):
        out = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983"}
        if self.token:
            out["X-Access-Token"] = self.token
        return {**out, **{k.replace("_", "-"): v for k, v in more.items()}}

    def agent(self, method, target, **how):
        how["headers"] = {**self.headers(), **how.get("headers", {})}
        return send(method, target, key=None, **how)

    def unary(self, rpc, body, **headers):
        return self.agent("POST", f"/{rpc}", body=body, headers=headers)

    def stream(self, rpc, body, **headers):
        return Stream(self, rpc, body, headers)

    def run(self, command, **headers):
        """(stdout, the end event, the end frame) of one shell command."""
        with self.stream("process.Process/Start", shell(command), **headers) as stream:
            return stream.rest()


def shell(command):
    return {"process": {"cmd": "/bin/bash", "args": ["-l", "-c", command]}, "stdin": False}


def envelope(message, flags=0):
    payload = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(payload)) + payload


class Stream:
    def __init__(self, box, rpc, body, headers):
        place = urlsplit(URL)
        self.connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        fields = {**box.headers(), "Content-Type": "application/connect+json", "Connect-Protocol-Version": "1", **headers}
        self.connection.request("POST", f"/{rpc}", envelope(body), fields)
        self.reply = self.connection.getresponse()
        self.status, self.content_type = self.reply.status, self.reply.headers.get("Content-Type")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.reply.read(count - len(data))
            if not part:
                raise EOFError(f"the stream closed after {data!r}")
            data += part
        return data

    def frame(self):
        """(flags, message); EOFError when the stream ends without one."""
        flags, size = struct.unpack(">BI", self._exactly(5))
        return flags, json.loads(self._exactly(size) or b"null")

    def event(self):
        """The next event that is no keepalive, or the end frame's message."""
        while True:
            flags, message = self.frame()
            if flags == END:
                return message
            event = message.get("event", message)
            if "keepalive" not in event:
                return event

    def rest(self):
        output, end = b"", None
        while True:
            flags, message = self.frame()
            if flags == END:
                return output.decode(), end, message
            event = message.get("event", message)
            output += base64.b64decode(event.get("data", {}).get("stdout", ""))
            end = event.get("end", end)


def until(condition, seconds=15):
    """Waits for a state of the world; the last value comes back."""
    stop = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > stop:
            return found
        time.sleep(0.05)
