"""What the end-to-end tests share: the client under test and a sandbox for each tier."""
import json
import os
import unittest
import urllib.error
import urllib.request

from e2b import Sandbox

KEY = os.environ.get("E2B_API_KEY", "")
URL = os.environ.get("E2B_API_URL", "")
QUICK = bool(os.environ.get("ATOLL_CHECK_QUICK"))


def rest(method, path, body=None, key=KEY, headers=None, raw=None, url=None):
    """(status, parsed body, headers) of one plain request."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request((url or URL) + path, data=data, method=method, headers=dict(headers or {}))
    if key:
        request.add_header("X-API-KEY", key)
    if data is not None and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            status, text, fields = reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        status, text, fields = error.code, error.read(), error.headers
    try:
        return status, json.loads(text), fields
    except ValueError:
        return status, text, fields


def working_tiers():
    status, tiers, _ = rest("GET", "/atoll/v1/tiers")
    assert status == 200, (status, tiers)
    listed = tiers["tiers"] if isinstance(tiers, dict) else tiers
    return [t["name"] for t in listed if t["works"]]


class TierTest(unittest.TestCase):
    """Subclasses set `tier`; one sandbox serves the tests of the class."""
    tier = None
    options = {}

    @classmethod
    def setUpClass(cls):
        if cls.tier is None:
            raise unittest.SkipTest("a base class")
        if cls.tier not in working_tiers():
            raise unittest.SkipTest(f"tier {cls.tier} does not work on this machine")
        cls.sandbox = Sandbox.create("base", timeout=300, metadata={"atoll.tier": cls.tier}, **cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()

    def sh(self, text, **options):
        return self.sandbox.commands.run(text, **options)

    def fails(self, text, **options):
        from e2b import CommandExitException
        try:
            result = self.sh(text, **options)
        except CommandExitException as error:
            return error
        self.fail(f"{text!r} was expected to fail, and printed {result.stdout!r}")


def for_each_tier(namespace, base):
    """Makes NAMEContainer and NAMEGvisor from a base class in a module's namespace."""
    for tier in ("container", "gvisor"):
        name = base.__name__.removesuffix("Base") + tier.capitalize()
        namespace[name] = type(name, (base,), {"tier": tier, "__module__": base.__module__})
