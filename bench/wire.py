"""HTTP/1.1 and Connect's JSON streams on a bare socket: no client library's time is in a measurement."""
import base64
import json
import socket
import struct
from urllib.parse import quote, urlparse

READ_BYTES = 1 << 18
HEAD_BYTES_MAX = 64 * 1024
WAIT_SECONDS = 120


class Wire:
    """One keep-alive connection. A failed request raises; the connection is then of no more use."""

    def __init__(self, endpoint):
        place = urlparse(endpoint)
        self.host = f"{place.hostname}:{place.port}"
        self.socket = socket.create_connection((place.hostname, place.port), timeout=WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def close(self):
        self.socket.close()

    def send_head(self, method, target, headers, length):
        lines = [f"{method} {target} HTTP/1.1", f"host: {self.host}", *(f"{k}: {v}" for k, v in headers.items())]
        if length is not None:
            lines.append(f"content-length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def request(self, method, target, headers=None, body=b""):
        """(status, body): the whole reply."""
        self.socket.sendall(self.send_head(method, target, headers or {}, len(body)) + body)
        status, fields = self.read_head()
        pieces = list(self.pieces(fields))
        return status, b"".join(pieces)

    def read_head(self):
        while (end := self.pending.find(b"\r\n\r\n")) < 0:
            if len(self.pending) > HEAD_BYTES_MAX:
                raise OSError("a reply's head of more than 64 KiB")
            self.fill()
        head, self.pending = self.pending[:end].decode("latin-1"), self.pending[end + 4:]
        first, *rest = head.split("\r\n")
        fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in rest)}
        return int(first.split()[1]), fields

    def fill(self):
        more = self.socket.recv(READ_BYTES)
        if not more:
            raise OSError("the server closed the connection in the middle of a reply")
        self.pending += more

    def take(self, count):
        while len(self.pending) < count:
            self.fill()
        out, self.pending = self.pending[:count], self.pending[count:]
        return out

    def pieces(self, fields):
        """The body in pieces, as they come."""
        if "chunked" in fields.get("transfer-encoding", ""):
            yield from self.chunks()
            return
        left = int(fields.get("content-length", 0))
        while left > 0:
            if not self.pending:
                self.fill()
            piece, self.pending = self.pending[:left], self.pending[left:]
            left -= len(piece)
            yield piece

    def chunks(self):
        while True:
            while (end := self.pending.find(b"\r\n")) < 0:
                self.fill()
            size = int(self.pending[:end].split(b";")[0], 16)
            self.pending = self.pending[end + 2:]
            piece = self.take(size + 2)[:-2]
            if size == 0:
                return
            yield piece


class Sandbox:
    """What a client does with a sandbox, on connections that are open before the clock starts."""

    def __init__(self, api, agent, key):
        self.api, self.agent, self.key = api, agent, key
        self.id = self.token = None

    def create(self, tier, template):
        body = json.dumps({"templateID": template, "timeout": 600, "metadata": {"atoll.tier": tier}}).encode()
        status, text = self.api.request("POST", "/v2/sandboxes", {"x-api-key": self.key, "content-type": "application/json"}, body)
        if status != 201:
            raise RuntimeError(f"create on tier {tier}: {status} {text[:300]!r}")
        reply = json.loads(text)
        self.id, self.token = reply["sandboxID"], reply["envdAccessToken"]

    def kill(self):
        status, text = self.api.request("DELETE", f"/sandboxes/{self.id}", {"x-api-key": self.key})
        if status != 204:
            raise RuntimeError(f"kill of {self.id}: {status} {text[:300]!r}")

    def headers(self, **more):
        fields = {"e2b-sandbox-id": self.id, "e2b-sandbox-port": "49983", "x-access-token": self.token,
                  "authorization": "Basic " + base64.b64encode(b"user:").decode()}
        return {**fields, **{k.replace("_", "-"): v for k, v in more.items()}}

    def start(self, cmd, *args):
        """Sends Process/Start; the reply's pieces follow from `stream`."""
        message = json.dumps({"process": {"cmd": cmd, "args": list(args), "envs": {}}, "stdin": False}).encode()
        body = struct.pack(">BI", 0, len(message)) + message
        headers = self.headers(content_type="application/connect+json", connect_protocol_version="1")
        self.agent.socket.sendall(self.agent.send_head("POST", "/process.Process/Start", headers, len(body)) + body)
        status, fields = self.agent.read_head()
        if status != 200:
            raise RuntimeError(f"Process/Start: {status} {b''.join(self.agent.pieces(fields))[:300]!r}")
        return self.agent.pieces(fields)

    def run(self, cmd, *args):
        """Standard output of a command that must exit with 0."""
        body, out, ended = b"".join(self.start(cmd, *args)), b"", False
        while body:
            flags, length = struct.unpack(">BI", body[:5])
            message, body = json.loads(body[5:5 + length] or b"{}"), body[5 + length:]
            if flags & 2:
                if "error" in message:
                    raise RuntimeError(f"{cmd}: {message}")
                continue
            event = message["event"]
            out += base64.b64decode(event.get("data", {}).get("stdout", ""))
            if "end" in event:
                ended = True
                if event["end"].get("exitCode", 0) != 0:
                    raise RuntimeError(f"{cmd} {args}: {event['end']}")
        if not ended:
            raise RuntimeError(f"{cmd}: the stream ended before the command")
        return out

    def upload(self, path, content):
        headers = self.headers(content_type="application/octet-stream")
        status, text = self.agent.request("POST", f"/files?path={quote(path)}&username=user", headers, content)
        if status != 200:
            raise RuntimeError(f"upload: {status} {text[:300]!r}")

    def download(self, path, into):
        """Reads into a buffer; gives the number of bytes. The server must say the length."""
        self.agent.socket.sendall(self.agent.send_head("GET", f"/files?path={quote(path)}&username=user", self.headers(), None))
        status, fields = self.agent.read_head()
        if status != 200:
            raise RuntimeError(f"download: {status} {b''.join(self.agent.pieces(fields))[:300]!r}")
        if "content-length" not in fields:
            return sum(len(piece) for piece in self.agent.pieces(fields))
        total, view = int(fields["content-length"]), memoryview(into)
        have = len(self.agent.pending)
        view[:have], self.agent.pending = self.agent.pending, b""
        while have < total:
            count = self.agent.socket.recv_into(view[have:total])
            if count == 0:
                raise OSError(f"download ended after {have} of {total} bytes")
            have += count
        return total
