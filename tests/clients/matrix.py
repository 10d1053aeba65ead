#!/usr/bin/env python3
"""Runs the client scenarios with many published versions of the E2B clients, on each tier, by plain HTTP on one
port and by host names with TLS, and writes the result as a table into the README (between the marks `client matrix`).

    sudo tests/clients/matrix.py                 all of it; clients are installed once into the cache
    sudo tests/clients/matrix.py --only js-2.19  what has this in its name; the other rows stay as they were
    sudo tests/clients/matrix.py --no-readme

It starts an Atoll of its own from a build and leaves nothing behind. What the cache lacks is made first: the
templates (that of the code interpreter takes minutes), runsc, the clients. `./check` runs a small part of it.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from harness import INSTALLED  # noqa: E402
from names import Names  # noqa: E402
from test_domain import DOMAIN, DomainInstance  # noqa: E402

PYTHON = ["2.19.0", "2.25.1", "2.30.0", "2.37.1", "2.45.1", "2.51.0", "2.58.0", "2.63.0"]
JS = ["2.19.0", "2.24.0", "2.30.1", "2.37.0", "2.45.0", "2.51.0"]
CLI = ["2.19.0"]
INTERPRETER_PYTHON = ["2.8.1", "2.11.5"]
INTERPRETER_JS = ["2.8.0"]
SECONDS_MAX = 300
RECORD = HERE / "matrix.json"  # of each client its last run
BEGIN, END = "<!-- client matrix: written by tests/clients/matrix.py -->", "<!-- end of client matrix -->"


class Client:
    def __init__(self, kind, version, label, argv, columns=None):
        """`columns`: the only ones that make sense for it; None = all."""
        self.kind, self.version, self.label, self.argv, self.columns = kind, version, label, argv, columns

    @property
    def name(self):
        return f"{self.kind}-{self.version}"


def clients(cache):
    folder, node = cache / "clients", [TOP / "tools" / "with-node", cache / "node"]
    out = []
    for v in PYTHON:
        out.append(Client("python", v, "Python `e2b`, sync and async",
                          lambda tier, v=v: [folder / f"python-{v}" / "bin" / "python", HERE / "scenario.py", tier]))
    for v in JS:
        out.append(Client("js", v, "npm `e2b`", lambda tier, v=v: [*node, "node", HERE / "scenario.mjs", folder / f"js-{v}", tier]))
    for v in INTERPRETER_PYTHON:
        # Older ones read no E2B_SANDBOX_URL, so they need a domain.
        out.append(Client("interpreter-python", v, "Python `e2b-code-interpreter`",
                          lambda tier, v=v: [folder / f"interpreter-python-{v}" / "bin" / "python", HERE / "interpreter.py", tier],
                          columns=("container, TLS", "gvisor, TLS") if v.startswith("2.8.") else None))
    for v in INTERPRETER_JS:
        out.append(Client("interpreter-js", v, "npm `@e2b/code-interpreter`",
                          lambda tier, v=v: [*node, "node", HERE / "interpreter.mjs", folder / f"interpreter-js-{v}", tier]))
    for v in CLI:
        out.append(Client("cli", v, "npm `@e2b/cli`", lambda tier: [*node, sys.executable, HERE / "cli.py", folder / "cli"],
                          columns=("container",)))
    return out


def run(argv, env, log):
    """(passed, failed names, skipped) of a scenario that prints a line a step."""
    with open(log, "wb") as out:
        try:
            code = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  env=env, timeout=SECONDS_MAX).returncode
        except subprocess.TimeoutExpired:
            code = None
    lines = Path(log).read_text(errors="replace").splitlines()
    passed = sum(line.startswith("ok ") for line in lines)
    failed = [line[7:] for line in lines if line.startswith("not ok ")]
    skipped = sum(line.startswith("skip ") for line in lines)
    if code != 0 and not failed:
        failed.append(f"{'time limit' if code is None else f'exit {code}'}: {' | '.join(lines[-3:])[:300]}")
    if code == 0 and not passed and not failed:
        failed.append("no step ran")
    return passed, failed, skipped


def cell(result):
    if result is None:
        return ""
    passed, failed, skipped = result
    text = f"{passed} passed" if not failed else f"**{len(failed)} failed**, {passed} passed"
    return text + (f", {skipped} skipped" if skipped else "")


def table(known, record, columns):
    head = ["client", "version", *columns, "run of"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for client in known:
        row = record.get(client.name)
        if row:
            cells = [row["results"].get(column, "") for column in columns]
            lines.append(f"| {client.label} | {client.version} | " + " | ".join(cells) + f" | {row['day']} |")
    return "\n".join(lines)


def environments(instance):
    """What a user exports, by mode."""
    without = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
    plain = dict(without, **instance.client_env())
    names = {k: v for k, v in without.items() if k not in ("E2B_API_URL", "E2B_SANDBOX_URL")}
    return {"": plain, ", TLS": dict(names, **instance.domain_env())}


def write_readme(text):
    readme = TOP / "README.md"
    page = readme.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"README.md lacks the marks {BEGIN} and {END}")
    head, rest = page.split(BEGIN, 1)
    readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def prepare(cache, wanted, tiers):
    installed = Path(INSTALLED)
    steps = [["templates/build", "base", "--root", cache, "--from", installed]]
    if any(c.kind.startswith("interpreter") for c in wanted):
        steps.append(["templates/build", "code-interpreter-v1", "--root", cache, "--from", installed])
    if "gvisor" in tiers:
        steps.append(["tools/build-runsc", cache / "runtimes", installed / "runtimes"])
    steps.append(["tools/clients", cache / "clients", *(c.name for c in wanted)])
    for step in steps:
        subprocess.run([str(word) for word in step], cwd=TOP, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("ATOLL_CACHE", "/var/cache/atoll")))
    parser.add_argument("--build", type=Path, default=TOP / "build")
    parser.add_argument("--only", default="", help="runs what has this in its name, as in python-2.63.0")
    parser.add_argument("--tiers", default="container,gvisor", help="any less, and the README is left as it is")
    parser.add_argument("--no-readme", action="store_true")
    options = parser.parse_args()
    tiers = options.tiers.split(",")
    wanted = [c for c in clients(options.cache) if options.only in c.name]
    if not wanted:
        parser.error(f"no client has {options.only!r} in its name")
    prepare(options.cache, wanted, tiers)
    logs = Path(tempfile.mkdtemp(prefix="atoll-matrix-"))
    os.environ.update(ATOLL_CACHE=str(options.cache), ATOLL_BUILD=str(options.build))
    columns = [tier + mode for mode in ("", ", TLS") for tier in tiers]
    record, bad = json.loads(RECORD.read_text()) if RECORD.exists() else {}, False
    day = datetime.date.today().isoformat()
    with Names(DOMAIN), DomainInstance() as instance:
        modes = environments(instance)
        for client in wanted:
            results = {}
            for column in columns:
                tier, mode = column.split(",")[0], column[len(column.split(",")[0]):]
                if client.columns and column not in client.columns:
                    continue
                results[column] = run(client.argv(tier), modes[mode], logs / f"{client.name}-{tier}{'-tls' if mode else ''}.log")
                bad = bad or bool(results[column][1])
                print(f"{client.name:28} {column:16} {cell(results[column])}", flush=True)
                for failure in results[column][1]:
                    print(f"    {failure}", flush=True)
            record[client.name] = {"day": day, "results": {column: cell(result) for column, result in results.items()}}
    if not options.no_readme and set(tiers) == {"container", "gvisor"}:
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        columns = [tier + mode for mode in ("", ", TLS") for tier in ("container", "gvisor")]
        write_readme("TLS: `E2B_DOMAIN` alone, by host names. Numbers are steps of a scenario.\n\n"
                     + table(clients(options.cache), record, columns))
    print(f"logs: {logs}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
