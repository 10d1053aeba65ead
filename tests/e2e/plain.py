"""Plain HTTP for tests: the request as it is given, the reply as it came. Python's standard library only."""
import hashlib
import http.client
import json
import os
import secrets
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

KEY = os.environ.get("E2B_API_KEY", "")
URL = os.environ.get("E2B_API_URL", "")


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def send(method, target, body=None, headers=None, key=KEY, raw=None, url=URL, chunked=False):
    """`body` is sent as JSON, `raw` as it is. Nothing is followed, decoded or retried."""
    place = urlsplit(url)
    fields = {k: v for k, v in {"X-API-KEY": key}.items() if v}
    data = raw
    if body is not None:
        data, fields["Content-Type"] = json.dumps(body).encode(), "application/json"
    fields.update(headers or {})
    with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=60)) as connection:
        try:
            connection.request(method, target, iter([data]) if chunked else data, fields, encode_chunked=chunked)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of the body was sent: the answer is there
        reply = connection.getresponse()
        return Reply(reply.status, reply.headers, reply.read())


def other_project(sandboxes=1000, per_minute=1200):
    """(id, key) of a further project of the instance, with a quota of its own, written as another process of the
    host would. It goes with the instance."""
    project, key = str(uuid.uuid4()), "e2b_" + secrets.token_hex(20)
    now = time.time_ns() // 1_000_000
    store = Path(os.environ["ATOLL_ROOT"]) / "store" / "atoll.db"
    with closing(sqlite3.connect(store, timeout=10)) as db, db:
        db.execute("INSERT INTO projects VALUES (?,?,?,?,?,?,?)", (project, f"check-{project}", sandboxes, 4000, 4_000_000, per_minute, now))
        db.execute("INSERT INTO api_keys VALUES (?,?,?,?,?,?,?,?,?,?)", (str(uuid.uuid4()), project, "first", hashlib.sha256(key.encode()).hexdigest(),
                                                                        "e2b_", 40, key[4:6], key[-4:], now, 0))
    until = time.monotonic() + 10
    while send("GET", "/teams", key=key).status != 200:  # unknown keys are looked for again once a second
        if time.monotonic() > until:
            raise TimeoutError("the new project's key is not known after 10 s")
        time.sleep(0.2)
    return project, key
