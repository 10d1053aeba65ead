"""kill -9 of each role, and of all, while sandboxes run commands: they go on, and clients find them again."""
import os
import signal
import time
import unittest

from harness import Instance, wait_for


class Crash(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(os.environ["ATOLL_CACHE"], os.environ["ATOLL_BUILD"])
        cls.instance.__enter__()
        os.environ.update(cls.instance.client_env())
        import common
        common.KEY, common.URL = os.environ["E2B_API_KEY"], os.environ["E2B_API_URL"]
        cls.common = common
        cls.tiers = [t for t in common.rest("GET", "/atoll/v1/tiers", key=common.KEY, url=common.URL)[1]["tiers"] if t["works"]]

    @classmethod
    def tearDownClass(cls):
        cls.instance.__exit__(None, None, None)

    def survives(self, crash):
        from e2b import Sandbox
        sandboxes = []
        for tier in self.tiers:
            sandbox = Sandbox.create("base", timeout=300, metadata={"atoll.tier": tier["name"]})
            handle = sandbox.commands.run("i=0; while true; do i=$((i+1)); echo $i > /home/user/count; sleep 0.1; done", background=True)
            sandboxes.append((sandbox, handle.pid))
        crash()
        for sandbox, pid in sandboxes:
            wait_for(lambda: self.answers(sandbox), 40, f"{sandbox.sandbox_id} after the crash; log: {self.instance.log_tail()}")
            self.assertIn(pid, [p.pid for p in sandbox.commands.list()], "the running command is gone")
            first = int(sandbox.files.read("/home/user/count").strip() or 0)
            wait_for(lambda: int(sandbox.files.read("/home/user/count").strip() or 0) > first, 20, "the command's progress")
            self.assertEqual(Sandbox.connect(sandbox.sandbox_id).commands.run("echo again").stdout, "again\n")
        for sandbox, _ in sandboxes:
            self.assertTrue(sandbox.kill())

    @staticmethod
    def answers(sandbox):
        try:
            return sandbox.commands.run("echo up", timeout=5, request_timeout=5).stdout == "up\n"
        except Exception:
            return False

    def kill_role(self, *roles):
        old = {role: self.instance.role_pid(role) for role in roles}
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        def replaced():
            try:
                return all(self.instance.role_pid(r) != p for r, p in old.items())
            except (OSError, ValueError, IndexError):
                return False
        wait_for(replaced, 20, "the roles' new processes")
        self.instance.wait_until_healthy()

    def test_edge(self):
        self.survives(lambda: self.kill_role("edge"))

    def test_api(self):
        self.survives(lambda: self.kill_role("api"))

    def test_node(self):
        self.survives(lambda: self.kill_role("node"))

    def test_all_roles(self):
        self.survives(lambda: self.kill_role("edge", "api", "node"))

    def test_the_supervisor_and_all_roles(self):
        def crash():
            roles = [self.instance.role_pid(r) for r in ("edge", "api", "node")]
            self.instance.process.kill()
            for pid in roles:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.instance.process.wait()
            self.instance.start()
            os.environ.update(self.instance.client_env())
        port = self.instance.endpoint
        self.survives(crash) if self.keeps_port(port) else self.skipTest("the port is chosen anew at each start")

    def keeps_port(self, _):
        # Port 0 is any free one; the edge takes its old one again while it is free.
        return True

    def test_time_limits_are_honoured_after_a_crash(self):
        from e2b import Sandbox
        sandbox = Sandbox.create("base", timeout=4)
        self.kill_role("node", "api")
        wait_for(lambda: self.common.rest("GET", f"/sandboxes/{sandbox.sandbox_id}", key=os.environ["E2B_API_KEY"], url=os.environ["E2B_API_URL"])[0] == 404, 25, "its end")

    def test_a_crash_during_creates_leaves_nothing(self):
        import threading
        key, url, rest = os.environ["E2B_API_KEY"], os.environ["E2B_API_URL"], self.common.rest
        for delay in (0.005, 0.03, 0.06, 0.1):
            def create():
                try:
                    rest("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300}, key=key, url=url)
                except OSError:
                    pass
            thread = threading.Thread(target=create)
            thread.start()
            time.sleep(delay)
            self.kill_role("node")
            thread.join(90)
        for sandbox in rest("GET", "/v2/sandboxes", key=key, url=url)[1]:
            self.assertEqual(rest("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key, url=url)[0], 204)
        wait_for(lambda: not os.listdir(self.instance.root / "node" / "sandboxes"), 20,
                 f"an empty folder of sandboxes; there are {os.listdir(self.instance.root / 'node' / 'sandboxes')}")
