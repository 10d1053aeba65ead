"""One sandbox, from the client's side, on each tier."""
import hashlib
import threading
import time
import unittest
import urllib.request

from common import URL, TierTest, for_each_tier, rest
from e2b import Sandbox


class SandboxBase(TierTest):
    def test_streams_are_separate_and_the_exit_code_comes_back(self):
        seen = []
        result = self.sh("echo out; echo err >&2", on_stdout=lambda x: seen.append(("out", x)),
                         on_stderr=lambda x: seen.append(("err", x)))
        self.assertEqual((result.stdout, result.stderr, result.exit_code), ("out\n", "err\n", 0))
        self.assertEqual(sorted(seen), [("err", "err\n"), ("out", "out\n")])
        self.assertEqual(self.fails("exit 7").exit_code, 7)

    def test_users_and_sudo(self):
        self.assertEqual(self.sh("whoami; pwd").stdout, "user\n/home/user\n")
        # The template's working folder applies to every user.
        self.assertEqual(self.sh("whoami; pwd", user="root").stdout, "root\n/home/user\n")
        self.assertEqual(self.sh("sudo id -u").stdout, "0\n")
        with self.assertRaisesRegex(Exception, "invalid username: 'nobody-here'"):
            self.sh("true", user="nobody-here")

    def test_environment_and_folder(self):
        result = self.sh("echo $GREETING; pwd; echo $E2B_SANDBOX $E2B_SANDBOX_ID", envs={"GREETING": "hi there"}, cwd="/tmp")
        self.assertEqual(result.stdout, f"hi there\n/tmp\ntrue {self.sandbox.sandbox_id}\n")
        with self.assertRaisesRegex(Exception, "cwd '/nowhere' does not exist"):
            self.sh("true", cwd="/nowhere")

    def test_languages_of_the_base_template(self):
        for program in ("python3 -c 'print(6*7)'", "node -e 'console.log(6*7)'", "bash -c 'echo $((6*7))'"):
            self.assertEqual(self.sh(program).stdout, "42\n", program)
        self.sh("git --version && npm --version && pip --version && gcc --version && ss -ltn && tput -T xterm cols && curl --version && jq --version")
        self.sh("python3 -m venv /tmp/venv && /tmp/venv/bin/python -c 'import sys; print(sys.prefix)'")

    def test_a_compiler_works(self):
        self.sandbox.files.write("/tmp/a.c", '#include <stdio.h>\nint main(void) { puts("compiled"); }\n')
        self.assertEqual(self.sh("cc -o /tmp/a /tmp/a.c && /tmp/a").stdout, "compiled\n")

    def test_the_deadline_kills_the_command_and_the_client_is_told(self):
        begun = time.monotonic()
        with self.assertRaises(Exception) as caught:
            self.sh("sleep 100 & sleep 100", timeout=1)
        self.assertLess(time.monotonic() - begun, 20)
        self.assertIn("imeout", type(caught.exception).__name__ + str(caught.exception))

    def test_a_background_child_does_not_hang_the_command(self):
        begun = time.monotonic()
        self.assertIn("started", self.sh("sleep 300 & echo started").stdout)
        self.assertLess(time.monotonic() - begun, 30)
        self.sh("pkill sleep")

    def test_stdin_and_kill_of_a_background_command(self):
        handle = self.sandbox.commands.run("cat", background=True, stdin=True)
        self.sandbox.commands.send_stdin(handle.pid, "line\n")
        for stdout, _, _ in handle:
            self.assertEqual(stdout, "line\n")
            break
        self.assertIn(handle.pid, [p.pid for p in self.sandbox.commands.list()])
        self.assertTrue(handle.kill())
        self.assertFalse(self.sandbox.commands.kill(999999))

    def test_reconnecting_to_a_running_command(self):
        handle = self.sandbox.commands.run("for i in $(seq 1 200); do echo $i; sleep 0.1; done", background=True)
        handle.disconnect()
        again = self.sandbox.commands.connect(handle.pid)
        for stdout, _, _ in again:
            self.assertTrue(stdout.strip())
            break
        self.assertTrue(self.sandbox.commands.kill(handle.pid))

    def test_a_terminal(self):
        from e2b.sandbox.commands.command_handle import PtySize
        seen = []
        terminal = self.sandbox.pty.create(PtySize(rows=24, cols=80))
        self.sandbox.pty.send_stdin(terminal.pid, b"stty size; exit 3\n")
        with self.assertRaises(Exception) as caught:
            terminal.wait(on_pty=lambda data: seen.append(bytes(data)))
        self.assertEqual(caught.exception.exit_code, 3)
        self.assertIn(b"24 80", b"".join(seen))

    def test_files_both_ways(self):
        files = self.sandbox.files
        blob = bytes(range(256)) * 4096
        self.assertEqual(files.write("data/blob.bin", blob).path, "/home/user/data/blob.bin")
        self.assertEqual(bytes(files.read("data/blob.bin", format="bytes")), blob)
        self.assertEqual(self.sh("sha256sum < data/blob.bin").stdout.split()[0], hashlib.sha256(blob).hexdigest())
        self.assertEqual(self.sh("stat -c '%U %a' data/blob.bin data").stdout, "user 644\nuser 755\n")
        files.write_files([{"path": "m/a", "data": "A"}, {"path": "m/b", "data": "B"}])
        self.assertEqual([e.name for e in files.list("m")], ["a", "b"])
        files.rename("m/a", "m/c")
        self.assertTrue(files.exists("m/c") and not files.exists("m/a"))
        files.make_dir("m/d/e")
        self.assertFalse(files.make_dir("m/d/e"))
        files.remove("m")
        self.assertFalse(files.exists("m"))
        with self.assertRaises(Exception) as caught:
            files.read("/nowhere")
        self.assertIn("NotFound", type(caught.exception).__name__)

    def test_odd_names_and_empty_files(self):
        for name in ("with space", "ünï.txt", "per%cent", "plus+and&", "#hash?"):
            self.sandbox.files.write(f"/tmp/odd/{name}", name)
            self.assertEqual(self.sandbox.files.read(f"/tmp/odd/{name}"), name)
        self.sandbox.files.write("/tmp/odd/empty", "")
        self.assertEqual(self.sandbox.files.read("/tmp/odd/empty"), "")

    def test_a_watch_reports_what_happens(self):
        self.sandbox.files.make_dir("/home/user/watched")
        watcher = self.sandbox.files.watch_dir("/home/user/watched")
        self.sandbox.files.write("/home/user/watched/new", "x")
        deadline = time.monotonic() + 10
        names = []
        while "new" not in names and time.monotonic() < deadline:
            names += [e.name for e in watcher.get_new_events()]
        watcher.stop()
        self.assertIn("new", names)

    def test_signed_urls_work_without_headers(self):
        self.sandbox.files.write("/home/user/signed.txt", "signed content")
        url = self.sandbox.download_url("/home/user/signed.txt", use_signature_expiration=60)
        with urllib.request.urlopen(url, timeout=20) as reply:
            self.assertEqual(reply.read(), b"signed content")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url.replace("signature=v1_", "signature=v1_A"), timeout=20)
        self.assertIn(caught.exception.code, (401, 502))

    def test_a_server_on_loopback_is_reached_by_header(self):
        server = self.sandbox.commands.run("python3 -m http.server 8123 --bind 127.0.0.1 --directory /etc", background=True)
        headers = {"E2b-Sandbox-Id": self.sandbox.sandbox_id, "E2b-Sandbox-Port": "8123"}
        deadline = time.monotonic() + 20
        status = None
        while status != 200 and time.monotonic() < deadline:
            status, body, _ = rest("GET", "/hostname", headers=headers, key=None)
        self.assertEqual((status, body), (200, self.sh("cat /etc/hostname").stdout.encode()))
        status, body, _ = rest("GET", "/", headers=dict(headers, **{"E2b-Sandbox-Port": "8124"}), key=None)
        self.assertEqual(status, 502)
        self.assertIn("port is not open", body["message"])
        for spelling in ("02280", "+2280", "0x50", "99999", "-1"):
            status, _, _ = rest("GET", "/", headers=dict(headers, **{"E2b-Sandbox-Port": spelling}), key=None)
            self.assertEqual(status, 400, spelling)
        server.kill()

    def test_much_output_arrives_whole(self):
        count = 0
        for stdout, _, _ in self.sandbox.commands.run("head -c 50000000 /dev/zero | tr '\\0' x", background=True, timeout=120):
            count += len(stdout or "")
        self.assertEqual(count, 50_000_000)

    def test_many_commands_at_once(self):
        results = {}
        def one(i):
            results[i] = self.sh(f"sleep 0.2; echo {i}").stdout
        threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        self.assertEqual(results, {i: f"{i}\n" for i in range(20)})

    def test_the_receipt_says_what_is_in_force(self):
        status, detail, _ = rest("GET", f"/sandboxes/{self.sandbox.sandbox_id}")
        self.assertEqual(status, 200)
        self.assertEqual(detail["atoll"]["tier"], self.tier)
        receipt = detail["atoll"]["receipt"]
        self.assertEqual(receipt["tier"], self.tier)
        self.assertEqual(receipt["uidRange"]["count"], 65536)
        self.assertEqual(receipt["limits"]["memoryBytes"], 1 << 30)
        self.assertGreaterEqual(receipt["uidRange"]["first"], 1_000_000)

    def test_metrics_of_the_agent_and_health(self):
        self.assertTrue(self.sandbox.is_running())
        info = self.sandbox.get_info()
        self.assertEqual(info.state.value if hasattr(info.state, "value") else info.state, "running")
        self.assertEqual(info.envd_version, "0.6.13")


for_each_tier(globals(), SandboxBase)
del SandboxBase


class LimitsBase(TierTest):
    """What a limit did is told to whoever asks. Under gVisor it ends the sandbox, on the container tier a process."""

    def hit(self, command):
        """(receipt, log) of a sandbox of its own after the command."""
        sandbox = Sandbox.create("base", timeout=120, metadata={"atoll.tier": self.tier})
        self.addCleanup(sandbox.kill)
        try:
            sandbox.commands.run(command, timeout=60)
        except Exception:
            pass  # the command, or the whole sandbox with it, fails: that is the point
        receipt = lambda: rest("GET", f"/atoll/v1/sandboxes/{sandbox.sandbox_id}")[1]
        told = lambda r: (r["oomKills"] or r["pidsRefused"]) and (self.tier == "container" or r["state"] == "ended")
        deadline = time.monotonic() + 20
        while not told(receipt()) and time.monotonic() < deadline:
            time.sleep(0.2)
        log = [line["message"] for line in rest("GET", f"/v2/sandboxes/{sandbox.sandbox_id}/logs")[1]["logs"]]
        return receipt(), log

    def check_end(self, receipt, log, reason):
        if self.tier == "gvisor":
            self.assertEqual((receipt["state"], receipt["endReason"]), ("ended", reason))
            self.assertTrue(log[-1].startswith(f"sandbox ended: {reason} ("), log)
        else:
            self.assertEqual((receipt["state"], receipt["endReason"]), ("running", None))

    def test_memory(self):
        receipt, log = self.hit("tail /dev/zero")
        self.assertGreater(receipt["oomKills"], 0)
        self.assertIn("(limit 1024 MB)", " ".join(line for line in log if line.startswith("out of memory: ")))
        self.check_end(receipt, log, "oom")

    def test_processes(self):
        receipt, log = self.hit("for i in $(seq 3000); do sleep 30 & done")
        self.assertGreater(receipt["pidsRefused"], 0)
        self.assertIn("(limit 1024 processes", " ".join(line for line in log if line.startswith("process limit reached: ")))
        self.check_end(receipt, log, "pids")


for_each_tier(globals(), LimitsBase)
del LimitsBase


class Ended(unittest.TestCase):
    def test_a_killed_sandbox_is_gone_everywhere(self):
        from e2b.exceptions import TimeoutException
        sandbox = Sandbox.create("base", timeout=60)
        self.assertTrue(sandbox.kill())
        self.assertFalse(sandbox.kill())
        self.assertFalse(sandbox.is_running())
        with self.assertRaises(TimeoutException):
            sandbox.commands.run("true")
        self.assertEqual(rest("GET", f"/sandboxes/{sandbox.sandbox_id}")[0], 404)
        status, body, _ = rest("GET", "/health", key=None, headers={"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"})
        self.assertEqual(status, 502)
        self.assertIn("was not found", body["message"])

    def test_the_time_limit_ends_it(self):
        sandbox = Sandbox.create("base", timeout=60)
        sandbox.set_timeout(1)
        deadline = time.monotonic() + 15
        while sandbox.is_running() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertFalse(sandbox.is_running())
