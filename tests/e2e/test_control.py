"""The control plane by plain requests: shapes, statuses and refusals that clients depend on."""
import json
import time
import unittest
import urllib.parse

from common import URL, rest, working_tiers


class Sandboxes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = []
        for i in range(3):
            status, body, _ = rest("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, "metadata": {"n": str(i), "k y": "v&1"}})
            assert status == 201, body
            cls.made.append(body["sandboxID"])

    @classmethod
    def tearDownClass(cls):
        for sandbox in cls.made:
            rest("DELETE", f"/sandboxes/{sandbox}")

    def test_create_has_what_clients_read(self):
        status, body, _ = rest("POST", "/sandboxes", {"templateID": "base", "timeout": 60, "secure": True, "allow_internet_access": True})
        self.made.append(body["sandboxID"])
        self.assertEqual(status, 201)
        self.assertRegex(body["sandboxID"], r"^i[a-z0-9]{20}$")
        self.assertEqual((body["envdVersion"], body["clientID"], body["domain"]), ("0.6.13", "6532622b", None))
        self.assertRegex(body["envdAccessToken"], r"^[0-9a-f]{64}$")

    @staticmethod
    def encoded(pairs):
        """As the JavaScript client sends it: each part, then the whole, then once more as a query."""
        inner = "&".join(urllib.parse.quote(k) + "=" + urllib.parse.quote(v) for k, v in pairs.items())
        return urllib.parse.quote(inner, safe="=&")

    def test_pages_end_without_a_token(self):
        query = urllib.parse.urlencode({"metadata": self.encoded({"k y": "v&1"}), "limit": 2})
        status, first, headers = rest("GET", f"/v2/sandboxes?{query}")
        self.assertEqual((status, len(first)), (200, 2))
        token = headers["X-Next-Token"]
        self.assertTrue(token)
        status, second, headers = rest("GET", f"/v2/sandboxes?{query}&nextToken={token}")
        self.assertEqual((status, len(second)), (200, 1))
        self.assertIsNone(headers["X-Next-Token"])
        self.assertEqual({s["sandboxID"] for s in first + second}, set(self.made[:3]))
        self.assertEqual(rest("GET", "/v2/sandboxes?nextToken=garbage")[0], 400)

    def test_unknown_filters_find_nothing(self):
        self.assertEqual(rest("GET", "/v2/sandboxes?metadata=n%3Dnothing")[1], [])
        self.assertEqual(rest("GET", "/v2/sandboxes?state=paused")[1], [])

    def test_timeouts(self):
        sandbox = self.made[0]
        end = lambda: rest("GET", f"/sandboxes/{sandbox}")[1]["endAt"]
        before = end()
        self.assertEqual(rest("POST", f"/v2/sandboxes/{sandbox}/connect", {"timeout": 10})[0], 200)
        self.assertEqual(end(), before, "connect must never shorten")
        self.assertEqual(rest("POST", f"/sandboxes/{sandbox}/timeout", {"timeout": 100})[0], 204)
        self.assertLess(end(), before)
        self.assertEqual(rest("POST", f"/sandboxes/{sandbox}/connect", {"timeout": 500})[0], 200)
        self.assertGreater(end(), before)

    def test_ids_with_the_old_suffix(self):
        self.assertEqual(rest("GET", f"/sandboxes/{self.made[1]}-6532622b")[0], 200)

    def test_metrics_and_logs(self):
        _, new, _ = rest("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60})
        self.made.append(new["sandboxID"])
        self.assertTrue(rest("GET", f"/sandboxes/{new['sandboxID']}/metrics")[1], "right after the start")
        metrics = rest("GET", f"/sandboxes/{self.made[0]}/metrics")[1]
        self.assertTrue(metrics)
        for field in ("timestamp", "timestampUnix", "cpuCount", "cpuUsedPct", "memUsed", "memTotal", "memCache", "diskUsed", "diskTotal"):
            self.assertIn(field, metrics[0])
        self.assertEqual(metrics[0]["memTotal"], 1 << 30)
        status, logs, _ = rest("GET", f"/sandboxes/{self.made[0]}/logs")
        self.assertEqual(status, 200)
        for entry in logs["logs"]:
            self.assertLessEqual({"level", "logger"}, set(json.loads(entry["line"])))
        self.assertEqual(rest("GET", f"/v2/sandboxes/{self.made[0]}/logs")[0], 200)
        status, both, _ = rest("GET", f"/sandboxes/metrics?sandbox_ids={self.made[0]},{self.made[1]}")
        self.assertEqual(status, 200)
        self.assertIn(self.made[0], both["sandboxes"])


class Templates(unittest.TestCase):
    def test_both_listings_say_what_a_sandbox_gets(self):
        status, own, _ = rest("GET", "/atoll/v1/templates")
        self.assertEqual(status, 200)
        base = next(t for t in own["templates"] if t["name"] == "base")
        self.assertLessEqual({"templateID", "buildID", "tier", "cpuCount", "memoryMB", "diskSizeMB", "createdAt"}, set(base))
        status, listed, _ = rest("GET", "/templates")
        self.assertEqual(status, 200)
        same = next(t for t in listed if t["names"] == ["base"])
        for field in ("templateID", "cpuCount", "memoryMB", "diskSizeMB", "createdAt"):
            self.assertEqual(same[field], base[field], field)


class Refusals(unittest.TestCase):
    def refused(self, answer, status, part=""):
        self.assertEqual(answer[0], status, answer[1])
        self.assertEqual(answer[1]["code"], status)
        self.assertIn(part, answer[1]["message"])

    def test_keys(self):
        self.refused(rest("GET", "/v2/sandboxes", key=None), 401)
        self.refused(rest("GET", "/v2/sandboxes", key="e2b_" + "0" * 40), 401)
        self.refused(rest("POST", "/v2/sandboxes", {"templateID": "base"}, key="e2b_wrong"), 401)

    def test_bodies(self):
        create = lambda body=None, **k: rest("POST", "/v2/sandboxes", body, **k)
        self.refused(create({"templateID": "no-such-template"}), 404, "no-such-template")
        self.refused(create({}), 400, "templateID")
        self.refused(create({"templateID": 5}), 400, "templateID")
        self.refused(create({"templateID": "base", "timeout": -1}), 400, "timeout")
        self.refused(create({"templateID": "base", "timeout": 10**12}), 400, "timeout")
        self.refused(create({"templateID": "base", "metadata": {"atoll.secret": "x"}}), 400, "atoll.")
        self.refused(create({"templateID": "base", "metadata": {"atoll.tier": "bare-metal"}}), 400, "tier")
        self.refused(create({"templateID": "base", "network": {"allowOut": ["example.com"]}}), 400, "")
        self.refused(create(raw=b"{not json"), 400, "JSON")
        self.refused(create(raw=b"[" * 100000), 400)
        self.refused(create({"templateID": "../../etc"}), 404)
        self.refused(create({"templateID": "base", "envVars": {"A": "x" * 600_000}}), 400)

    def test_a_body_over_the_limit(self):
        answer = rest("POST", "/v2/sandboxes", raw=b'{"templateID":"' + b"x" * (17 << 20) + b'"}')
        self.refused(answer, 413)

    def test_unknown_routes_and_ids(self):
        self.refused(rest("GET", "/nothing/here"), 404)
        self.refused(rest("GET", "/sandboxes/iaaaaaaaaaaaaaaaaaaaa"), 404)
        self.refused(rest("DELETE", "/sandboxes/iaaaaaaaaaaaaaaaaaaaa"), 404)
        self.refused(rest("GET", "/sandboxes/..%2F..%2Fetc%2Fpasswd"), 404)
        self.refused(rest("PUT", "/v2/sandboxes"), 405)

    def test_a_tier_that_is_named_and_cannot_be_had_is_refused(self):
        answer = rest("POST", "/v2/sandboxes", {"templateID": "base", "metadata": {"atoll.tier": "microvm"}})
        if answer[0] == 201:
            rest("DELETE", f"/sandboxes/{answer[1]['sandboxID']}")
            self.skipTest("KVM works here, and so does the tier microvm")
        self.assertIn(answer[0], (400, 501, 503))
        self.assertIn("microvm", answer[1]["message"])

    def test_what_does_not_exist_is_not_ignored(self):
        status, body, _ = rest("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60})
        try:
            for path in ("pause", "fork", "snapshots"):
                answer = rest("POST", f"/sandboxes/{body['sandboxID']}/{path}", {})
                self.assertEqual(answer[0], 501, path)
        finally:
            rest("DELETE", f"/sandboxes/{body['sandboxID']}")


class Idempotency(unittest.TestCase):
    def test_the_same_key_is_the_same_sandbox(self):
        headers = {"Idempotency-Key": f"check-{time.time_ns()}"}
        body = {"templateID": "base", "timeout": 60}
        first = rest("POST", "/v2/sandboxes", body, headers=headers)
        second = rest("POST", "/v2/sandboxes", body, headers=headers)
        self.assertEqual((first[0], second[0]), (201, 201))
        self.assertEqual(first[1]["sandboxID"], second[1]["sandboxID"])
        self.assertEqual(rest("POST", "/v2/sandboxes", dict(body, timeout=61), headers=headers)[0], 422)
        rest("DELETE", f"/sandboxes/{first[1]['sandboxID']}")


class Own(unittest.TestCase):
    def test_health_and_tiers(self):
        self.assertEqual(rest("GET", "/health", key=None)[0], 204)
        self.assertIn("container", working_tiers())
        self.assertEqual(rest("GET", "/atoll/v1/status")[0], 200)

    def test_templates(self):
        status, templates, _ = rest("GET", "/templates")
        self.assertEqual(status, 200)
        self.assertTrue(any("base" in t["aliases"] or "base" in str(t["names"]) for t in templates))
        self.assertEqual(rest("GET", "/templates/aliases/base")[0], 200)
        self.assertEqual(rest("GET", "/templates/aliases/none-such")[0], 404)
