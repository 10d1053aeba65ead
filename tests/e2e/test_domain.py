"""Domain mode as clients see it: E2B_DOMAIN alone, TLS, HTTP/2 and HTTP/1.1, users' ports."""
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import Instance, wait_for
from names import Names

DOMAIN = "sand.test"
HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
MANY = 20 << 20 if os.environ.get("ATOLL_CHECK_QUICK") else 100 << 20
names = instance = None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def setUpModule():
    global names, instance
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root")
    for name in [n for n in os.environ if n.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        del os.environ[name]
    names = Names(DOMAIN).__enter__()
    instance = DomainInstance().__enter__()
    os.environ.update(instance.domain_env())
    for name in ("E2B_API_URL", "E2B_SANDBOX_URL"):
        os.environ.pop(name, None)


def tearDownModule():
    instance.__exit__(None, None, None)
    names.__exit__(None, None, None)


class DomainInstance(Instance):
    def __init__(self, options=()):
        self.tls_port = free_port()
        super().__init__(os.environ["ATOLL_CACHE"], os.environ["ATOLL_BUILD"],
                         options=["--domain", DOMAIN, "--tls-listen", "127.0.0.1", "--tls-port", self.tls_port, *options])

    @property
    def ca(self):
        return str(self.root / "tls" / DOMAIN / "ca.pem")

    def domain_env(self):
        return {"E2B_API_KEY": self.key, "E2B_DOMAIN": f"{DOMAIN}:{self.tls_port}", "SSL_CERT_FILE": self.ca,
                "NODE_EXTRA_CA_CERTS": self.ca}

    def url(self, name, path="/"):
        return f"https://{name}.{DOMAIN}:{self.tls_port}{path}"

    def connect(self, name, alpn="http/1.1"):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20)
        return context.wrap_socket(plain, server_hostname=f"{name}.{DOMAIN}")


def curl(*arguments):
    """(status, version, body) of one request."""
    done = subprocess.run(["curl", "-sS", "--cacert", instance.ca, "-w", "\n%{http_code} %{http_version}", *map(str, arguments)],
                          capture_output=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"curl {arguments}: exit {done.returncode}: {done.stderr.decode()[-500:]}")
    body, _, last = done.stdout.rpartition(b"\n")
    status, version = last.split()
    return int(status), version.decode(), body


class WebSocket:
    """A client in a few lines, over TLS."""

    def __init__(self, where, name, headers=()):
        self.stream = where.connect(name)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET /ws HTTP/1.1", f"Host: {name}.{DOMAIN}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
        self.stream.sendall("\r\n".join(lines).encode())
        self.file = self.stream.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def echo(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        self.stream.sendall(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        head = self.file.read(2)
        length = head[1] if head[1] < 126 else int.from_bytes(self.file.read(2), "big")
        return self.file.read(length).decode()

    def close(self):
        self.file.close()
        self.stream.close()


def serve_port(sandbox, port=8000):
    sandbox.files.write("/home/user/port_server.py", (HERE / "port_server.py").read_text())
    sandbox.commands.run(f"python3 /home/user/port_server.py {port}", background=True)
    name = f"{port}-{sandbox.sandbox_id}"
    wait_for(lambda: curl(instance.url(name, "/up"))[0] == 200, 20, "the server in the sandbox")
    return name


class Ports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        from e2b import Sandbox
        cls.sandbox = Sandbox.create("base", timeout=300)
        cls.name = serve_port(cls.sandbox)

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()

    def test_both_versions_of_http(self):
        for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
            status, spoken, body = curl(option, instance.url(self.name, "/some/path?q=1"))
            self.assertEqual((status, spoken), (200, version))
            self.assertEqual(json.loads(body)["path"], "/some/path?q=1")

    def test_what_the_server_sees(self):
        body = curl("--http2", instance.url(self.name), "-H", "Cookie: a=1", "-H", "Cookie: b=2", "-H", "X-Atoll-Client: forged",
                    "-H", "X-Forwarded-Proto: http")[2]
        seen = {}
        for name, value in json.loads(body)["headers"]:
            self.assertNotIn(name.lower(), seen, "twice")
            seen[name.lower()] = value
        self.assertEqual(seen["host"], f"{self.name}.{DOMAIN}:{instance.tls_port}")
        self.assertEqual(seen["x-forwarded-proto"], "https")
        self.assertEqual(seen["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(seen["cookie"], "a=1; b=2")
        self.assertNotIn("x-atoll-client", seen)

    def test_shared_host_with_headers(self):
        fields = ["-H", f"E2b-Sandbox-Id: {self.sandbox.sandbox_id}", "-H", "E2b-Sandbox-Port: 8000"]
        self.assertEqual(curl(*fields, instance.url("sandbox", "/x"))[0], 200)
        self.assertEqual(curl(instance.url("sandbox", "/x"))[0], 400)

    def test_websocket(self):
        ws = WebSocket(instance, self.name)
        self.assertEqual(ws.status, 101)
        for text in ("hello", "x" * 20000, "again"):
            self.assertEqual(ws.echo(text), "echo " + text)
        ws.close()

    def test_events_arrive_as_they_are_sent(self):
        import httpx
        for http2 in (False, True):
            with httpx.Client(http2=http2, verify=instance.ca) as client, client.stream("GET", instance.url(self.name, "/events")) as reply:
                self.assertEqual(reply.http_version, "HTTP/2" if http2 else "HTTP/1.1")
                arrived = [time.monotonic() for line in reply.iter_lines() if line.startswith("data:")]
            self.assertEqual(len(arrived), 3)
            self.assertGreater(arrived[1] - arrived[0], 0.15)
            self.assertGreater(arrived[2] - arrived[1], 0.15)

    def test_long_bodies_both_ways(self):
        block = bytes(range(256)) * 256
        file = instance.folder / "upload"
        with open(file, "wb") as out:
            for _ in range(MANY // len(block)):
                out.write(block)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            for option in ("--http1.1", "--http2"):
                for chunked in ([], ["-H", "Transfer-Encoding: chunked"]) if option == "--http1.1" else ([],):
                    status, _, body = curl(option, *chunked, "-H", "Expect:", "-X", "POST", "-T", file, instance.url(self.name, "/sink"))
                    self.assertEqual((status, json.loads(body)), (200, {"size": MANY, "sha256": digest}))
                status, _, body = curl(option, instance.url(self.name, f"/source/{MANY}"))
                self.assertEqual((status, len(body), hashlib.sha256(body).hexdigest()), (200, MANY, digest))
        finally:
            file.unlink()

    def test_a_reader_that_stops_costs_no_memory(self):
        """Back-pressure from the client to the server in the sandbox: the edge holds a window, not the body."""
        def resident():
            for line in (Path("/proc") / str(instance.role_pid("edge")) / "status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) << 10
        before = resident()
        streams = []
        for _ in range(8):
            stream = instance.connect(self.name)
            stream.sendall(f"GET /source/{1 << 30} HTTP/1.1\r\nHost: {self.name}.{DOMAIN}\r\n\r\n".encode())
            streams.append(stream)
            self.assertIn(b"200", stream.recv(1000))
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            self.assertLess(resident() - before, 64 << 20)
            time.sleep(0.1)
        for stream in streams:
            stream.close()

    def test_errors_have_the_shape_that_clients_read(self):
        sandbox = self.sandbox.sandbox_id
        browser = ["-A", "Mozilla/5.0", "-H", "Accept: text/html", "-H", "Sec-Fetch-Mode: navigate"]
        status, _, body = curl(instance.url(f"9-{sandbox}"))
        self.assertEqual((status, json.loads(body)), (502, {
            "sandboxId": sandbox, "message": "The sandbox is running but port is not open", "port": 9, "code": 502}))
        status, _, body = curl(*browser, instance.url(f"9-{sandbox}"))
        self.assertEqual((status, body[:9]), (502, b"<!doctype"))
        status, _, body = curl(instance.url("3000-inone"))
        self.assertEqual((status, json.loads(body)["message"]), (502, "The sandbox was not found"))
        for name in ("nothing", "02280-" + sandbox, "%2B2280-" + sandbox):
            self.assertIn(curl("-H", f"Host: {name}.{DOMAIN}", instance.url("api"))[0], (400, 421), name)
        self.assertEqual(curl("-H", f"Host: 8000-{sandbox}.elsewhere.test", instance.url("api"))[0], 421)

    def test_the_agents_control_routes_are_not_there(self):
        for path in ("/init", "/freeze", "/unfreeze", "/upgrade", "/fsfreeze", "/collapse", "//init", "/%69nit", "/files/../init"):
            for method in ("GET", "POST"):
                status = curl("--path-as-is", "-X", method, instance.url(f"49983-{self.sandbox.sandbox_id}", path))[0]
                self.assertEqual(status, 404, path)
        # Nor by the tunnel to ports: the agent listens nowhere inside.
        self.assertEqual(self.sandbox.commands.run("(exec 3<>/dev/tcp/127.0.0.1/49983) 2>&1 || echo refused").stdout.strip().splitlines()[-1],
                         "refused")

    def test_many_streams_of_one_connection(self):
        import asyncio

        import httpx

        async def all_at_once():
            async with httpx.AsyncClient(http2=True, verify=instance.ca, timeout=60) as client:
                await client.get(instance.url(self.name))  # else it dials for each, and closes most again
                return await asyncio.gather(*[client.get(instance.url(self.name, f"/{n}")) for n in range(300)])
        replies = asyncio.run(all_at_once())
        self.assertEqual({r.status_code for r in replies}, {200})
        self.assertEqual([json.loads(r.text)["path"] for r in replies], [f"/{n}" for n in range(300)])

    def test_a_burst_of_connections_is_served(self):
        def one(_):
            with instance.connect(self.name) as stream:
                stream.sendall(f"GET /x HTTP/1.1\r\nHost: {self.name}.{DOMAIN}\r\nConnection: close\r\n\r\n".encode())
                return stream.recv(100).split()[1]
        with ThreadPoolExecutor(100) as pool:
            self.assertEqual(set(pool.map(one, range(200))), {b"200"})


class Access(unittest.TestCase):
    def test_traffic_token(self):
        from e2b import Sandbox
        sandbox = Sandbox.create("base", timeout=120, network={"allow_public_traffic": False})
        self.addCleanup(sandbox.kill)
        sandbox.commands.run("python3 -m http.server 8000 --bind 127.0.0.1", background=True)
        url = instance.url(f"8000-{sandbox.sandbox_id}")
        token = sandbox.traffic_access_token
        self.assertTrue(token)
        wait_for(lambda: curl("-H", f"e2b-traffic-access-token: {token}", url)[0] == 200, 20, "the server")
        self.assertEqual(curl(url)[0], 403)
        self.assertEqual(curl("-H", "e2b-traffic-access-token: wrong", url)[0], 403)
        self.assertEqual(WebSocket(instance, f"8000-{sandbox.sandbox_id}").status, 403)

    def test_mask_request_host(self):
        from e2b import Sandbox
        sandbox = Sandbox.create("base", timeout=120, network={"mask_request_host": "localhost:${PORT}"})
        self.addCleanup(sandbox.kill)
        name = serve_port(sandbox)
        seen = {n.lower(): v for n, v in json.loads(curl(instance.url(name))[2])["headers"]}
        self.assertEqual(seen["host"], "localhost:8000")
        self.assertEqual(seen["x-forwarded-host"], f"{name}.{DOMAIN}:{instance.tls_port}")


class Clients(unittest.TestCase):
    """E2B_DOMAIN is all they know."""

    def python(self, version):
        program = f"""
from e2b import Sandbox
s = Sandbox.create("base", timeout=120)
assert s.get_host(3000) == f"3000-{{s.sandbox_id}}.{DOMAIN}:{instance.tls_port}", s.get_host(3000)
assert s.commands.run("echo hi").stdout == "hi\\n"
s.files.write("/home/user/a", "b" * 1000000)
assert len(s.files.read("/home/user/a")) == 1000000
import urllib.request
assert len(urllib.request.urlopen(s.download_url("/home/user/a")).read()) == 1000000
assert any(x.sandbox_id == s.sandbox_id for x in Sandbox.list().next_items())
assert Sandbox.connect(s.sandbox_id).commands.run("echo again").stdout == "again\\n"
assert s.is_running() and s.kill() and not s.is_running()
"""
        python = Path(os.environ["ATOLL_CACHE"]) / "clients" / f"python-{version}" / "bin" / "python"
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])

    def js(self, version):
        program = f"""
import {{ createRequire }} from "node:module";
const {{ Sandbox }} = createRequire(process.argv[1] + "/")("e2b");
const equal = (a, b) => {{ if (a !== b) throw new Error(`${{a}} is not ${{b}}`); }};
const s = await Sandbox.create("base", {{ timeoutMs: 120000 }});
equal(s.getHost(3000), `3000-${{s.sandboxId}}.{DOMAIN}:{instance.tls_port}`);
equal((await s.commands.run("echo hi")).stdout, "hi\\n");
await s.files.write("/home/user/a", "b".repeat(1000000));
equal((await s.files.read("/home/user/a")).length, 1000000);
equal((await (await fetch(await s.downloadUrl("/home/user/a"))).text()).length, 1000000);
const many = await Promise.all(Array.from({{ length: 130 }}, (_, i) => s.commands.run(`echo ${{i}}`)));
many.forEach((r, i) => equal(r.stdout, `${{i}}\\n`));
equal(await s.isRunning(), true);
equal(await s.kill(), true);
equal(await s.isRunning(), false);
"""
        cache = Path(os.environ["ATOLL_CACHE"])
        argv = [TOP / "tools" / "with-node", cache / "node", "node", "--input-type=module", "-e", program, "--", cache / "clients" / f"js-{version}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])

    def test_python_2_63_0(self):
        self.python("2.63.0")

    def test_python_2_51_0(self):
        self.python("2.51.0")

    def test_python_2_45_1(self):
        self.python("2.45.1")

    def test_js_2_51_0(self):
        self.js("2.51.0")

    def test_js_2_45_0(self):
        self.js("2.45.0")

    def test_python_over_http_1_1_only(self):
        os.environ["E2B_HTTP_VERSION"] = "1.1"
        self.addCleanup(os.environ.pop, "E2B_HTTP_VERSION")
        self.python("2.63.0")


class Certificates(unittest.TestCase):
    def make_pair(self, folder, name):
        """A pair of an authority of its own, as atolld makes it."""
        made = subprocess.run([instance.build / "src" / "atolld", "--root", folder / name, "--domain", DOMAIN, "tls-authority"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)
        return folder / name / "tls" / DOMAIN

    @staticmethod
    def serial(where):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", where.tls_port), timeout=20) as plain, \
                context.wrap_socket(plain, server_hostname=f"api.{DOMAIN}") as stream:
            return hashlib.sha256(stream.getpeercert(True)).hexdigest()

    def test_edge_dies_and_no_client_is_turned_away(self):
        before = self.serial(instance)
        old = instance.role_pid("edge")
        os.kill(old, signal.SIGKILL)
        self.assertEqual(self.serial(instance), before, "connections wait for the next edge")
        wait_for(lambda: instance.role_pid("edge") != old, 20, "the next edge")
        instance.wait_until_healthy()

    def test_the_edge_has_no_privilege_and_cannot_read_the_key(self):
        status = (Path("/proc") / str(instance.role_pid("edge")) / "status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertEqual(fields["CapEff"].strip(), "0" * 16)
        self.assertEqual(fields["CapBnd"].strip(), "0" * 16)
        self.assertEqual(set(fields["Uid"].split()), {"64702"})
        for name in ("ca.key", "key.pem"):
            self.assertEqual(os.stat(instance.root / "tls" / DOMAIN / name).st_mode & 0o777, 0o600)
        arguments = (Path("/proc") / str(instance.role_pid("edge")) / "cmdline").read_bytes()
        self.assertNotIn(b"key", arguments)

    def test_own_certificate_and_its_reload(self):
        folder = instance.folder / "pairs"
        folder.mkdir()
        first, second = self.make_pair(folder, "1"), self.make_pair(folder, "2")
        own = folder / "own"
        own.mkdir()
        for name in ("cert.pem", "key.pem"):
            shutil.copy2(first / name, own / name)
        options = ["--tls-certificate", own / "cert.pem", "--tls-key", own / "key.pem"]
        with DomainInstance(options) as other:
            self.assertFalse(Path(other.ca).exists(), "no local authority where there are files")
            before = self.serial(other)
            context = ssl.create_default_context(cafile=str(first / "ca.pem"))
            plain = socket.create_connection(("127.0.0.1", other.tls_port), timeout=20)
            kept = context.wrap_socket(plain, server_hostname=f"api.{DOMAIN}")
            request = f"GET /health HTTP/1.1\r\nHost: api.{DOMAIN}\r\n\r\n".encode()
            kept.sendall(request)
            self.assertIn(b" 204 ", kept.recv(1000))
            # A pair that does not fit together: refused, and said.
            shutil.copy2(second / "cert.pem", own / "cert.pem")
            other.process.send_signal(signal.SIGHUP)
            log = other.folder / "atolld.log"
            wait_for(lambda: "certificate refused" in log.read_text(), 20, "a line in the log")
            self.assertEqual(self.serial(other), before)
            # The right one, noticed without a signal.
            shutil.copy2(second / "key.pem", own / "key.pem")
            wait_for(lambda: self.serial(other) != before, 20, "the new certificate")
            kept.sendall(request)
            self.assertIn(b" 204 ", kept.recv(1000), "the older connection goes on")
            kept.close()
            # A key for all to read stops the next start.
            other.stop()
            os.chmod(own / "key.pem", 0o644)
            with self.assertRaises(RuntimeError):
                other.start()
            self.assertIn("chmod 600", other.log_tail())

    def test_acme_glue(self):
        folder = instance.folder / "acme"
        for name in ("bin", "config/live", "tls"):
            (folder / name).mkdir(parents=True)
        pair, other = self.make_pair(folder, "1"), self.make_pair(folder, "2")
        renew = TOP / "deploy" / "acme-renew"
        # certbot's place is taken by a program that keeps its arguments, and does what certbot does at the end.
        certbot = folder / "bin" / "certbot"
        certbot.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {folder}/arguments\nmkdir -p {folder}/config/live/{DOMAIN}\n"
                           f"cp {pair}/cert.pem {folder}/config/live/{DOMAIN}/fullchain.pem\ncp {pair}/key.pem {folder}/config/live/{DOMAIN}/privkey.pem\n")
        certbot.chmod(0o755)
        env = dict(os.environ, PATH=f"{folder}/bin:{os.environ['PATH']}", ATOLL_TLS_DIR=str(folder / "tls"), CERTBOT_CONFIG_DIR=str(folder / "config"))
        run = lambda *a: subprocess.run([renew, *a], env=env, capture_output=True, text=True, timeout=60)
        done = run(DOMAIN, "who@sand.test", "/bin/true", "--test-cert")
        self.assertEqual(done.returncode, 0, done.stderr)
        arguments = (folder / "arguments").read_text().splitlines()
        self.assertEqual(arguments[-5:], ["-d", DOMAIN, "-d", f"*.{DOMAIN}", "--test-cert"])
        self.assertIn("/bin/true add", arguments)
        self.assertEqual((folder / "tls" / "cert.pem").read_bytes(), (pair / "cert.pem").read_bytes())
        self.assertEqual((folder / "tls" / "key.pem").stat().st_mode & 0o777, 0o600)
        self.assertIn("already", run("--install", pair / "cert.pem", pair / "key.pem").stdout)
        crossed = run("--install", other / "cert.pem", pair / "key.pem")
        self.assertNotEqual(crossed.returncode, 0)
        self.assertEqual((folder / "tls" / "cert.pem").read_bytes(), (pair / "cert.pem").read_bytes())


class Attacks(unittest.TestCase):
    def test_bytes_that_are_no_tls(self):
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 1000, os.urandom(4096)):
            with socket.create_connection(("127.0.0.1", instance.tls_port), timeout=20) as plain:
                try:
                    plain.sendall(data)
                    while plain.recv(4096):
                        pass
                except ConnectionError:
                    pass
        self.assertEqual(curl(instance.url("api", "/health"))[0], 204)

    def test_rapid_reset_ends_the_connection_and_nothing_else(self):
        import h2.config
        import h2.connection
        import h2.events
        stream = instance.connect("api", "h2")
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        connection.remote_settings.max_concurrent_streams = 10_000
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", f"api.{DOMAIN}"), (":path", "/health")]
        ended = False
        try:
            for number in range(1, 20_000, 2):
                connection.send_headers(number, fields, end_stream=True)
                connection.reset_stream(number, 8)
                stream.sendall(connection.data_to_send())
            stream.settimeout(20)
            while data := stream.recv(65536):
                for event in connection.receive_data(data):
                    ended = ended or isinstance(event, h2.events.ConnectionTerminated)
            ended = True
        except OSError:
            ended = True
        stream.close()
        self.assertTrue(ended)
        self.assertEqual(curl("--http2", instance.url("api", "/health"))[0], 204)

    def test_alpn_of_another_protocol_is_refused(self):
        with self.assertRaises(ssl.SSLError):
            instance.connect("api", "spdy/3")

    def test_tls_1_1_is_refused(self):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{instance.tls_port}", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
                              input=b"", capture_output=True, timeout=20)
        self.assertNotEqual(done.returncode, 0)
