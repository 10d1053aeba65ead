"""Runs one module of unittest tests and prints a line a test, as tests/run.py reads them."""
import sys
import time
import unittest


class Lines(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    @staticmethod
    def name(test):
        return test.id().split(".", 1)[-1]

    def addSuccess(self, test):
        print(f"ok {self.name(test)} ({time.monotonic() - self.begun:.1f} s)", flush=True)

    def addSkip(self, test, reason):
        print(f"skip {self.name(test)}: {reason}", flush=True)

    def _bad(self, test, err):
        detail = self._exc_info_to_string(err, test).strip()
        print(detail, flush=True)
        print(f"not ok {self.name(test)}: {detail.splitlines()[-1][:300]}", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._bad(subtest, err)
            self.failures.append((test, ""))


result = Lines()
suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
suite.run(result)
sys.exit(0 if result.wasSuccessful() else 1)
