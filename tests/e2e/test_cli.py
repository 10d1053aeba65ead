"""Atoll's own command line against the instance: what it prints, and its exit codes."""
import json
import os
import subprocess
import tempfile
import unittest

from common import KEY, URL

ATOLL = os.path.join(os.environ.get("ATOLL_BUILD", "build"), "src", "atoll")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("E2B_", "ATOLL_"))}
PLACE = ["--root", os.environ.get("ATOLL_ROOT", ""), "--run", os.environ.get("ATOLL_RUN", "")]


def atoll(*arguments, stdin=b"", environment=None):
    return subprocess.run([ATOLL, *PLACE, *arguments], input=stdin, capture_output=True, timeout=120,
                          env=environment or ENVIRONMENT)


class Cli(unittest.TestCase):
    def works(self, *arguments, **options):
        done = atoll(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    @classmethod
    def setUpClass(cls):
        done = atoll("create", "--timeout", "5m", "-m", "kind=cli-test", "-e", "FROM_CREATE=yes")
        assert done.returncode == 0, done.stderr
        cls.box = done.stdout.decode().strip()

    @classmethod
    def tearDownClass(cls):
        atoll("kill", cls.box)

    def test_env_is_what_clients_need(self):
        values = json.loads(self.works("env", "--json"))
        self.assertEqual((values["E2B_API_KEY"], values["E2B_API_URL"]), (KEY, URL))
        printed = subprocess.run(["sh", "-c", f'eval "$({ATOLL} {" ".join(PLACE)} env)"; echo "$E2B_API_KEY $E2B_SANDBOX_URL"'],
                                 capture_output=True, text=True, env=ENVIRONMENT, timeout=30)
        self.assertEqual(printed.stdout, f"{KEY} {URL}\n")

    def test_run_hands_through_streams_and_the_exit_code(self):
        done = atoll("run", "--", "sh", "-c", "cat; echo err >&2; exit 3", stdin=b"\x00\xffin")
        self.assertEqual((done.returncode, done.stdout, done.stderr[-4:]), (3, b"\x00\xffin", b"err\n"))
        self.assertEqual(self.works("run", "--", "echo", "$HOME", "a  b"), b"$HOME a  b\n")
        self.assertEqual(self.works("run", "--shell", "echo $HOME | tr a-z A-Z"), b"/HOME/USER\n")

    def test_run_leaves_no_sandbox(self):
        before = {s["sandboxID"] for s in json.loads(self.works("ls", "--json"))}
        self.works("run", "--", "true")
        self.assertEqual({s["sandboxID"] for s in json.loads(self.works("ls", "--json"))} - before, set())

    def test_exec(self):
        self.assertEqual(self.works("exec", self.box, "--", "printenv", "FROM_CREATE"), b"yes\n")
        self.assertEqual(self.works("exec", self.box, "-e", "X=1", "-u", "root", "--cwd", "/tmp", "--shell", "echo $X $(whoami) $PWD"), b"1 root /tmp\n")
        self.assertEqual(atoll("exec", self.box, "--", "sh", "-c", "kill -9 $$").returncode, 137)

    def test_listing_and_information(self):
        self.assertIn(self.box.encode(), self.works("ls"))
        self.assertEqual([s["sandboxID"] for s in json.loads(self.works("ls", "-m", "kind=cli-test", "--json"))], [self.box])
        self.assertIn(self.box.encode(), self.works("info", self.box))
        self.assertEqual(json.loads(self.works("info", self.box, "--json"))["sandboxID"], self.box)
        self.works("timeout", self.box, "10m")
        self.works("logs", self.box)

    def test_copies(self):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "tree", "inner"))
            content = os.urandom(200_000)
            with open(os.path.join(folder, "tree", "inner", "blob"), "wb") as file:
                file.write(content)
            self.works("cp", os.path.join(folder, "tree"), f"{self.box}:copied")
            self.works("cp", f"{self.box}:copied", os.path.join(folder, "back"))
            with open(os.path.join(folder, "back", "inner", "blob"), "rb") as file:
                self.assertEqual(file.read(), content)
        self.works("cp", "-", f"{self.box}:from-stdin", stdin=b"piped")
        self.assertEqual(self.works("cp", f"{self.box}:from-stdin", "-"), b"piped")
        self.assertEqual(atoll("cp", f"{self.box}:missing", "-").returncode, 3)

    def test_status_and_tiers(self):
        self.works("status")
        self.works("status", "--json")
        self.assertIn(b"container", self.works("tiers"))
        json.loads(self.works("tiers", "--json"))
        self.works("version")

    def test_exit_codes_of_failures(self):
        self.assertEqual(atoll("exec", "iaaaaaaaaaaaaaaaaaaaa", "--", "true").returncode, 3)
        self.assertEqual(atoll("run", "--template", "no-such", "--", "true").returncode, 3)
        self.assertEqual(atoll("nonsense").returncode, 2)
        self.assertEqual(atoll("ls", environment=dict(ENVIRONMENT, E2B_API_KEY="e2b_" + "0" * 40)).returncode, 4)
        self.assertEqual(atoll("ls", environment=dict(ENVIRONMENT, ATOLL_ENDPOINT="127.0.0.1:1")).returncode, 5)
        done = atoll("run", "--tier", "microvm", "--", "true")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"microvm", done.stderr)

    def test_a_root_without_a_c_library(self):
        for tier in [t["name"] for t in json.loads(self.works("tiers", "--json"))["tiers"] if t["works"]]:
            out = self.works("run", "--template", "minimal", "--tier", tier, "--", "sh", "-c", "whoami; pwd; ls /bin | wc -l")
            self.assertRegex(out, rb"^user\n/home/user\n *\d+\n$", tier)
            self.assertEqual(self.works("run", "--template", "minimal", "--tier", tier, "--", "cat", stdin=b"in"), b"in", tier)

    def test_a_full_disk_is_an_error_inside(self):
        """The minimal template's disk is small enough to fill."""
        for tier in [t["name"] for t in json.loads(self.works("tiers", "--json"))["tiers"] if t["works"]]:
            out = self.works("run", "--template", "minimal", "--tier", tier, "--", "sh", "-c",
                             "dd if=/dev/zero of=/home/user/fill bs=1M count=3000 2>&1; rm /home/user/fill; echo again > /home/user/x && echo fine")
            self.assertIn(b"No space left on device", out, tier)
            self.assertTrue(out.endswith(b"fine\n"), (tier, out))

    def test_kill(self):
        victim = self.works("create").decode().strip()
        self.works("kill", victim)
        self.assertEqual(atoll("info", victim).returncode, 3)
