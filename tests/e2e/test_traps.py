"""Where servers that speak E2B's protocol go wrong, one named test each, by plain requests to a real instance. What concerns
an ability that Atoll does not have yet tests today's refusal, and its name says so."""
import base64
import gzip
import hashlib
import json
import socket
import time
import unittest
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import e2b
from connect_wire import END, Box, envelope, shell, until
from plain import URL, other_project, send

MISSING = "i00000000000000000000"


def create(body=None, path="/v2/sandboxes", **more):
    reply = send("POST", path, {"templateID": "base", "timeout": 300, **(body or {}), **more})
    assert reply.status == 201, reply
    return reply.json


def kill(sandbox):
    return send("DELETE", f"/sandboxes/{sandbox if isinstance(sandbox, str) else sandbox['sandboxID']}")


def seconds_left(sandbox):
    """Until its end, as the control plane tells it."""
    detail = send("GET", f"/sandboxes/{sandbox}").json
    stamp = lambda text: time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) + float(text[19:23])
    return stamp(detail["endAt"]) - time.mktime(time.gmtime())


class Trap(unittest.TestCase):
    """One sandbox serves all that do not harm it."""
    shared = None

    @classmethod
    def setUpClass(cls):
        if Trap.shared is None:
            Trap.shared = create()
            unittest.addModuleCleanup(lambda: kill(Trap.shared))
        cls.created, cls.sandbox_id = Trap.shared, Trap.shared["sandboxID"]
        cls.box = Box(Trap.shared)

    def another(self, *args, **more):
        made = create(*args, **more)
        self.addCleanup(kill, made)
        return made

    def refused(self, reply, status):
        self.assertEqual(reply.status, status, reply)
        self.assertEqual(reply.json["code"], status)
        self.assertTrue(reply.json["message"])
        return reply.json["message"]


class ControlPlane(Trap):
    def test_01_both_generations_create_and_connect_with_their_own_defaults(self):
        old = send("POST", "/sandboxes", {"templateID": "base"}).json
        self.addCleanup(kill, old)
        self.assertNotIn("envdAccessToken", old)
        self.assertLessEqual(seconds_left(old["sandboxID"]), 16)
        new = send("POST", "/v2/sandboxes", {"templateID": "base", "secure": False}).json
        self.addCleanup(kill, new)
        self.assertRegex(new["envdAccessToken"], "^[0-9a-f]{64}$")
        self.assertGreater(seconds_left(new["sandboxID"]), 280)
        self.assertEqual(send("POST", f"/sandboxes/{old['sandboxID']}/connect", {"timeout": 60}).status, 200)
        self.refused(send("POST", f"/sandboxes/{old['sandboxID']}/connect", {}), 400)
        self.assertEqual(send("POST", f"/v2/sandboxes/{old['sandboxID']}/connect", {}).status, 200)
        self.assertGreater(seconds_left(old["sandboxID"]), 280)

    def test_02_success_without_a_body_is_a_204_or_says_length_0(self):
        made = self.another()
        for method, path, body in (("POST", "timeout", {"timeout": 60}), ("POST", "refreshes", {}), ("PUT", "network", {}), ("DELETE", "", None)):
            reply = send(method, f"/sandboxes/{made['sandboxID']}/{path}".rstrip("/"), body)
            self.assertEqual((reply.status, reply.body), (204, b""), path)
            self.assertIsNone(reply.headers["Transfer-Encoding"])
        self.assertEqual(self.box.agent("GET", "/health").status, 204)

    def test_03_errors_repeat_their_status_as_a_number_in_the_body(self):
        for method, path, body in (("DELETE", "", None), ("GET", "", None), ("POST", "/timeout", {"timeout": 5}), ("POST", "/connect", {"timeout": 5}),
                                   ("POST", "/pause", {}), ("POST", "/fork", {}), ("POST", "/snapshots", {})):
            reply = send(method, f"/sandboxes/{MISSING}{path}", body)
            self.assertIn("was not found", self.refused(reply, 404))
            self.assertIs(type(reply.json["code"]), int)

    def test_10_names_of_ports_lead_to_sandboxes_without_any_header(self):
        """Clients make such names whatever base URL they were given. TLS for them is e2e/domain's to test."""
        self.box.run("cd /tmp && mkdir -p www && echo by-name > www/i && (setsid python3 -m http.server 8010 -d www >/dev/null 2>&1 &)")
        ask = lambda: send("GET", "/i", key=None, headers={"Host": f"8010-{self.sandbox_id}.some.test"})
        self.assertTrue(until(lambda: ask().body == b"by-name\n"), ask())
        agent = send("GET", "/health", key=None, headers={"Host": f"49983-{self.sandbox_id}.some.test"})
        self.assertEqual(agent.status, 204)

    def test_11_domain_is_null_unless_this_host_has_one(self):
        self.assertIsNone(self.created["domain"])
        self.assertIsNone(send("GET", f"/sandboxes/{self.sandbox_id}").json["domain"])
        self.assertIsNone(send("POST", f"/v2/sandboxes/{self.sandbox_id}/connect", {}).json["domain"])

    def test_12_pages_states_and_filters_mean_what_they_say(self):
        mark = {"k y": "v&1", "run": str(time.time_ns())}
        made = {self.another(metadata=mark)["sandboxID"] for _ in range(2)}
        inner = "&".join(f"{urllib.parse.quote(k)}={urllib.parse.quote(v)}" for k, v in mark.items())
        query = {"metadata": urllib.parse.quote(inner, safe="=&"), "state": "running,paused", "limit": 1}
        found, token, pages = set(), None, 0
        while token is not None or pages == 0:
            page = send("GET", "/v2/sandboxes?" + urllib.parse.urlencode({**query, **({"nextToken": token} if token else {})}))
            found |= {one["sandboxID"] for one in page.json}
            token, pages = page.headers["X-Next-Token"], pages + 1
            self.assertEqual(page.headers["X-Total-Running"], "2")
        self.assertEqual((found, pages), (made, 2))
        for nothing in ("metadata=run%3Dnone", "metadata=none%3D1", "template=none", "state=paused", "startedAfter=2999-01-01T00%3A00%3A00Z"):
            self.assertEqual(send("GET", f"/v2/sandboxes?{nothing}").json, [], nothing)
        for bad in ("state=pausing", "nextToken=x", "limit=0", "limit=101", "order=up", "startedAfter=now", "template=base%3Adefault"):
            self.refused(send("GET", f"/v2/sandboxes?{bad}"), 400)

    def test_13_the_agents_version_is_one_that_clients_can_compare(self):
        versions = {self.created["envdVersion"], send("GET", f"/sandboxes/{self.sandbox_id}").json["envdVersion"],
                    send("GET", "/templates").json[0]["envdVersion"], send("GET", "/v2/sandboxes").json[0]["envdVersion"]}
        self.assertEqual(len(versions), 1)
        version = versions.pop()
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertGreaterEqual(tuple(map(int, version.split("."))), (0, 6, 4), "all that clients ask newer agents for is spoken")

    def test_17_network_rules_today_denials_hold_and_permissions_are_refused(self):
        made = self.another(allow_internet_access=False, network={"denyOut": ["10.0.0.0/8", "1.1.1.1"]})
        detail = send("GET", f"/sandboxes/{made['sandboxID']}").json
        self.assertIs(detail["allowInternetAccess"], False)
        self.assertEqual(detail["network"]["denyOut"], ["10.0.0.0/8", "1.1.1.1"])
        self.refused(send("POST", "/v2/sandboxes", {"templateID": "base", "allow_internet_access": "no"}), 400)
        for network in ({"allowOut": ["example.com"]}, {"allowOut": ["example.com"], "denyOut": ["0.0.0.0/0"]}, {"denyOut": ["example.com"]}):
            self.refused(send("POST", "/v2/sandboxes", {"templateID": "base", "network": network}), 400)
            self.refused(send("PUT", f"/sandboxes/{made['sandboxID']}/network", network), 400)
        self.assertEqual(send("PUT", f"/sandboxes/{made['sandboxID']}/network", {}).status, 204)
        self.assertNotIn("denyOut", send("GET", f"/sandboxes/{made['sandboxID']}").json["network"], "what is left out is cleared")

    def test_18_times_of_the_end_and_pause_is_refused_today(self):
        made = self.another(timeout=200)["sandboxID"]
        self.assertEqual(send("POST", f"/sandboxes/{made}/connect", {"timeout": 10}).status, 200)
        self.assertGreater(seconds_left(made), 150, "connect never shortens")
        send("POST", f"/sandboxes/{made}/timeout", {"timeout": 9})
        self.assertLess(seconds_left(made), 10, "timeout may")
        send("POST", f"/sandboxes/{made}/refreshes", {"duration": 1})
        self.assertGreater(seconds_left(made), 12, "refreshes has a floor of 15 s")
        self.refused(send("POST", f"/sandboxes/{made}/pause", {}), 501)
        self.refused(send("POST", f"/sandboxes/{made}/resume", {}), 501)
        self.assertEqual(send("GET", f"/sandboxes/{made}").json["state"], "running", "a refused pause changes nothing")
        self.refused(send("POST", "/v2/sandboxes", {"templateID": "base", "autoPause": True}), 501)
        self.assertEqual(kill(made).status, 204)
        self.refused(kill(made), 404)

    def test_19_templates_by_escaped_names_with_tags_and_builds_are_refused_today(self):
        project = send("GET", "/teams").json[0]["name"]
        for name in ("base", "BASE", "base:default", f"{project}/base", f"{project}/base:default"):
            escaped = urllib.parse.quote(name, safe="")
            self.assertEqual(send("GET", f"/templates/aliases/{escaped}").status, 200, name)
            kill(create({"templateID": name}))
        self.refused(send("GET", "/templates/aliases/other%2Fbase"), 404)
        self.refused(send("GET", "/templates/aliases/base%3Av9"), 404)
        for method, path in (("POST", "/v3/templates"), ("POST", "/v2/templates/x/builds/y"), ("GET", "/templates/x/builds/y/status?logsOffset=0"),
                             ("GET", "/templates/x/files/" + "0" * 64), ("DELETE", "/templates/base"), ("PATCH", "/v2/templates/base")):
            self.refused(send(method, path, {} if method != "GET" else None), 501)
        box = Box(self.another(envVars={"ASKED": "at create"}))
        self.assertEqual(box.run("echo $ASKED")[0], "at create\n")


class Agent(Trap):
    def test_04_three_kinds_of_error_are_not_mixed(self):
        unary = self.box.unary("filesystem.Filesystem/Stat", {"path": "/nowhere"})
        self.assertEqual((unary.status, unary.json["code"]), (404, "not_found"))
        self.assertTrue(unary.headers["Content-Type"].startswith("application/json"))
        with self.box.stream("process.Process/Connect", {"process": {"pid": 999999}}) as stream:
            self.assertEqual((stream.status, stream.content_type), (200, "application/connect+json"))
            flags, message = stream.frame()
        self.assertEqual((flags, message["error"]["code"]), (END, "not_found"))
        self.assertEqual(self.refused(self.box.agent("GET", "/files?path=/nowhere"), 404).count("nowhere"), 1)
        self.refused(send("GET", f"/sandboxes/{MISSING}"), 404)

    def test_05_the_first_frame_is_start_at_once_with_the_pid_that_selectors_take(self):
        begun = time.monotonic()
        with self.box.stream("process.Process/Start", shell("sleep 30")) as stream:
            pid = stream.event()["start"]["pid"]
            self.assertLess(time.monotonic() - begun, 5)
            self.assertIn(pid, [p["pid"] for p in self.box.unary("process.Process/List", {}).json["processes"]])
            self.assertEqual(self.box.run(f"ps -o args= -p {pid} | grep -c sleep")[0], "1\n")
            with self.box.stream("process.Process/Connect", {"process": {"pid": pid}}) as second:
                self.assertEqual(second.event()["start"]["pid"], pid)
            self.assertEqual(self.box.unary("process.Process/SendSignal", {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}).status, 200)
        with self.box.stream("filesystem.Filesystem/WatchDir", {"path": "/tmp"}) as watch:
            self.assertIn("start", watch.event())

    def test_06_a_dead_sandbox_is_a_502_everywhere_and_nothing_else_is(self):
        killed, expired = create(), create(timeout=1)
        kill(killed)
        self.assertTrue(until(lambda: send("GET", f"/sandboxes/{expired['sandboxID']}").status == 404))
        for made in (killed, expired, {"sandboxID": MISSING, "envdAccessToken": "0" * 64}):
            box = Box(made)
            replies = [box.agent("GET", "/health"), box.agent("GET", "/files?path=x"), box.agent("POST", "/files?path=x", raw=b"x", headers={"Content-Type": "application/octet-stream"}),
                       box.unary("filesystem.Filesystem/Stat", {"path": "/"}),
                       box.agent("POST", "/process.Process/Start", raw=envelope(shell("true")), headers={"Content-Type": "application/connect+json"}),
                       send("GET", "/", key=None, headers={"E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "8000"})]
            for reply in replies:
                self.assertIn("was not found", self.refused(reply, 502))
                self.assertEqual(reply.headers["Content-Type"], "application/json")
                self.assertEqual(reply.json["sandboxId"], made["sandboxID"])
        self.assertEqual(self.box.agent("GET", "/health").status, 204)

    def test_07_bodies_come_chunked_and_packed(self):
        made = send("POST", "/v2/sandboxes", raw=json.dumps({"templateID": "base", "timeout": 60}).encode(), chunked=True, headers={"Content-Type": "application/json"})
        self.addCleanup(kill, made.json)
        self.assertEqual(made.status, 201)
        octets = {"Content-Type": "application/octet-stream"}
        self.assertEqual(self.box.agent("POST", "/files?path=/tmp/a", raw=b"chunked", chunked=True, headers=octets).status, 200)
        packed = self.box.agent("POST", "/files?path=/tmp/b", raw=gzip.compress(b"packed"), chunked=True, headers={**octets, "Content-Encoding": "gzip"})
        self.assertEqual(packed.status, 200)
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="/tmp/c"\r\nContent-Type: text/plain\r\n\r\npart\r\n--b--\r\n'
        self.assertEqual(self.box.agent("POST", "/files", raw=part, chunked=True, headers={"Content-Type": "multipart/form-data; boundary=b"}).status, 200)
        self.assertEqual(self.box.run("cat /tmp/a /tmp/b /tmp/c")[0], "chunkedpackedpart")

    def test_08_downloads_packed_plain_in_ranges_and_of_odd_files(self):
        self.box.run("seq 10000 > /tmp/numbers; : > /tmp/empty")
        numbers = "".join(f"{n}\n" for n in range(1, 10001)).encode()
        read = lambda path, **headers: self.box.agent("GET", f"/files?path={path}", headers={k.replace("_", "-"): v for k, v in headers.items()})
        packed = read("/tmp/numbers", Accept_Encoding="gzip, deflate")
        self.assertEqual((packed.headers["Content-Encoding"], packed.headers["Content-Length"]), ("gzip", None))
        self.assertEqual(gzip.decompress(packed.body), numbers)
        plain = read("/tmp/numbers", Accept_Encoding="identity")
        self.assertEqual((plain.headers["Content-Encoding"], plain.body), (None, numbers))
        part = read("/tmp/numbers", Accept_Encoding="identity", Range="bytes=2-5")
        self.assertEqual((part.status, part.body), (206, numbers[2:6]))
        self.assertEqual(part.headers["Content-Range"], f"bytes 2-5/{len(numbers)}")
        self.refused(read("/tmp/numbers", Accept_Encoding="br, identity;q=0"), 406)
        for encoding in ("gzip", "identity"):
            empty, proc = read("/tmp/empty", Accept_Encoding=encoding), read("/proc/cpuinfo", Accept_Encoding=encoding)
            unpack = lambda r: gzip.decompress(r.body) if r.headers["Content-Encoding"] == "gzip" else r.body
            self.assertEqual((empty.status, unpack(empty)), (200, b""))
            self.assertIn(b"processor", unpack(proc), "a file of size 0 that has content")
        self.refused(read("/tmp", Accept_Encoding="gzip"), 400)

    def test_09_a_signed_url_without_any_sandbox_id_finds_its_sandbox(self):
        self.box.run("echo signed > ~/signed.txt")
        def signed(path, operation, expires=None):
            text = f"{path}:{operation}::{self.box.token}" + (f":{expires}" if expires else "")
            mark = "v1_" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            return "/files?" + urllib.parse.urlencode({"path": path, "signature": mark, **({"signature_expiration": expires} if expires else {})})
        self.assertEqual(send("GET", signed("signed.txt", "read"), key=None).body, b"signed\n")
        self.assertEqual(send("GET", signed("signed.txt", "read", int(time.time()) + 60), key=None).body, b"signed\n")
        self.assertIn("expired", self.refused(send("GET", signed("signed.txt", "read", int(time.time()) - 60), key=None), 401))
        written = send("POST", signed("up.txt", "write"), key=None, raw=b"up", headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(written.status, 200)
        self.assertGreaterEqual(send("GET", signed("other.txt", "read").replace("other.txt", "signed.txt"), key=None).status, 400)
        by_token = send("GET", "/files?path=signed.txt", key=None, headers={"X-Access-Token": self.box.token})
        self.assertEqual(by_token.body, b"signed\n", "older clients send nothing but the token")

    def test_14_without_a_named_user_the_templates_user_runs_it(self):
        self.assertEqual(self.box.run("whoami; pwd")[0], "user\n/home/user\n")
        root = "Basic " + base64.b64encode(b"root:").decode()
        self.assertEqual(self.box.run("whoami", Authorization=root)[0], "root\n")
        self.box.run("echo home > ~/relative.txt")
        self.assertEqual(self.box.unary("filesystem.Filesystem/Stat", {"path": "relative.txt"}).json["entry"]["path"], "/home/user/relative.txt")
        self.assertEqual(self.box.unary("filesystem.Filesystem/Stat", {"path": ""}).json["entry"]["path"], "/home/user")
        nobody = self.box.unary("filesystem.Filesystem/Stat", {"path": "/"}, Authorization="Basic " + base64.b64encode(b"nobody-here:").decode())
        self.assertEqual((nobody.status, nobody.json["code"]), (401, "unauthenticated"))

    def test_15_the_deadline_kills_a_lost_connection_does_not(self):
        begun = time.monotonic()
        with self.box.stream("process.Process/Start", shell("sleep 97"), **{"Connect-Timeout-Ms": "1000"}) as stream:
            _, _, last = stream.rest()
        self.assertEqual(last["error"]["code"], "deadline_exceeded")
        self.assertLess(time.monotonic() - begun, 15)
        self.assertTrue(until(lambda: self.box.run("pgrep -fc '^sleep 97' || true")[0] == "0\n"), "it lives on")
        with self.box.stream("process.Process/Start", shell("echo before; until [ -e /tmp/go15 ]; do sleep 0.1; done; echo after; exit 5")) as stream:
            pid = stream.event()["start"]["pid"]
            stream.event()
        with self.box.stream("process.Process/Connect", {"process": {"pid": pid}}) as again:
            again.event()
            self.box.run("touch /tmp/go15")
            output, end, _ = again.rest()
        self.assertEqual((output, end["exitCode"]), ("after\n", 5), "nothing is replayed")
        with self.box.stream("process.Process/Connect", {"process": {"pid": pid}}) as late:
            self.assertEqual(late.rest()[1]["exitCode"], 5, "after its end too")

    def test_16_ends_and_permissions_have_gos_words(self):
        ended = self.box.run("exit 3")[1]
        self.assertEqual((ended["exitCode"], ended["exited"], ended["status"]), (3, True, "exit status 3"))
        died = self.box.run("kill -9 $$")[1]
        self.assertEqual((died["exitCode"], died.get("exited", False), died["status"]), (-1, False, "signal: killed"))
        self.box.run("cd /tmp && echo x > plain && chmod 640 plain && ln -sfn plain link && mkdir -p dir && chmod 1777 dir && ln -sfn nowhere dangling")
        stat = lambda name: self.box.unary("filesystem.Filesystem/Stat", {"path": f"/tmp/{name}"}).json["entry"]
        self.assertEqual((stat("plain")["type"], stat("plain")["permissions"]), ("FILE_TYPE_FILE", "-rw-r-----"))
        self.assertEqual(stat("dir")["permissions"], "dtrwxrwxrwx")
        link = stat("link")
        self.assertEqual((link["type"], link["mode"], link["permissions"][0], link["symlinkTarget"]), ("FILE_TYPE_FILE", 0o640, "L", "/tmp/plain"))
        self.assertIs(link["isSymlink"], True)
        self.assertEqual(stat("dangling")["type"], "FILE_TYPE_SYMLINK")

    def test_20_inner_routes_are_closed_loopback_servers_reachable_49999_goes_by_header_and_logs_are_json(self):
        for path in ("/init", "/freeze", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade"):
            self.refused(self.box.agent("POST", path, body={}), 404)
        self.assertEqual(self.box.agent("GET", "/envs", headers={"X-Access-Token": ""}).status, 401, "the token still counts")
        server = ("import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(self):\n  b = self.path.encode()\n  self.send_response(200)\n"
                  "  self.send_header('Content-Length', str(len(b)))\n  self.end_headers()\n  self.wfile.write(b)\n def log_message(self, *a): pass\n"
                  "h.ThreadingHTTPServer(('127.0.0.1', 49999), H).serve_forever()\n")
        self.box.agent("POST", "/files?path=/tmp/server.py", raw=server.encode(), headers={"Content-Type": "application/octet-stream"})
        self.box.run("setsid python3 /tmp/server.py >/dev/null 2>&1 &")
        ask = lambda path: send("GET", path, key=None, headers={"E2b-Sandbox-Id": self.sandbox_id, "E2b-Sandbox-Port": "49999"})
        self.assertTrue(until(lambda: ask("/").status == 200), ask("/"))
        for path in ("/contexts", "/execute", "/sandboxes", "/health", "/init", "/files?path=x", "/v2/sandboxes", "/process.Process/List"):
            self.assertEqual(ask(path).body.decode(), path)
        for entry in send("GET", f"/sandboxes/{self.sandbox_id}/logs").json["logs"]:
            line = json.loads(entry["line"])
            self.assertLessEqual({"level", "logger"}, set(line))
        for _ in range(3):
            self.assertEqual(send("POST", f"/sandboxes/{self.sandbox_id}/timeout", {"timeout": 30}).status, 204)
        send("POST", f"/sandboxes/{self.sandbox_id}/timeout", {"timeout": 300})


class NewerClients(Trap):
    """What Python clients of 2.52 to 2.63 hold answers to; with the client itself where that tells most."""

    def dead(self):
        sandbox = e2b.Sandbox.create("base", timeout=60)
        kill(sandbox.sandbox_id)
        return sandbox

    # -- the text of a 502

    def test_text_was_not_found_a_dead_sandbox_is_not_running(self):
        expired = e2b.Sandbox.create("base", timeout=1)
        self.assertTrue(until(lambda: send("GET", f"/sandboxes/{expired.sandbox_id}").status == 404))
        for sandbox in (self.dead(), expired):
            with self.assertRaises(e2b.SandboxNotRunningException):
                sandbox.files.read("x")
            with self.assertRaises(e2b.SandboxNotRunningException):
                sandbox.files.list("/")
            with self.assertRaises(e2b.SandboxNotRunningException):
                sandbox.commands.run("true")
            self.assertIs(sandbox.is_running(), False)

    def test_text_port_is_not_open_of_a_port_that_nobody_listens_on(self):
        reply = send("GET", "/", key=None, headers={"E2b-Sandbox-Id": self.sandbox_id, "E2b-Sandbox-Port": "4444"})
        message = self.refused(reply, 502)
        self.assertIn("port is not open", message)
        self.assertNotIn("was not found", message)
        self.assertEqual(reply.json["port"], 4444)

    def test_text_of_any_502_on_files_tells_which_it_is(self):
        """Atoll has no third kind: a sandbox that runs answers /files itself, with other statuses."""
        dead = self.dead().sandbox_id
        for method in ("GET", "POST"):
            reply = send(method, "/files?path=x", key=None, raw=b"x" if method == "POST" else None, headers={"E2b-Sandbox-Id": dead})
            self.assertIn("was not found", self.refused(reply, 502))
        self.refused(self.box.agent("GET", "/files?path=/nowhere"), 404)
        self.refused(send("GET", "/files?path=x", key=None, headers={"E2b-Sandbox-Id": self.sandbox_id}), 401)

    def test_text_a_stream_that_breaks_is_told_apart_by_health(self):
        sandbox = e2b.Sandbox.create("base", timeout=60)
        command = sandbox.commands.run("sleep 50", background=True)
        kill(sandbox.sandbox_id)
        with self.assertRaises(e2b.SandboxNotRunningException):
            command.wait()
        unary = Box({"sandboxID": sandbox.sandbox_id, "envdAccessToken": "0" * 64}).unary("process.Process/List", {})
        self.assertIn("was not found", self.refused(unary, 502))

    # -- statuses and bodies are strict

    def test_strict_a_body_is_read_only_at_its_own_status(self):
        made = self.another()
        self.assertEqual(send("POST", f"/sandboxes/{made['sandboxID']}/connect", {"timeout": 60}).status, 200)
        for path in ("/v2/sandboxes", "/sandboxes", f"/sandboxes/{made['sandboxID']}", "/templates", "/teams", f"/v2/sandboxes/{made['sandboxID']}/logs"):
            self.assertEqual(send("GET", path).status, 200, path)
        key = send("POST", "/api-keys", {"name": "trap"})
        self.assertEqual(key.status, 201)
        self.assertEqual(send("DELETE", f"/api-keys/{key.json['id']}").status, 204)

    def test_strict_fork_and_snapshot_are_refused_today_and_never_a_200(self):
        sandbox = e2b.Sandbox.connect(self.sandbox_id)
        for wanted in (sandbox.create_snapshot, sandbox.pause):
            with self.assertRaisesRegex(e2b.SandboxException, "not available") as caught:
                wanted()
            self.assertEqual(caught.exception.status_code, 501)
        self.refused(send("POST", f"/sandboxes/{self.sandbox_id}/fork", {"count": 1}), 501)

    def test_strict_every_error_has_code_and_message_even_before_any_route(self):
        self.assertIs(e2b.Sandbox.kill(MISSING), False)
        for reply, status in ((send("GET", "/none"), 404), (send("PUT", "/v2/sandboxes"), 405), (send("GET", "/v2/sandboxes", key=None), 401),
                              (send("POST", "/v2/sandboxes", raw=b"{"), 400), (send("POST", "/v2/sandboxes", raw=b" " * ((16 << 20) + 1)), 413),
                              (send("GET", "/sandboxes/%zz"), 400), (send("GET", "/files?path=x", key=None), 400)):
            self.refused(reply, status)
        place = urllib.parse.urlsplit(URL)
        for wrong in (b"NONSENSE\r\n\r\n", b"GET /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 300_000 + b"\r\n\r\n"):
            with socket.create_connection((place.hostname, place.port), timeout=20) as raw:
                raw.sendall(wrong)
                answer = b""
                while part := raw.recv(65536):
                    answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            self.assertEqual(json.loads(body)["code"], int(head.split()[1]), answer[:300])
            self.assertTrue(json.loads(body)["message"])

    def test_strict_what_clients_require_is_there_and_states_are_known(self):
        self.assertLessEqual({"templateID", "sandboxID", "clientID", "envdVersion"}, set(self.created))
        detail = send("GET", f"/sandboxes/{self.sandbox_id}").json
        self.assertLessEqual({"templateID", "sandboxID", "clientID", "startedAt", "endAt", "envdVersion", "cpuCount", "memoryMB", "diskSizeMB", "state"}, set(detail))
        self.assertLessEqual({"autoResume", "onTimeout"}, set(detail["lifecycle"]))
        self.assertIsInstance(detail["network"], dict)
        for one in send("GET", "/v2/sandboxes").json:
            self.assertIn(one["state"], ("running", "paused"))
        info = e2b.Sandbox.connect(self.sandbox_id).get_info()
        self.assertEqual(info.sandbox_id, self.sandbox_id)

    def test_strict_statuses_become_the_exceptions_that_programs_catch(self):
        with self.assertRaises(e2b.AuthenticationException):
            e2b.Sandbox.create("base", api_key="e2b_" + "0" * 40)
        with self.assertRaises(e2b.SandboxNotFoundException):
            e2b.Sandbox.connect(MISSING)
        with self.assertRaises(e2b.SandboxException) as caught:
            e2b.Sandbox.create("no-such-template")
        self.assertNotIsInstance(caught.exception, e2b.NotFoundException)
        self.assertEqual(caught.exception.status_code, 404)
        _, key = other_project(sandboxes=0)
        with self.assertRaises(e2b.RateLimitException):
            e2b.Sandbox.create("base", api_key=key)

    # -- repeats. 503 and 504 need a node that fails: src/control/quota_test.cpp has their headers.

    def test_repeats_a_refusal_that_no_repeat_cures_comes_at_once(self):
        _, key = other_project(sandboxes=0)
        reply = send("POST", "/v2/sandboxes", {"templateID": "base"}, key=key)
        self.assertEqual((reply.status, reply.headers["Should-Retry"]), (429, "false"))
        begun = time.monotonic()
        with self.assertRaises(e2b.RateLimitException):
            e2b.Sandbox.create("base", api_key=key)
        self.assertLess(time.monotonic() - begun, 5)

    def test_repeats_clients_that_know_only_retry_after_are_not_told_to_wait_in_vain(self):
        _, key = other_project(sandboxes=1)
        first = send("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300}, key=key).json
        for path in ("/sandboxes", "/v2/sandboxes"):
            self.assertIsNone(send("POST", path, {"templateID": "base"}, key=key).headers["Retry-After"])
        send("POST", f"/sandboxes/{first['sandboxID']}/timeout", {"timeout": 5}, key=key)
        soon = send("POST", "/v2/sandboxes", {"templateID": "base"}, key=key)
        self.assertRegex(soon.headers["Retry-After"] or "", "^[1-9][0-9]*$", "one ends in five seconds")
        self.assertEqual(soon.headers["Should-Retry"], "true")
        send("DELETE", f"/sandboxes/{first['sandboxID']}", key=key)

    def test_repeats_of_creates_that_came_too_fast_succeed_after_the_wait(self):
        _, key = other_project(per_minute=6)
        one = lambda _: send("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, key=key).json["sandboxID"]
        with ThreadPoolExecutor(6) as pool:  # at once: a slow machine would have earned the next one meanwhile
            made = list(pool.map(one, range(6)))
        refused = send("POST", "/v2/sandboxes", {"templateID": "base"}, key=key)
        self.assertEqual((refused.status, refused.headers["RateLimit-Limit"], refused.headers["RateLimit-Remaining"]), (429, "6", "0"))
        self.assertLessEqual(int(refused.headers["Retry-After"]), 10)
        begun = time.monotonic()
        made.append(e2b.Sandbox.create("base", timeout=60, api_key=key).sandbox_id)
        self.assertGreater(time.monotonic() - begun, 1, "it waited")
        self.assertEqual(len(send("GET", "/v2/sandboxes", key=key).json), 7, "the refused one left nothing behind")
        for sandbox in made:
            send("DELETE", f"/sandboxes/{sandbox}", key=key)

    def test_repeats_with_an_idempotency_key_are_one_sandbox(self):
        key = f"trap-{time.time_ns()}"
        first = e2b.Sandbox.create("base", timeout=60, idempotency_key=key)
        self.addCleanup(first.kill)
        self.assertEqual(e2b.Sandbox.create("base", timeout=60, idempotency_key=key).sandbox_id, first.sandbox_id)
        with self.assertRaises(e2b.SandboxException) as caught:
            e2b.Sandbox.create("base", timeout=61, idempotency_key=key)
        self.assertEqual(caught.exception.status_code, 422)
        self.refused(send("POST", "/v2/sandboxes", {"templateID": "base"}, headers={"Idempotency-Key": "a b"}), 400)
