"""What the scenarios of the Python clients share: a line for each step, as tests/run.py reads them."""
import os
import sys
import traceback

failed = False


def report(name, error=None):
    global failed
    if error is None:
        print(f"ok {name}", flush=True)
        return
    failed = True
    traceback.print_exception(error)
    print(f"not ok {name}: {type(error).__name__}: {str(error)[:300]}", flush=True)


def expect(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def leave():
    """Not sys.exit: the clients' native HTTP threads (pyqwest) may call into an interpreter that is being taken down,
    which Python answers with abort(). What is tested has been reported by now."""
    sys.stdout.flush()
    os._exit(1 if failed else 0)
