"""The repository's manners, as tests: one line a rule, for tests/run.py."""
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 90
# src/CMakeLists.txt has the same order: a folder knows only those it names.
# isolation takes of the agent how a machine comes up, for its tests' process 1.
ALLOWED = {
    "base": set(), "rpc": {"base"}, "proto": set(), "agent": {"base", "rpc", "proto"}, "rootfs": {"base"},
    "isolation": {"base", "rootfs", "agent"}, "tls": {"base", "rpc"}, "edge": {"base", "rpc", "tls"},
    "node": {"base", "rpc", "proto", "rootfs", "isolation"}, "store": {"base"},
    "control": {"base", "rpc", "proto", "store"}, "cli": {"base", "rpc", "proto"},
    "atolld": {"base", "rpc", "proto", "isolation", "node", "edge", "control", "store", "tls"},
}
BANNED = {
    r"asio::detached": "spawn(), which logs what goes wrong",
    r"\bsystem\(": "base/subprocess.h",
    r"\bpopen\(": "base/subprocess.h",
    r"\b(strcpy|strcat|sprintf|gets)\(": "std::string or fmt",
    r"\bgetpwnam": "agent/users.h: name services load plug-ins into the program",
    r"std::regex": "a parser: std::regex recurses on hostile input",
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE = re.compile(r"/root/\.|" + re.escape(f"{TOP}/"))


def files(*patterns):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=TOP, capture_output=True, text=True)
    return [TOP / f for f in listed.stdout.split("\n") if f and (TOP / f).is_file()]


def code():
    return files("*.cpp", "*.h", "*.py", "*.mjs")


def numbered(path):
    return enumerate(path.read_text(errors="replace").splitlines(), 1)


def short_files():
    for path in code():
        lines = len(path.read_text(errors="replace").splitlines())
        if lines > FILE_LINES_MAX:
            yield f"{path.relative_to(TOP)}: {lines} lines, at most {FILE_LINES_MAX}"


def short_functions():
    opening = re.compile(r"^[A-Za-z].*\)( const| override| noexcept)*( -> [\w:<>, ]+)? \{$")
    for path in files("*.cpp"):
        begun = None
        for number, line in numbered(path):
            if begun is None and opening.match(line) and not line.startswith(("namespace", "TEST", "struct", "class", "enum")):
                begun = number
            elif begun is not None and line == "}":
                if number - begun > FUNCTION_LINES_MAX:
                    yield f"{path.relative_to(TOP)}:{begun}: {number - begun} lines, at most {FUNCTION_LINES_MAX}"
                begun = None


def includes_point_downward():
    include = re.compile(r'#include "(\w+)/')
    for path in files("src/*.cpp", "src/*.h"):
        folder = path.relative_to(TOP / "src").parts[0]
        for number, line in numbered(path):
            found = include.match(line)
            if found and found[1] in ALLOWED and found[1] != folder and found[1] not in ALLOWED.get(folder, set()):
                yield f"{path.relative_to(TOP)}:{number}: {folder} must not know {found[1]}"


def no_banned_calls():
    for path in files("src/*.cpp", "src/*.h"):
        for number, line in numbered(path):
            for pattern, instead in BANNED.items():
                if re.search(pattern, line.split("//")[0]):
                    yield f"{path.relative_to(TOP)}:{number}: {pattern}: use {instead}"


def nothing_unfinished():
    for path in files("src/*", "tests/*", "templates/*", "bench/*", "tools/*"):
        if path == Path(__file__).resolve():
            continue
        for number, line in numbered(path):
            if UNFINISHED.search(line):
                yield f"{path.relative_to(TOP)}:{number}: unfinished work is marked"


def no_machine_paths():
    for path in files():
        if path == Path(__file__).resolve() or path.suffix in (".png", ".lock"):
            continue
        for number, line in numbered(path):
            if MACHINE.search(line):
                yield f"{path.relative_to(TOP)}:{number}: a path of one machine"


def folders_are_documented():
    page = (TOP / "docs" / "architecture.md").read_text()
    for folder in sorted((TOP / "src").iterdir()):
        if folder.is_dir() and f"src/{folder.name}" not in page:
            yield f"src/{folder.name} is not in docs/architecture.md"


def pragma_once():
    for path in files("src/*.h"):
        if not path.read_text().startswith("#pragma once"):
            yield f"{path.relative_to(TOP)}: does not start with #pragma once"


RULES = [short_files, short_functions, includes_point_downward, no_banned_calls, nothing_unfinished, no_machine_paths,
         folders_are_documented, pragma_once]


def main():
    bad = False
    for rule in RULES:
        found = list(rule())
        if found:
            bad = True
            print("\n".join(found))
            print(f"not ok {rule.__name__}: {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""))
        else:
            print(f"ok {rule.__name__}")
    sys.exit(1 if bad else 0)


main()
