"""E2B's own command line against this instance: python cli.py FOLDER_WITH_CLI"""
import json
import os
import subprocess
import sys
import urllib.request

FOLDER = sys.argv[1]
E2B = os.path.join(FOLDER, "node_modules", ".bin", "e2b")
failed = False


def rest(method, path, body=None):
    request = urllib.request.Request(os.environ["E2B_API_URL"] + path, method=method,
                                     data=None if body is None else json.dumps(body).encode(),
                                     headers={"X-API-KEY": os.environ["E2B_API_KEY"], "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read()
    return json.loads(text) if text else None


def e2b(*arguments, **options):
    return subprocess.run([E2B, *arguments], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **options)


def step(name, work):
    global failed
    try:
        work()
        print(f"ok {name}", flush=True)
    except Exception as error:
        failed = True
        print(f"not ok {name}: {error}"[:600].replace("\n", " "), flush=True)


sandbox = rest("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 120})["sandboxID"]


def listing():
    done = e2b("sandbox", "list")
    assert sandbox in done.stdout, done.stdout + done.stderr


def execute():
    done = e2b("sandbox", "exec", sandbox, "echo", "by-the-cli")
    assert "by-the-cli" in done.stdout, done.stdout + done.stderr


def kill():
    done = e2b("sandbox", "kill", sandbox)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(s["sandboxID"] != sandbox for s in rest("GET", "/v2/sandboxes"))


def templates():
    done = e2b("template", "list")
    assert "base" in done.stdout, done.stdout + done.stderr


step("sandbox list", listing)
step("sandbox exec", execute)
step("template list", templates)
step("sandbox kill", kill)
sys.exit(1 if failed else 0)
