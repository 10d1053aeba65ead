"""Attacks from inside, on each tier. A pass is the stated outcome, with the host and a neighbour unharmed."""
import os
import socket
import time
import unittest
from urllib.parse import urlparse

from common import URL, TierTest, for_each_tier, rest
from e2b import Sandbox


class AttackBase(TierTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.neighbour = Sandbox.create("base", timeout=300, metadata={"atoll.tier": cls.tier})

    @classmethod
    def tearDownClass(cls):
        cls.neighbour.kill()
        super().tearDownClass()

    def tearDown(self):
        self.assertEqual(self.neighbour.commands.run("echo well").stdout, "well\n", "the neighbour was harmed")

    def denied(self, program, user="root"):
        """A Python expression that must raise OSError inside."""
        text = f"import ctypes, os, socket, fcntl\ntry:\n    {program}\nexcept OSError as e:\n    print('denied', e.errno)\nelse:\n    print('ALLOWED')\n"
        self.sandbox.files.write("/tmp/attack.py", text)
        self.assertRegex(self.sh("python3 /tmp/attack.py", user=user).stdout, r"^denied", program)

    def syscall(self, number, *arguments):
        """The errno of a raw system call as root inside; 0 when it worked."""
        text = ("import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                f"r = libc.syscall({', '.join(['ctypes.c_long(%d)' % a for a in (number, *arguments)])})\n"
                "print(ctypes.get_errno() if r < 0 else 0)\n")
        self.sandbox.files.write("/tmp/call.py", text)
        return int(self.sh("python3 /tmp/call.py", user="root").stdout)

    def test_01_a_fork_bomb_stays_inside(self):
        self.sandbox.commands.run("bomb() { bomb | bomb & }; ulimit -u 100000 2>/dev/null; bomb; sleep 2; true", timeout=8, background=True)
        time.sleep(2)
        begun = time.monotonic()
        self.assertEqual(self.neighbour.commands.run("echo fine", timeout=30).stdout, "fine\n")
        self.assertLess(time.monotonic() - begun, 20)
        victim = self.sandbox
        type(self).sandbox = Sandbox.create("base", timeout=300, metadata={"atoll.tier": self.tier})
        self.assertTrue(victim.kill())

    def test_02_orphans_are_reaped(self):
        self.sh("for i in $(seq 1 200); do (sleep 0.01 &) ; done; sleep 1")
        self.assertEqual(self.sh("ps -eo stat= | grep -c '^Z' || true").stdout.strip(), "0")

    def test_03_out_of_memory_hits_only_this_sandbox(self):
        hog = Sandbox.create("base", timeout=120, metadata={"atoll.tier": self.tier})
        try:
            try:
                hog.commands.run("python3 -c \"x = bytearray(3 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1\"", timeout=60)
                self.fail("3 GiB were used with a limit of 1 GiB")
            except Exception:
                pass
            deadline = time.monotonic() + 20
            told = False
            while not told and time.monotonic() < deadline:
                status, detail, _ = rest("GET", f"/sandboxes/{hog.sandbox_id}")
                told = status == 404 or detail["atoll"].get("oomKills", 0) > 0
            self.assertTrue(told, "the out-of-memory kill was not reported")
        finally:
            hog.kill()

    def test_06_the_disk_is_the_sandboxs_own(self):
        size = int(self.sh("df -k --output=size / | tail -1").stdout)
        self.assertLess(size, 11 << 20, "the root's size is not the sandbox's own disk")
        self.assertGreater(size, 8 << 20)

    def test_08_terminals_are_bounded(self):
        # gVisor has no limit for terminals of its own: there the limit on descriptors is what stops it.
        out = self.sh("python3 -c \"import os\nn = 0\ntry:\n  while n < 200000: os.openpty(); n += 1\nexcept OSError as e: print('stopped', n)\"").stdout
        self.assertIn("stopped", out)

    def test_09_the_agent_cannot_be_killed_from_inside(self):
        if self.tier == "gvisor":
            return self.ends_truly_when_its_init_is_killed()
        self.sandbox.commands.run("sudo kill -9 1; sudo kill -STOP 1; sudo kill -TERM 1; true")
        self.assertEqual(self.sh("echo alive").stdout, "alive\n")

    def ends_truly_when_its_init_is_killed(self):
        """gVisor lets root inside kill process 1: the sandbox ends, with its reason, and nothing else."""
        victim = Sandbox.create("base", timeout=60, metadata={"atoll.tier": self.tier})
        try:
            victim.commands.run("sudo kill -9 1", timeout=10)
        except Exception:
            pass
        deadline = time.monotonic() + 20
        while rest("GET", f"/sandboxes/{victim.sandbox_id}")[0] != 404 and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertEqual(rest("GET", f"/sandboxes/{victim.sandbox_id}")[0], 404)

    def test_14_no_nested_namespaces(self):
        if self.tier == "gvisor":
            return self.nested_namespaces_are_gvisors_own()
        for flag in (0x10000000, 0x00020000, 0x40000000):  # unshare of user, mount, network
            self.assertNotEqual(self.syscall(272, flag), 0, hex(flag))
        self.assertNotEqual(self.syscall(308, 0, 0), 0)  # setns

    def nested_namespaces_are_gvisors_own(self):
        """gVisor makes namespaces in its own kernel: what is gained in one stays in this sandbox."""
        before = os.listdir("/proc/self/ns"), len(os.listdir("/sys/class/net"))
        out = self.sh("unshare -Urn sh -c 'id -u; ls /sys/class/net 2>/dev/null | grep -vx lo; cat /proc/net/dev | grep -cE \"eth|veth|ens\"' || true").stdout
        self.assertEqual([line for line in out.split() if line != "0"], [], "another interface than loopback shows")
        self.assertEqual(before, (os.listdir("/proc/self/ns"), len(os.listdir("/sys/class/net"))))

    def test_15_no_mounts(self):
        self.assertNotEqual(self.fails("mount -t tmpfs none /mnt", user="root").exit_code, 0)
        self.assertNotEqual(self.fails("mount -o remount,rw /sys", user="root").exit_code, 0)
        self.assertNotEqual(self.fails("umount /proc", user="root").exit_code, 0)

    def test_16_folders_by_descriptor_lead_nowhere(self):
        for number in range(3, 20):
            with self.assertRaises(Exception):
                self.sh("true", cwd=f"/proc/1/fd/{number}")

    def test_18_the_host_shows_through_no_file(self):
        self.fails("echo 1 > /proc/sysrq-trigger", user="root")
        self.fails("echo '|/tmp/x' > /proc/sys/kernel/core_pattern", user="root")
        self.assertEqual(self.sh("head -c 64 /proc/kcore 2>/dev/null | wc -c", user="root").stdout.strip(), "0")
        self.assertEqual(self.sh("ls /sys/firmware 2>/dev/null | wc -l", user="root").stdout.strip(), "0")
        interfaces = self.sh("ls /sys/class/net 2>/dev/null || echo lo").stdout.split()
        self.assertIn(interfaces, (["lo"], []))
        self.assertNotIn("atoll", self.sh("cat /proc/self/cgroup").stdout)

    def test_19_no_cgroups_to_write(self):
        self.assertEqual(self.sh("cut -d' ' -f3 /proc/mounts | grep -c cgroup || true").stdout.strip(), "0")

    def test_20_kernel_interfaces_are_closed(self):
        calls = {"bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "userfaultfd": (323, 0),
                 "io_uring_setup": (425, 8, 0), "kexec_load": (246, 0, 0, 0, 0), "init_module": (175, 0, 0, 0),
                 "add_key": (248, 0, 0, 0, 0, 0), "keyctl": (250, 0, 0, 0, 0, 0), "swapon": (167, 0, 0),
                 "reboot": (169, 0, 0, 0, 0), "settimeofday": (164, 0, 0), "open_by_handle_at": (304, 0, 0, 0)}
        for name, call in calls.items():
            self.assertNotEqual(self.syscall(*call), 0, name)

    def test_21_only_plain_socket_families(self):
        for family, kind in ((38, 5), (17, 3), (40, 1), (44, 3), (30, 1)):  # ALG PACKET VSOCK XDP TIPC
            self.denied(f"socket.socket({family}, {kind})")
        self.denied("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")

    def test_22_no_devices(self):
        self.denied("os.mknod('/tmp/mem', 0o20666, os.makedev(1, 1)); open('/tmp/mem', 'rb')")
        emulated = ("/dev/fuse",) if self.tier == "gvisor" else ()
        for path in {"/dev/mem", "/dev/kvm", "/dev/loop0", "/dev/fuse", "/dev/sda", "/dev/vda"} - set(emulated):
            self.assertFalse(self.sandbox.files.exists(path) and self.sh(f"test -r {path}; echo $?", user="root").stdout == "0\n", path)

    def test_25_no_abstract_sockets_across(self):
        self.sandbox.commands.run("python3 -c \"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\\0atoll-test'); s.listen(); time.sleep(60)\"", background=True)
        time.sleep(1)
        out = self.neighbour.commands.run("python3 -c \"import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0atoll-test'); print('REACHED')\nexcept OSError: print('no')\"").stdout
        self.assertEqual(out, "no\n")

    def test_27_the_agents_program_cannot_be_written(self):
        self.fails("echo x > /run/atoll-agent", user="root")
        self.fails("chmod 000 /run/atoll-agent", user="root")
        self.fails("rm -f /run/atoll-agent", user="root")
        self.assertEqual(self.sh("echo alive").stdout, "alive\n")

    def test_the_agents_memory_and_environment_hold_no_secret_for_others(self):
        self.fails("cat /proc/1/mem > /dev/null", user="root")
        environment = self.sh("cat /proc/1/environ 2>/dev/null | tr '\\0' '\\n' || true", user="root").stdout
        self.assertNotIn("oken", environment)
        token = getattr(self.sandbox, "_envd_access_token", None)
        self.assertTrue(token)
        self.assertEqual(self.sh(f"cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -v grep | grep -c {token[:8]}[{token[8]}]{token[9:20]} || true", user="root").stdout.strip(), "0")

    def test_an_impostor_on_the_channel_gets_nothing(self):
        text = ("import socket, time\n"
                "for i in range(30):\n"
                "    try:\n"
                "        s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect('/run/atoll/channel.sock')\n"
                "        s.sendall(b'0' * 64 + b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'); d = s.recv(10)\n"
                "        print('ANSWERED', d) if d else None\n"
                "    except OSError: pass\n"
                "print('end')\n")
        self.sandbox.files.write("/tmp/impostor.py", text)
        self.assertEqual(self.sh("python3 /tmp/impostor.py", user="root", timeout=120).stdout, "end\n")
        self.assertEqual(self.sh("echo still").stdout, "still\n")

    def test_nothing_is_reachable_on_any_network(self):
        host, port = urlparse(URL).hostname, urlparse(URL).port
        for address, number in ((host, port), ("169.254.169.254", 80), ("10.0.0.1", 80), ("1.1.1.1", 53), ("8.8.8.8", 53)):
            out = self.sh(f"python3 -c \"import socket\ntry: socket.create_connection(('{address}', {number}), 2); print('REACHED')\nexcept OSError: print('no')\"").stdout
            self.assertEqual(out, "no\n", address)
        self.assertIn("no", self.sh("getent hosts example.com || echo no").stdout)

    def test_31_traversal_stays_inside(self):
        self.assertIn("user:", self.sandbox.files.read("/home/user/../../../../../../etc/passwd"))
        self.assertNotIn("atoll-check", self.sandbox.files.read("/../../../../etc/passwd"))
        self.assertNotIn(os.uname().nodename + "\n", [self.sandbox.files.read("/etc/hostname")])

    def test_34_devices_and_pipes_are_no_downloads(self):
        self.sh("mkfifo /tmp/pipe")
        for path in ("/dev/zero", "/tmp/pipe", "/tmp"):
            begun = time.monotonic()
            with self.assertRaises(Exception):
                self.sandbox.files.read(path)
            self.assertLess(time.monotonic() - begun, 10, path)

    def test_42_control_routes_are_closed_outside_and_inside(self):
        headers = {"E2b-Sandbox-Id": self.sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
        for path in ("/init", "/freeze", "/upgrade", "/fsfreeze", "/collapse", "/%69nit", "//init"):
            self.assertIn(rest("POST", path, {}, key=None, headers=headers)[0], (400, 404), path)
        out = self.sh("curl -s -m 3 -o /dev/null -w '%{http_code}' http://127.0.0.1:49983/health || true").stdout
        self.assertEqual(out, "000")

    def test_tokens_are_needed_on_the_data_plane(self):
        headers = {"E2b-Sandbox-Id": self.sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
        self.assertEqual(rest("GET", "/files?path=/etc/passwd", key=None, headers=headers)[0], 401)
        wrong = dict(headers, **{"X-Access-Token": "0" * 64})
        self.assertEqual(rest("GET", "/files?path=/etc/passwd", key=None, headers=wrong)[0], 401)
        other = dict(headers, **{"X-Access-Token": self.neighbour._envd_access_token})
        self.assertEqual(rest("GET", "/files?path=/etc/passwd", key=None, headers=other)[0], 401)


for_each_tier(globals(), AttackBase)
del AttackBase


class Wire(unittest.TestCase):
    """Attack 41: what two parsers could read in two ways is refused."""

    def raw(self, data):
        parsed = urlparse(URL)
        with socket.create_connection((parsed.hostname, parsed.port), 10) as s:
            s.sendall(data)
            s.settimeout(10)
            return s.recv(200)

    def test_ambiguous_requests(self):
        host = b"Host: 127.0.0.1\r\n"
        for name, data in {
            "both lengths": b"POST /sandboxes HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "two lengths": b"POST /sandboxes HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "folded": b"GET / HTTP/1.1\r\n" + host + b"X: a\r\n b\r\n\r\n",
            "no host": b"GET / HTTP/1.1\r\n\r\n",
            "two hosts": b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
            "NUL": b"GET / HTTP/1.1\r\n" + host + b"X: a\0b\r\n\r\n",
            "space before colon": b"GET / HTTP/1.1\r\n" + host + b"X : a\r\n\r\n",
            "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 nonsense\r\n\r\n",
            "odd encoding": b"POST /sandboxes HTTP/1.1\r\n" + host + b"Transfer-Encoding: xchunked\r\n\r\n",
        }.items():
            self.assertTrue(self.raw(data).startswith(b"HTTP/1.1 400"), name)

    def test_heads_are_bounded(self):
        self.assertRegex(self.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), rb"^HTTP/1.1 431")
        self.assertRegex(self.raw(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"), rb"^HTTP/1.1 414")
