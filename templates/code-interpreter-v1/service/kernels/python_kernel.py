"""The Python kernel: IPython's shell without Jupyter's sockets.

Descriptor 3 carries JSON lines: {"code", "env"} comes in; ready, started, display, error and done go out. What the
code prints goes to descriptors 1 and 2, so that its child processes' output takes the same way.
"""
import json
import os
import signal
import socket
import sys
import threading
import types

# IPython brings its terminal program and completions along; neither is used here, and they are most of the start.
for name in ("jedi", "IPython.terminal.embed"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython.terminal.embed"].embed = None
sys.modules["jedi"] = None
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

import io  # noqa: E402

from IPython.core import completer  # noqa: E402,F401
from IPython.core.displayhook import DisplayHook  # noqa: E402
from IPython.core.displaypub import DisplayPublisher  # noqa: E402
from IPython.core.formatters import DisplayFormatter  # noqa: E402
from IPython.core.interactiveshell import InteractiveShell  # noqa: E402
from traitlets import Type  # noqa: E402
from traitlets.config import Config  # noqa: E402

for name in ("jedi", "IPython.terminal.embed"):
    del sys.modules[name]

HERE = os.path.dirname(os.path.abspath(__file__))
EVENT_BYTES_MAX = 32 * 1024 * 1024
FLUSH_SECONDS = 0.05


class Events:
    """The way out. Any thread of the user's may display something."""

    def __init__(self, connection):
        self._out = connection.makefile("wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, event, **fields):
        from_lines = json.dumps({"event": event, **fields}, default=str).encode() + b"\n"
        with self._lock:
            view = memoryview(from_lines)
            while view:
                view = view[self._out.write(view):]


class Output(io.TextIOWrapper):
    """Whole lines go out at once, the rest within FLUSH_SECONDS."""

    def __init__(self, descriptor):
        super().__init__(open(descriptor, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
        self._pending = threading.Event()
        threading.Thread(target=self._flush_late, daemon=True).start()
        os.register_at_fork(after_in_child=self._in_child)

    def write(self, text):
        count = super().write(text)
        if not text.endswith("\n"):
            self._pending.set()
        return count

    def _in_child(self):
        self._pending = threading.Event()

    def _flush_late(self):
        pause = threading.Event()
        while True:
            self._pending.wait()
            pause.wait(FLUSH_SECONDS)
            self._pending.clear()
            try:
                self.flush()
            except (OSError, ValueError):
                return


def bounded(data):
    """A mime bundle whose values the service can take."""
    out = {}
    for mime, value in data.items():
        if isinstance(value, bytes):
            import base64
            value = base64.b64encode(value).decode()
        size = len(value) if isinstance(value, str) else len(json.dumps(value, default=str))
        if size > EVENT_BYTES_MAX:
            out["text/plain"] = f"<{mime} of {size} bytes left out: the limit is {EVENT_BYTES_MAX}>"
        else:
            out[mime] = value
    return out


class Formatter(DisplayFormatter):
    """Adds what E2B's clients know beyond Jupyter's types: a table's data and a chart's."""

    def format(self, value, include=None, exclude=None):
        data, metadata = super().format(value, include, exclude)
        try:
            data.update(self._extra(value))
        except Exception as error:
            data["atoll/note"] = f"its data could not be read: {type(error).__name__}: {error}"
        return data, metadata

    @staticmethod
    def _extra(value):
        pandas, figure = sys.modules.get("pandas"), sys.modules.get("matplotlib.figure")
        if pandas is not None and isinstance(value, pandas.DataFrame):
            import tables
            return {"e2b/data": tables.columns(value)}
        if figure is not None and isinstance(value, figure.Figure):
            import charts
            chart = charts.of_figure(value)
            return {"e2b/chart": chart} if chart else {}
        return {}


class Publisher(DisplayPublisher):
    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **_):
        self.shell.events_out.send("display", main=False, data=bounded(data))

    def clear_output(self, wait=False):
        pass


class Hook(DisplayHook):
    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        self.shell.events_out.send("display", main=True, data=bounded(format_dict))

    def finish_displayhook(self):
        self._is_active = False


class Shell(InteractiveShell):
    display_pub_class = Type(Publisher)
    displayhook_class = Type(Hook)
    events_out = None

    def init_display_formatter(self):
        self.display_formatter = Formatter(parent=self)
        self.configurables.append(self.display_formatter)

    def init_hooks(self):
        super().init_hooks()
        self.set_hook("show_in_pager", self._page, 99)

    def _page(self, _, data, *__, **___):
        bundle = data if isinstance(data, dict) and "text/plain" in data else {"text/plain": str(data)}
        self.display_pub.publish(bundle)

    def _showtraceback(self, kind, value, lines):
        sys.stdout.flush()
        sys.stderr.flush()
        self.events_out.send("error", name=str(kind.__name__), value=str(value)[:1 << 20],
                             traceback="\n".join(self.InteractiveTB.stb2text([line]) for line in lines)[:1 << 20])

    def system(self, command):
        """Its output takes this process's own way out; IPython's would need a terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.system_raw(command)

    def enable_gui(self, gui=None):
        pass

    def ask_exit(self):
        pass


def make_shell(events):
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryAccessor.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Context"
    config.InteractiveShell.separate_in = ""
    Shell.events_out = events
    shell = Shell.instance(config=config)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = shell.user_module = main
    main.__dict__.update(shell.user_ns)
    shell.user_ns = main.__dict__
    return shell


def set_env(changes):
    """Gives what undoes it."""
    before = {name: os.environ.get(name) for name in changes}
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


def run(shell, events, request):
    events.send("started", count=shell.execution_count)
    before = set_env(request.get("env") or {})
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            shell.run_cell(request["code"], store_history=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        events.send("error", name="KeyboardInterrupt", value="", traceback="KeyboardInterrupt")
    except SystemExit:
        pass
    finally:
        set_env(before)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
    events.send("done")


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=3)
    os.set_inheritable(3, False)
    events = Events(connection)
    sys.stdout, sys.stderr = Output(1), Output(2)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    sys.path[:] = [entry for entry in sys.path if entry != HERE]
    sys.path.insert(0, "")
    sys.path.append(HERE)
    shell = make_shell(events)
    events.send("ready")
    for line in connection.makefile("rb"):
        run(shell, events, json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
