"""The service's parts that need no template: python3 interpreter_test.py. Kernels in bash, on any Debian."""
import asyncio
import json
import os
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from interpreter import http, languages, results, routes  # noqa: E402
from interpreter.contexts import Contexts, NotFound, Refused  # noqa: E402


class Results(unittest.TestCase):
    def test_types_become_fields(self):
        line = results.result({"text/plain": "'a'", "image/png": "ab\ncd\n", "x/own": 1}, True)
        self.assertEqual((line["text"], line["png"], line["extra"], line["x/own"]), ("a", "abcd", {"x/own": 1}, 1))
        self.assertEqual(results.result({"type": "error"}, False)["type"], "result")

    def test_lines_are_ascii_and_json(self):
        line = routes.encode({"type": "result", "json": {"a": [float("nan"), float("inf"), "ü\u2028"]}})
        self.assertTrue(line.isascii() and line.endswith(b"\n") and line.count(b"\n") == 1)
        self.assertEqual(json.loads(line)["json"], {"a": [None, None, "ü\u2028"]})


class Languages(unittest.TestCase):
    def test_names(self):
        self.assertEqual([languages.resolve(n) for n in (None, "Python", "js", "sh")],
                         ["python", "python", "javascript", "bash"])
        with self.assertRaisesRegex(languages.UnknownLanguage, "python, javascript, bash"):
            languages.resolve("r")


class Heads(unittest.TestCase):
    def test_good(self):
        self.assertEqual(http.parse_head(b"GET /a?b=c HTTP/1.1\r\nX-Y: z\r\n\r\n"), ("GET", "/a", {"x-y": "z"}))

    def test_bad(self):
        for head in (b"\r\n\r\n", b"GET a HTTP/1.1\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET / HTTP/1.1\r\nnone\r\n\r\n",
                     b"GET / HTTP/1.1\r\nX : y\r\n\r\n",
                     b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
            with self.assertRaises(http.HttpError, msg=head):
                http.parse_head(head)


@unittest.skipUnless(shutil.which("setpriv"), "needs setpriv")
class Service(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.contexts = Contexts("/tmp")
        self.server = await http.serve(routes.Routes(self.contexts).handle, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def asyncTearDown(self):
        self.server.close()
        for shown in self.contexts.list():
            await self.contexts.remove(shown["id"])

    async def call(self, raw):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        reply = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return reply

    @staticmethod
    def post(path, body):
        body = json.dumps(body).encode()
        return (f"POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body

    async def run_bash(self, code, env=None):
        context = self.contexts.default("bash")
        lines = [line async for line in context.execute(code, env or {})]
        return "".join(line["text"] for line in lines if line["type"] == "stdout"), lines

    async def test_streams_an_execution(self):
        reply = await self.call(self.post("/execute", {"code": "echo hi; false", "language": "bash"}))
        lines = [json.loads(part) for part in reply.split(b"\r\n") if part.startswith(b"{")]
        told = [line for line in lines if line["type"] != "number_of_executions"]
        self.assertEqual(([line["type"] for line in told], len(lines)), (["stdout", "error"], 3))
        self.assertEqual((told[0]["text"], told[1]["value"]), ("hi\n", "exit status 1"))
        self.assertTrue(reply.endswith(b"0\r\n\r\n"))

    async def test_chunked_body(self):
        reply = await self.call(b"POST /contexts HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                                b"f\r\n{\"language\":\"ba\r\n4\r\nsh\"}\r\n0\r\n\r\n")
        self.assertIn(b"201", reply.split(b"\r\n")[0])

    async def test_refusals_name_the_reason(self):
        for raw, status, text in (
                (self.post("/execute", {"code": "1", "language": "r"}), b"404", b"python, javascript, bash"),
                (self.post("/execute", {"code": 1}), b"400", b"code"),
                (self.post("/execute", {"code": "1", "env_vars": {"a=": "1"}}), b"400", b"env_vars"),
                (self.post("/execute", []), b"400", b"object"),
                (self.post("/contexts", {"language": "bash", "cwd": "/none"}), b"400", b"/none"),
                (self.post("/contexts/x/restart", {}), b"404", b"'x'"),
                (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", b"404", b"/x"),
                (b"POST /execute HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413", b"16777216"),
                (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431", b"head")):
            reply = await self.call(raw)
            self.assertIn(status, reply.split(b"\r\n")[0], raw[:80])
            self.assertIn(text, reply)

    async def test_a_client_that_goes_away_interrupts(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.post("/execute", {"code": "echo on; sleep 60", "language": "bash"}))
        await asyncio.wait_for(reader.readuntil(b"on"), 20)
        writer.close()
        begun = time.monotonic()
        self.assertEqual((await self.run_bash("echo next"))[0], "next\n")
        self.assertLess(time.monotonic() - begun, 10)

    async def test_env_is_given_back(self):
        self.assertEqual((await self.run_bash("echo $A", {"A": "b c"}))[0], "b c\n")
        self.assertEqual((await self.run_bash("echo ${A-none}"))[0], "none\n")

    async def test_death_is_told_and_mended(self):
        out, lines = await self.run_bash("v=1; echo x; kill -9 $$")
        self.assertEqual((out, lines[-1]["name"]), ("x\n", "KernelError"))
        self.assertEqual((await self.run_bash("echo ${v-gone}"))[0], "gone\n")

    async def test_removed_while_it_runs(self):
        context = await self.contexts.create("bash", None)
        lines = context.execute("echo on; sleep 60", {})
        await lines.__anext__()
        await self.contexts.remove(context.id)
        rest = [line async for line in lines]
        self.assertIn("removed", rest[-1]["value"])
        with self.assertRaises(NotFound):
            self.contexts.find(context.id)

    async def test_contexts_are_bounded(self):
        with self.assertRaises(Refused):
            for _ in range(100):
                self.contexts._add(type(self.contexts.default("bash"))("bash", "/tmp"))


if __name__ == "__main__":
    unittest.main()
