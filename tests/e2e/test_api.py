"""Every route that docs/api/openapi.json describes, against a real instance: status, headers and body."""
import re
import time
import unittest
import urllib.parse

from api_document import Document, routes_of_source
from plain import KEY, other_project, send

DOCUMENT = Document()
SEEN = set()
UNKNOWN = {"sandboxID": "i00000000000000000000", "teamID": "00000000-0000-4000-8000-000000000000", "apiKeyID": "00000000-0000-4000-8000-000000000000",
           "templateID": "no-such-template", "alias": "no-such-template", "nodeID": "none", "buildID": "none", "hash": "0" * 64,
           "accessTokenID": "none", "volumeID": "none", "secretID": "none"}
# What cannot be brought about without harm to the host, or within a test's time.
NOT_TRIED = {(method, path, status) for method, path, _ in DOCUMENT.operations() for status in (500, 503, 504)}
NOT_TRIED |= {("post", path, 409) for path in ("/sandboxes", "/v2/sandboxes")}  # a keyed create that takes longer than 60 s


def call(method, path, expected, params=None, query=None, body=None, judged=True, **how):
    """One request to a documented route; the reply must be `expected` and as the document says."""
    target = path
    for name in re.findall(r"\{(\w+)\}", path):
        target = target.replace("{%s}" % name, urllib.parse.quote((params or UNKNOWN).get(name, UNKNOWN[name]), safe=""))
    if query:
        target += "?" + urllib.parse.urlencode(query)
    if body is not None and expected < 300 and judged:
        DOCUMENT.check_request(method, path, body)
    reply = send(method.upper(), target, body, **how)
    assert reply.status == expected, f"{method} {target}: {expected} expected, {reply}"
    DOCUMENT.check_reply(method, path, reply)
    SEEN.add((method, path, reply.status))
    return reply


def sandbox(timeout=300, **more):
    return call("post", "/v2/sandboxes", 201, body={"templateID": "base", "timeout": timeout, **more}).json


class Paper(unittest.TestCase):
    def test_the_document_has_the_routes_of_the_source_and_no_others(self):
        described = {(m, re.sub(r"\{\w+\}", "{}", p), o.get("security") != [], "x-atoll-not-available" in o) for m, p, o in DOCUMENT.operations()}
        source = set(routes_of_source())
        self.assertEqual(described - source, set(), "in the document, and not (so) in routes.cpp")
        self.assertEqual(source - described, set(), "in routes.cpp, and not (so) in the document")

    def test_references_lead_somewhere_and_operations_have_names(self):
        def walk(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    DOCUMENT.resolve(node)
                for child in node.values():
                    walk(child)
            elif isinstance(node, list):
                for child in node:
                    walk(child)
        walk(DOCUMENT.doc)
        names = [operation["operationId"] for _, _, operation in DOCUMENT.operations()]
        self.assertEqual(len(names), len(set(names)))
        for _, path, operation in DOCUMENT.operations():
            parameters = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            self.assertEqual(parameters, set(re.findall(r"\{(\w+)\}", path)), path)

    def test_every_schema_is_one(self):
        from jsonschema import Draft202012Validator
        for name, schema in DOCUMENT.doc["components"]["schemas"].items():
            with self.subTest(name):
                Draft202012Validator.check_schema(schema)


class Sandboxes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one = sandbox(metadata={"run": str(time.time_ns())}, network={"allowPublicTraffic": False, "denyOut": ["10.0.0.0/8"]})
        cls.params = {"sandboxID": cls.one["sandboxID"]}

    @classmethod
    def tearDownClass(cls):
        send("DELETE", f"/sandboxes/{cls.one['sandboxID']}")

    def test_created_by_either_generation_and_killed(self):
        made = call("post", "/sandboxes", 201, body={"templateID": "base", "timeout": 60, "secure": True, "allow_internet_access": True}).json
        call("delete", "/sandboxes/{sandboxID}", 204, params=made)
        call("delete", "/sandboxes/{sandboxID}", 404, params=made)
        facts = call("get", "/atoll/v1/sandboxes/{sandboxID}", 200, params=made).json
        self.assertEqual((facts["state"], facts["endReason"]), ("ended", "killed"))

    def test_details(self):
        detail = call("get", "/sandboxes/{sandboxID}", 200, params=self.params).json
        self.assertEqual(detail["network"]["denyOut"], ["10.0.0.0/8"])
        self.assertEqual(detail["trafficAccessToken"], self.one["trafficAccessToken"])
        call("get", "/atoll/v1/sandboxes/{sandboxID}", 200, params=self.params)

    def test_lists(self):
        page = call("get", "/v2/sandboxes", 200, query={"limit": 1, "state": "running,paused", "order": "asc"})
        self.assertGreaterEqual(int(page.headers["X-Total-Running"]), 1)
        whole = call("get", "/sandboxes", 200)
        self.assertEqual(int(whole.headers["X-Total-Running"]), len(whole.json))
        call("get", "/sandboxes", 400, query={"metadata": "%zz"})

    def test_metrics_and_logs(self):
        call("get", "/sandboxes/{sandboxID}/metrics", 200, params=self.params, query={"start": 1})
        both = call("get", "/sandboxes/metrics", 200, query={"sandbox_ids": self.one["sandboxID"]}).json
        self.assertEqual(list(both["sandboxes"]), [self.one["sandboxID"]])
        call("get", "/sandboxes/metrics", 400)
        self.assertTrue(call("get", "/sandboxes/{sandboxID}/logs", 200, params=self.params).json["logs"])
        self.assertTrue(call("get", "/v2/sandboxes/{sandboxID}/logs", 200, params=self.params, query={"direction": "backward", "level": "info"}).json["logs"])

    def test_times(self):
        call("post", "/sandboxes/{sandboxID}/connect", 200, params=self.params, body={"timeout": 10})
        call("post", "/v2/sandboxes/{sandboxID}/connect", 200, params=self.params, body={})
        call("post", "/sandboxes/{sandboxID}/connect", 400, params=self.params, body={"timeout": 5, "memory": False})
        call("post", "/sandboxes/{sandboxID}/timeout", 204, params=self.params, body={"timeout": 300})
        call("post", "/sandboxes/{sandboxID}/refreshes", 204, params=self.params)
        call("post", "/sandboxes/{sandboxID}/refreshes", 400, params=self.params, body={"duration": 4000})
        call("post", "/v2/sandboxes/{sandboxID}/connect", 400, params=self.params, body={"timeout": -1})

    def test_network(self):
        call("put", "/sandboxes/{sandboxID}/network", 204, params=self.params, body={"denyOut": ["10.0.0.0/8"]})
        call("put", "/sandboxes/{sandboxID}/network", 400, params=self.params, body={"allowOut": ["example.com"]})

    def test_what_create_refuses(self):
        for path in ("/sandboxes", "/v2/sandboxes"):
            call("post", path, 404, body={"templateID": "no-such-template"})
            call("post", path, 501, body={"templateID": "base", "autoPause": True})
            key = {"Idempotency-Key": f"api-{time.time_ns()}"}
            made = call("post", path, 201, body={"templateID": "base", "timeout": 60}, headers=key).json
            call("post", path, 422, body={"templateID": "base", "timeout": 61}, headers=key)
            call("delete", "/sandboxes/{sandboxID}", 204, params=made)

    def test_quota(self):
        _, key = other_project(sandboxes=0)
        for path in ("/sandboxes", "/v2/sandboxes"):
            refused = call("post", path, 429, body={"templateID": "base"}, key=key)
            for header in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Should-Retry"):
                self.assertIn(header, refused.headers)


class Templates(unittest.TestCase):
    def test_lists_and_one(self):
        listed = call("get", "/templates", 200).json
        page = call("get", "/v2/templates", 200, query={"limit": 1})
        self.assertEqual("X-Next-Token" in page.headers, len(listed) > 1)
        for path in ("/templates", "/v2/templates"):
            call("get", path, 404, query={"teamID": UNKNOWN["teamID"]})
        base = call("get", "/templates/{templateID}", 200, params={"templateID": "base"}).json
        self.assertEqual(call("get", "/templates/aliases/{alias}", 200, params={"alias": "base"}).json["templateID"], base["templateID"])
        call("get", "/atoll/v1/templates", 200)


class Team(unittest.TestCase):
    def test_metrics(self):
        team = call("get", "/teams", 200).json[0]
        self.assertEqual(team["apiKey"], KEY)
        made = sandbox(60)
        try:
            most = lambda metric: call("get", "/teams/{teamID}/metrics/max", 200, params=team, query={"metric": metric}).json["value"]
            until = time.monotonic() + 30
            while not (most("concurrent_sandboxes") >= 1 and most("sandbox_start_rate") > 0):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.5)
            self.assertTrue(call("get", "/teams/{teamID}/metrics", 200, params=team).json)
            future = {"start": int(time.time()) + 1000}
            self.assertEqual(call("get", "/teams/{teamID}/metrics", 200, params=team, query=future).json, [])
        finally:
            send("DELETE", f"/sandboxes/{made['sandboxID']}")
        call("get", "/teams/{teamID}/metrics/max", 400, params=team, query={"metric": "other"})
        for path in ("/teams/{teamID}/metrics", "/teams/{teamID}/metrics/max"):
            call("get", path, 403, query={"metric": "sandbox_start_rate"})
            call("get", path, 400, params=team, query={"metric": "sandbox_start_rate", "start": 2, "end": 1})

    def test_keys(self):
        made = call("post", "/api-keys", 201, body={"name": "api test"}).json
        params = {"apiKeyID": made["id"]}
        self.assertEqual(call("patch", "/api-keys/{apiKeyID}", 200, params=params, body={"name": "renamed"}).json["name"], "renamed")
        listed = call("get", "/api-keys", 200)
        self.assertIn("renamed", [key["name"] for key in listed.json])
        self.assertNotIn(made["key"].encode(), listed.body)
        call("get", "/teams", 200, key=made["key"])
        call("get", "/teams", 200, key=None, headers={"Authorization": f"Bearer {made['key']}"})
        call("delete", "/api-keys/{apiKeyID}", 204, params=params)
        call("get", "/teams", 401, key=made["key"])

    def test_the_last_key_and_the_hundredth(self):
        _, key = other_project()
        only = call("get", "/api-keys", 200, key=key).json[0]
        call("delete", "/api-keys/{apiKeyID}", 409, params={"apiKeyID": only["id"]}, key=key)
        for _ in range(99):
            self.assertEqual(send("POST", "/api-keys", {"name": "x"}, key=key).status, 201)
        call("post", "/api-keys", 409, body={"name": "x"}, key=key)

    def test_access_tokens_are_gone(self):
        call("post", "/access-tokens", 410, body={"name": "x"})
        call("delete", "/access-tokens/{accessTokenID}", 410)


class Host(unittest.TestCase):
    def test_nodes(self):
        made = sandbox(60)
        try:
            node = call("get", "/nodes", 200).json[0]
            self.assertEqual(node["status"], "ready")
            self.assertGreaterEqual(node["sandboxCount"], 1)
            self.assertGreaterEqual(node["createSuccesses"], 1)
            metrics = node["metrics"]
            with open("/proc/meminfo") as file:
                self.assertEqual(metrics["memoryTotalBytes"], int(file.readline().split()[1]) * 1024)
            self.assertLess(metrics["memoryUsedBytes"], metrics["memoryTotalBytes"])
            self.assertGreaterEqual(metrics["allocatedCPU"], 1)
            self.assertGreater(metrics["disks"][0]["totalBytes"], metrics["disks"][0]["usedBytes"])
        finally:
            send("DELETE", f"/sandboxes/{made['sandboxID']}")
        detail = call("get", "/nodes/{nodeID}", 200, params={"nodeID": node["id"]})
        self.assertTrue(detail.json["cachedBuilds"])
        for secret in (KEY, made["sandboxID"], made["envdAccessToken"]):
            self.assertNotIn(secret.encode(), detail.body)
        self.assertEqual(call("get", "/nodes", 200, query={"clusterID": UNKNOWN["teamID"].replace("4000", "4001")}).json, [])

    def test_own_routes(self):
        self.assertEqual(call("get", "/health", 204, key=None).body, b"")
        call("get", "/atoll/v1/status", 200)
        self.assertTrue(any(tier["works"] for tier in call("get", "/atoll/v1/tiers", 200).json["tiers"]))


class EveryRoute(unittest.TestCase):
    """Refusals that many routes share."""

    def test_without_a_key(self):
        for method, path, operation in DOCUMENT.operations():
            if operation.get("security") != []:
                with self.subTest(f"{method} {path}"):
                    call(method, path, 401, key=None)
                    call(method, path, 401, key="e2b_" + "0" * 40)

    def test_of_something_unknown(self):
        bodies = {"/timeout": {"timeout": 5}, "/connect": {"timeout": 5}, "/api-keys/{apiKeyID}": {"name": "x"}}
        for method, path, operation in DOCUMENT.operations():
            if "404" in operation["responses"] and "{" in path:
                with self.subTest(f"{method} {path}"):
                    body = next((b for end, b in bodies.items() if path.endswith(end)), {}) if "requestBody" in operation else None
                    call(method, path, 404, body=body)

    def test_bodies_that_are_no_json_or_too_large(self):
        for method, path, operation in DOCUMENT.operations():
            if "requestBody" in operation:
                with self.subTest(f"{method} {path}"):
                    call(method, path, 400, raw=b"{no json", headers={"Content-Type": "application/json"})
                    call(method, path, 413, raw=b" " * ((16 << 20) + 1))

    def test_numbers_that_are_none(self):
        made = sandbox(60)
        params = {**UNKNOWN, **made, "teamID": send("GET", "/teams").json[0]["teamID"]}
        try:
            for method, path, operation in DOCUMENT.operations():
                for parameter in operation.get("parameters", []):
                    if parameter["in"] == "query" and parameter["schema"].get("type") == "integer":
                        with self.subTest(f"{method} {path} {parameter['name']}"):
                            message = call(method, path, 400, params=params, query={"metric": "sandbox_start_rate", parameter["name"]: "many"}).json["message"]
                            self.assertIn(parameter["name"], message)
        finally:
            send("DELETE", f"/sandboxes/{made['sandboxID']}")

    def test_what_is_not_built_says_so(self):
        made = sandbox(60)
        try:
            for method, path, operation in DOCUMENT.operations():
                if "x-atoll-not-available" in operation:
                    with self.subTest(f"{method} {path}"):
                        answer = call(method, path, 501, params={**UNKNOWN, **made}, body={} if method != "get" else None)
                        self.assertIn("not available", answer.json["message"])
        finally:
            send("DELETE", f"/sandboxes/{made['sandboxID']}")

    def test_a_method_that_a_path_does_not_know(self):
        for path, item in DOCUMENT.doc["paths"].items():
            with self.subTest(path):
                method = next(m for m in ("PUT", "PATCH", "POST") if m.lower() not in item)
                reply = send(method, re.sub(r"\{(\w+)\}", lambda m: UNKNOWN[m[1]], path))
                self.assertEqual((reply.status, reply.json["code"]), (405, 405))
                self.assertLessEqual({m.upper() for m in item}, set(reply.headers["Allow"].split(", ")))

    def test_replies_may_be_read_by_pages_of_any_origin(self):
        reply = send("GET", "/v2/sandboxes", headers={"Origin": "https://example.com"})
        self.assertEqual(reply.headers["Access-Control-Allow-Origin"], "*")
        exposed = {h.strip().lower() for h in reply.headers["Access-Control-Expose-Headers"].split(",")}
        self.assertLessEqual({"x-next-token", "x-total-running", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"}, exposed)
        asked = send("OPTIONS", "/v2/sandboxes", key=None, headers={"Origin": "https://example.com", "Access-Control-Request-Method": "POST",
                                                                    "Access-Control-Request-Headers": "x-api-key, content-type"})
        self.assertEqual(asked.status, 204)
        self.assertIn("x-api-key", asked.headers["Access-Control-Allow-Headers"])


class Complete(unittest.TestCase):
    def test_every_documented_answer_was_seen(self):
        documented = {(m, p, int(status)) for m, p, operation in DOCUMENT.operations() for status in operation["responses"]}
        self.assertEqual(sorted(documented - SEEN - NOT_TRIED), [])


def load_tests(loader, _, __):
    """In this order: the last one looks back at all."""
    return unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in (Paper, Sandboxes, Templates, Team, Host, EveryRoute, Complete))
