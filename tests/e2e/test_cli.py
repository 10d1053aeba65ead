"""Atoll's own command line against the instance: what it prints, and its exit codes."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from common import KEY, URL

ATOLL = os.path.join(os.environ.get("ATOLL_BUILD", "build"), "src", "atoll")
SETUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "setup")
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
        self.assertEqual(json.loads(self.works("timeout", self.box, "10m", "--json")), {"sandboxID": self.box, "seconds": 600})
        refused = atoll("timeout", self.box, "0")
        self.assertEqual((refused.returncode, f"atoll kill {self.box}".encode() in refused.stderr), (2, True))
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
    def test_copies_treat_links_alike(self):
        def links(place):
            return {name: os.readlink(os.path.join(place, name)) for name in os.listdir(place) if os.path.islink(os.path.join(place, name))}
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "tree", "sub"))
            for name, target in {"file": "sub/data", "dir": "sub", "gone": "nothing", "sub/up": "../file"}.items():
                os.symlink(target, os.path.join(folder, "tree", name))
            with open(os.path.join(folder, "tree", "sub", "data"), "w") as file:
                file.write("data")
            self.works("cp", os.path.join(folder, "tree"), f"{self.box}:linked")
            self.works("cp", f"{self.box}:linked", os.path.join(folder, "back"))
            self.assertEqual(links(os.path.join(folder, "back")), links(os.path.join(folder, "tree")))
            self.assertEqual(os.readlink(os.path.join(folder, "back", "sub", "up")), "../file")
            os.symlink("/etc/hostname", os.path.join(folder, "tree", "out"))
            up = atoll("cp", os.path.join(folder, "tree"), f"{self.box}:linked")
            self.assertEqual((up.returncode, b"skipped out" in up.stderr), (1, True), up.stderr)
            self.works("exec", self.box, "--", "ln", "-s", "/etc/passwd", "linked/out")
            down = atoll("cp", f"{self.box}:linked", os.path.join(folder, "again"))
            self.assertEqual((down.returncode, b"skipped linked/out" in down.stderr), (1, True), down.stderr)
            self.assertFalse(os.path.lexists(os.path.join(folder, "again", "out")))
            # A link that is named is followed, both ways.
            self.works("cp", os.path.join(folder, "tree", "file"), f"{self.box}:one")
            self.works("cp", f"{self.box}:linked/file", os.path.join(folder, "one"))
            self.assertFalse(os.path.islink(os.path.join(folder, "one")))
        self.assertEqual(self.works("exec", self.box, "--", "sh", "-c", "test -L one || cat one; stat -c %U one"), b"datauser\n")

    def test_copies_of_streams(self):
        self.works("cp", "-", f"{self.box}:from-stdin", stdin=b"piped")
        self.assertEqual(self.works("cp", f"{self.box}:from-stdin", "-"), b"piped")
        self.assertEqual(atoll("cp", f"{self.box}:missing", "-").returncode, 3)

    def test_status_and_tiers(self):
        self.works("status")
        self.works("status", "--json")
        self.assertIn(b"container", self.works("tiers"))
        tiers = json.loads(self.works("tiers", "--json"))["tiers"]
        self.assertEqual(len([t for t in tiers if t["auto"]]), 1)
        for line in self.works("tiers").decode().splitlines()[1:]:
            tier = next(t for t in tiers if t["name"] == line.split()[0])
            self.assertEqual(line.split()[1:3] == ["yes", "yes"], tier["auto"], line)
            self.assertEqual(tier["reason"] in line, not tier["works"], line)
        self.works("version")

    def test_templates(self):
        self.assertIn("base", [name for t in json.loads(self.works("templates", "--json")) for name in t["names"]])
        self.assertEqual(self.works("template", "list"), self.works("templates"))
        self.assertIn("TIER", self.works("templates").decode().splitlines()[0])

    def test_exit_codes_of_commands_that_do_not_run(self):
        def refused(code, *arguments):
            done = atoll("exec", self.box, *arguments)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertTrue(done.stderr.startswith(b"atoll: "), done.stderr)
            return done.stderr
        refused(127, "--", "no-such-program")
        refused(127, "--", "/no/such/program")
        refused(126, "--", "/etc/passwd")
        self.assertIn(b"--cwd", refused(126, "--cwd", "/no/such", "--", "true"))
        self.assertIn(b"--user", refused(126, "--user", "nobody-here", "--", "true"))
        self.assertEqual(atoll("exec", self.box, "--", "sh", "-c", "exit 4").returncode, 4)

    def test_timeouts_are_124(self):
        done = atoll("exec", self.box, "--timeout", "1", "--", "sh", "-c", "trap '' TERM; sleep 60")
        self.assertEqual((done.returncode, b"--timeout of 1s" in done.stderr), (124, True), done.stderr)
        done = atoll("run", "--timeout", "2", "--", "sleep", "60")
        self.assertEqual((done.returncode, b"--timeout ran out" in done.stderr), (124, True), done.stderr)

    def interrupted(self, times, *arguments):
        """Its exit code and output, after Ctrl-C when it says "ready", and again when it says "again"."""
        process = subprocess.Popen([ATOLL, *PLACE, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=ENVIRONMENT)
        said = b""
        for word in (b"ready", b"again")[:times]:
            while word not in said:
                more = os.read(process.stdout.fileno(), 4096)
                self.assertTrue(more, said)
                said += more
            process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
        return process.returncode, said + rest, errors

    def test_ctrl_c(self):
        for how in (("exec", self.box), ("run",)):
            code, out, err = self.interrupted(1, *how, "--", "sh", "-c", "trap 'echo got; exit 9' INT; sh -c 'echo ready; exec sleep 60'")
            self.assertEqual((code, out), (9, b"ready\ngot\n"), (how, err))
            code, out, err = self.interrupted(1, *how, "--", "sh", "-c", "sh -c 'echo ready; exec sleep 60'; echo not reached")
            self.assertEqual((code, out), (130, b"ready\n"), (how, err))
            code, out, err = self.interrupted(2, *how, "--", "sh", "-c", "trap 'echo again' INT; echo ready; while :; do sleep 1; done")
            self.assertEqual((code, out), (130, b"ready\nagain\n"), (how, err))

    def test_a_sandbox_killed_under_a_command(self):
        victim = self.works("create").decode().strip()
        process = subprocess.Popen([ATOLL, *PLACE, "exec", victim, "--", "sh", "-c", "echo ready; sleep 60"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        self.works("kill", victim)
        _, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, f"sandbox {victim} ended".encode() in errors), (125, True), errors)

    def test_a_sandbox_killed_under_a_shell(self):
        victim = self.works("create").decode().strip()
        pid, terminal = os.forkpty()
        if pid == 0:
            os.execve(ATOLL, [ATOLL, *PLACE, "shell", victim], ENVIRONMENT)
        os.write(terminal, b"echo rea''dy\n")
        said = b""
        until = time.monotonic() + 60
        while b"ready" not in said and time.monotonic() < until:
            said += os.read(terminal, 4096)
        self.works("kill", victim)
        try:
            while more := os.read(terminal, 4096):
                said += more
        except OSError:  # its end closes the terminal
            pass
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        self.assertEqual((os.waitstatus_to_exitcode(status), f"sandbox {victim} ended".encode() in said), (125, True), said)

    def test_setup_refuses_a_folder_of_somebody(self):
        """As a user that could not go on, were it not refused."""
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            def setup(*arguments):
                done = subprocess.run(["bash", SETUP, "--root", folder, *arguments], capture_output=True, timeout=60,
                                      user=65534, group=65534, cwd="/", env=ENVIRONMENT)
                self.assertEqual(done.returncode, 1, done.stderr)
                return done.stderr
            os.mkdir(os.path.join(folder, "lost+found"))
            self.assertIn(b"needs root", setup())
            with open(os.path.join(folder, "thesis"), "w"):
                pass
            for arguments in ((), ("--uninstall",)):
                self.assertIn(b"holds files that Atoll did not make", setup(*arguments))
            with open(os.path.join(folder, ".made-by-atoll-setup"), "w"):
                pass
            self.assertIn(b"needs root", setup())

    def test_exit_codes_of_failures(self):
        self.assertEqual(atoll("exec", "iaaaaaaaaaaaaaaaaaaaa", "--", "true").returncode, 125)
        self.assertEqual(atoll("run", "--template", "no-such", "--", "true").returncode, 125)
        self.assertEqual(atoll("info", "iaaaaaaaaaaaaaaaaaaaa").returncode, 3)
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
