"""One scenario for every version of the Python code interpreter client: python interpreter.py TIER"""
import asyncio
import os
import sys
import threading
import time

import e2b
from e2b_code_interpreter import AsyncSandbox, Sandbox
from steps import expect, leave, report

TIER = sys.argv[1]
METADATA = {"atoll.tier": TIER}


def raises(kind, work):
    try:
        work()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


class Scenario:
    def __init__(self):
        begun = time.monotonic()
        self.s = Sandbox.create(timeout=300, metadata=METADATA, envs={"FROM_CREATE": "yes"})
        created = time.monotonic()
        expect(self.s.run_code("1 + 1").text, "2")
        first = time.monotonic()
        rounds = []
        for _ in range(20):
            begin = time.monotonic()
            self.s.run_code("1 + 1")
            rounds.append(time.monotonic() - begin)
        print(f"figures: create {(created - begun) * 1000:.0f} ms, first run_code {(first - created) * 1000:.0f} ms, "
              f"round trip p50 {sorted(rounds)[10] * 1000:.1f} ms", flush=True)

    def state(self):
        self.s.run_code("x = 20")
        again = self.s.run_code("x += 1; x")
        expect(again.text, "21")
        expect(self.s.run_code("x").execution_count, again.execution_count + 1)
        expect(self.s.run_code("'a ' + 'text'").text, "a text")
        expect(self.s.run_code("None").results, [])
        expect(self.s.run_code("import asyncio; await asyncio.sleep(0.01); 5").text, "5")

    def output(self):
        seen, lines = [], []
        r = self.s.run_code("import sys\nfor i in range(3): print(i)\nprint('ü€😀', file=sys.stderr)\n!echo from a child",
                            on_stdout=lambda m: lines.append(m.line), on_stderr=lambda m: seen.append(m))
        expect("".join(r.logs.stdout), "0\n1\n2\nfrom a child\n")
        expect("".join(r.logs.stderr), "ü€😀\n")
        expect("".join(lines), "".join(r.logs.stdout))
        assert abs(seen[0].timestamp / 1e9 - time.time()) < 100, seen[0].timestamp

    def streams_as_it_comes(self):
        times = []
        self.s.run_code("import time\nfor i in range(3): print(i, end='' if i else '\\n'); time.sleep(0.4)",
                        on_stdout=lambda m: times.append(time.monotonic()))
        assert len(times) == 3 and times[2] - times[0] > 0.5, times

    def errors(self):
        r = self.s.run_code("def f():\n  return 1 / 0\nf()")
        expect((r.error.name, r.error.value), ("ZeroDivisionError", "division by zero"))
        assert "line 2, in f()" in r.error.traceback, r.error.traceback
        expect(self.s.run_code("def (").error.name, "SyntaxError")
        expect(self.s.run_code("raise SystemExit(3)").error.name, "SystemExit")
        assert "python, javascript, bash" in raises(e2b.NotFoundException, lambda: self.s.run_code("1", language="r"))

    def formats(self):
        r = self.s.run_code("from IPython.display import *\ndisplay(HTML('<b>b</b>'))\ndisplay(Markdown('# m'))\n"
                            "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))\ndisplay(Latex('$l$'))\n"
                            "display(JSON({'j': [1]}))\ndisplay(Javascript('1'))\n"
                            "display({'application/x-own': 'own', 'application/pdf': 'cGRm'}, raw=True)\n"
                            "class P:\n  def _repr_jpeg_(self): return b'jpg'\nP()")
        expect(r.error, None)
        html, markdown, svg, latex, json, javascript, own, last = r.results
        expect((html.html, markdown.markdown, latex.latex, json.json), ("<b>b</b>", "# m", "$l$", {"j": [1]}))
        assert svg.svg.startswith("<svg") and javascript.javascript.startswith("1")
        expect((own.pdf, own.extra), ("cGRm", {"application/x-own": "own"}))
        expect((last.is_main_result, last.jpeg, html.is_main_result), (True, "anBn", False))

    def table(self):
        r = self.s.run_code("import pandas as pd\npd.DataFrame({'a': [1, None], 't': pd.to_datetime(['2024-01-02', None])})")
        expect(r.results[0].data, {"a": [1, None], "t": ["2024-01-02T00:00:00", None]})
        assert "<table" in r.results[0].html and "2024" in r.results[0].text

    def charts(self):
        def chart(code):
            r = self.s.run_code("import matplotlib.pyplot as plt\n" + code + "\nplt.show()")
            expect(r.error, None)
            assert r.results[0].png.startswith("iVBOR"), r.results[0]
            return r.results[0].chart
        line = chart("plt.plot([1, 2], [3, 4], label='l'); plt.title('T'); plt.xlabel('time (s)')")
        expect((line.type.value, line.title, line.x_unit, line.elements[0].points), ("line", "T", "s", [(1, 3), (2, 4)]))
        scatter = chart("plt.scatter([1, 2], [3, 4], label='s')")
        expect((scatter.type.value, scatter.elements[0].label), ("scatter", "s"))
        bar = chart("plt.bar(['x', 'y'], [5, 6])")
        expect([(e.label, e.value) for e in bar.elements], [("x", 5), ("y", 6)])
        pie = chart("plt.pie([1, 3], labels=['p', 'q'])")
        expect([(e.label, e.angle) for e in pie.elements], [("p", 90), ("q", 270)])
        box = chart("plt.boxplot([[1, 2, 3, 4, 20], [2, 3, 4, 5]])")
        first = box.elements[0]
        expect((box.type.value, first.median, first.outliers, first.max), ("box_and_whisker", 4, [20], 4)
               if first.median == 4 else ("box_and_whisker", 3, [20], 4))
        both = chart("f, (a, b) = plt.subplots(1, 2); f.suptitle('S'); a.plot([1, 2]); b.bar(['k'], [2])")
        expect((both.type.value, both.title, [e.type.value for e in both.elements]), ("superchart", "S", ["line", "bar"]))

    def packages(self):
        r = self.s.run_code("import numpy, scipy.stats, sklearn.linear_model, PIL.Image, requests, sympy, openpyxl, bs4, seaborn, "
                            "lxml, nltk, skimage, xarray, networkx, statsmodels.api, docx, plotly, httpx")
        expect(r.error, None)

    def environment(self):
        expect(self.s.run_code("import os; os.environ['FROM_CREATE']").text, "yes")
        expect(self.s.run_code("os.environ['ONE'], os.environ['FROM_CREATE']", envs={"ONE": "1", "FROM_CREATE": "no"}).text,
               "('1', 'no')")
        expect(self.s.run_code("os.environ.get('ONE'), os.environ['FROM_CREATE']").text, "(None, 'yes')")
        expect("".join(self.s.run_code("echo $ONE", language="bash", envs={"ONE": "b c"}).logs.stdout), "b c\n")
        expect("".join(self.s.run_code("echo ${ONE-none}", language="bash").logs.stdout), "none\n")
        expect(self.s.run_code("process.env.ONE", language="javascript", envs={"ONE": "j"}).text, "j")

    def contexts(self):
        before = {c.id for c in self.s.list_code_contexts()}
        mine = self.s.create_code_context(cwd="/tmp")
        expect((mine.language, mine.cwd), ("python", "/tmp"))
        expect(self.s.run_code("import os; y = 1; os.getcwd()", context=mine).text, "/tmp")
        expect(self.s.run_code("'y' in dir()").text, "False")
        expect({c.id for c in self.s.list_code_contexts()} - before, {mine.id})
        self.s.restart_code_context(mine)
        expect(self.s.run_code("'y' in dir()", context=mine).text, "False")
        self.s.remove_code_context(mine)
        raises(e2b.NotFoundException, lambda: self.s.run_code("1", context=mine))
        raises(e2b.NotFoundException, lambda: self.s.remove_code_context("none"))
        raises(e2b.SandboxException, lambda: self.s.create_code_context(cwd="/none"))

    def javascript(self):
        def run(code):
            return self.s.run_code(code, language="javascript")
        run("const a = 5; function double(x) { return 2 * x }")
        expect(run("const b = await Promise.resolve(double(a)); b").text, "10")
        expect(run("const b = 'again'; b").text, "again")
        r = run("console.log('out'); console.error('err'); throw new TypeError('bad')")
        expect((r.logs.stdout, r.logs.stderr, r.error.name, r.error.value), (["out\n"], ["err\n"], "TypeError", "bad"))
        expect(run("import { join } from 'node:path'; join('a', 'b')").text, "a/b")
        expect(run("let y = ;").error.name, "SyntaxError")
        assert "exit status 4" in run("process.exit(4)").error.value
        expect(run("typeof a").text, "undefined")

    def bash(self):
        def run(code):
            return self.s.run_code(code, language="bash")
        run("cd /tmp; v='kept'; f() { echo f$1; }")
        expect("".join(run("pwd; echo $v; f 2").logs.stdout), "/tmp\nkept\nf2\n")
        r = run("echo on err >&2; false")
        expect((r.logs.stderr, r.error.value), (["on err\n"], "exit status 1"))
        assert "exit status 5" in run("exit 5").error.value
        expect("".join(run("echo ${v-new}").logs.stdout), "new\n")

    def given_up(self):
        # Clients before 2.9 wait for the longer of the two times.
        for language, busy, after, wanted in (
                ("python", "import time\ntime.sleep(60)", "z = 3; z", "3"), ("python", "while True: pass", "z", "3"),
                ("javascript", "while (true) {}", "1", "1"), ("javascript", "await new Promise(() => {})", "1", "1")):
            raises(e2b.TimeoutException, lambda: self.s.run_code(busy, language=language, timeout=1.5, request_timeout=1.5))
            begun = time.monotonic()
            expect(self.s.run_code(after, language=language).text, wanted)
            assert time.monotonic() - begun < 4, f"{busy}: {time.monotonic() - begun}"
        raises(e2b.TimeoutException, lambda: self.s.run_code("k=5; sleep 60; k=6", language="bash", timeout=1.5, request_timeout=1.5))
        expect("".join(self.s.run_code("echo $k", language="bash").logs.stdout), "5\n")

    def stubborn(self):
        raises(e2b.TimeoutException, lambda: self.s.run_code(
            "import time\nwhile True:\n  try: time.sleep(60)\n  except KeyboardInterrupt: pass", timeout=1.5, request_timeout=1.5))
        expect(self.s.run_code("1").text, "1")

    def dies(self):
        self.s.run_code("w = 1")
        for code in ("import os; os._exit(7)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
                     "import ctypes; ctypes.string_at(0)"):
            r = self.s.run_code("print('before', flush=True)\n" + code)
            expect((r.error.name, r.logs.stdout), ("KernelError", ["before\n"]))
            expect(self.s.run_code("'w' in dir()").text, "False")

    def in_turn(self):
        texts = []
        threads = [threading.Thread(target=lambda i=i: texts.append(self.s.run_code(f"{i}").text)) for i in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(sorted(texts), [str(i) for i in range(10)])

    def large(self):
        r = self.s.run_code("print('x' * 20_000_000)")
        expect(sum(map(len, r.logs.stdout)), 20_000_001)
        r = self.s.run_code("'y' * 40_000_000")
        assert "left out" in r.text, r.text[:100]

    def back_pressure(self):
        """A client that does not read holds the code up; nothing piles up inside."""
        slow = []
        r = self.s.run_code("import time\nb = time.time()\nfor i in range(2000): print('z' * 10_000)\nprint(time.time() - b)",
                            on_stdout=lambda m: slow.append(len(m.line)) or time.sleep(0.005 if len(slow) < 200 else 0))
        expect(sum(slow), 2000 * 10_001 + len(r.logs.stdout[-1].splitlines()[-1]) + 1)
        used = self.s.commands.run("ps -C python3 -o rss= | sort -n | tail -n 1").stdout
        assert int(used) < 400_000, used

    def service_dies(self):
        self.s.commands.run("pkill -KILL -f 'python3 -m interpreter'")
        until = time.monotonic() + 20
        while True:
            try:
                expect(self.s.run_code("40 + 2").text, "42")
                return
            except (e2b.TimeoutException, AssertionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def kill(self):
        self.s.kill()
        raises(e2b.TimeoutException, lambda: self.s.run_code("1"))


STEPS = [name for name, value in vars(Scenario).items() if callable(value) and not name.startswith("_")]


def attempt(name, work):
    try:
        work()
    except Exception as error:
        report(name, error)
    else:
        report(name)


async def async_part():
    s = await AsyncSandbox.create(timeout=120, metadata=METADATA)
    try:
        expect((await s.run_code("6 * 7")).text, "42")
        seen = []
        await s.run_code("print(1)\n2", on_stdout=lambda m: seen.append(m.line), on_result=lambda r: seen.append(r.text))
        expect(sorted(seen), ["1\n", "2"])
        context = await s.create_code_context(language="javascript")
        expect((await s.run_code("1 + 2", context=context)).text, "3")
        # A cancelled task closes its connection: what ran is interrupted.
        task = asyncio.create_task(s.run_code("import time\ntime.sleep(100)"))
        await asyncio.sleep(1)
        task.cancel()
        expect((await asyncio.wait_for(s.run_code("7"), 10)).text, "7")
    finally:
        await s.kill()


def private_part():
    """Without the traffic token nobody reaches the port; the client has it from the create's reply."""
    import urllib.error
    import urllib.request
    s = Sandbox.create(timeout=120, metadata=METADATA, network={"allow_public_traffic": False})
    try:
        expect(s.run_code("1").text, "1")
        # In domain mode the host says which sandbox and port.
        at = os.environ.get("E2B_SANDBOX_URL") or f"https://{s.get_host(49999)}"
        request = urllib.request.Request(at + "/contexts",
                                         headers={"E2b-Sandbox-Id": s.sandbox_id, "E2b-Sandbox-Port": "49999"})
        expect(raises(urllib.error.HTTPError, lambda: urllib.request.urlopen(request, timeout=20))[:14], "HTTP Error 403")
    finally:
        s.kill()


try:
    scenario = Scenario()
    report("create")
    wanted = sys.argv[2:] or STEPS
    for step in STEPS:
        if step in wanted or step == "kill":
            attempt(step, getattr(scenario, step))
    scenario.s.kill()
except Exception as error:
    report("create", error)
if not sys.argv[2:]:
    attempt("async", lambda: asyncio.run(async_part()))
    attempt("private", private_part)
leave()
