"""docs/api/openapi.json as a judge of replies."""
import copy
import json
import re
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

TOP = Path(__file__).resolve().parents[2]
METHODS = ("get", "put", "post", "delete", "patch")


def strict(node):
    """Members that the document does not name are failures, so that it cannot fall behind."""
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        for child in node.values():
            strict(child)
    elif isinstance(node, list):
        for child in node:
            strict(child)
    return node


class Document:
    def __init__(self):
        self.doc = json.loads((TOP / "docs" / "api" / "openapi.json").read_text())
        resource = Resource(contents=strict(copy.deepcopy(self.doc)), specification=DRAFT202012)
        self.registry = Registry().with_resource("urn:api", resource)

    def operations(self):
        for path, item in self.doc["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item[method]

    def resolve(self, node):
        while "$ref" in node:
            found = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def problems(self, schema, value):
        """Texts; none = the value fits. `schema` is a part of the document."""
        rooted = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        validator = Draft202012Validator(strict(rooted), registry=self.registry)
        return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]

    def check_request(self, method, path, body):
        content = self.doc["paths"][path][method].get("requestBody")
        assert content, f"{method} {path}: the document knows no body"
        found = self.problems(content["content"]["application/json"]["schema"], body)
        assert not found, f"{method} {path}: what the test sends is not what the document describes: {found}"

    def check_reply(self, method, path, reply):
        """Status, headers and body are those that the document promises."""
        where = f"{method} {path} -> {reply.status}"
        responses = self.doc["paths"][path][method]["responses"]
        assert str(reply.status) in responses, f"{where}: not documented; body {reply.body[:300]!r}"
        described = self.resolve(responses[str(reply.status)])
        for name, header in described.get("headers", {}).items():
            header = self.resolve(header)
            value = reply.headers.get(name)
            assert value is not None or not header.get("required"), f"{where}: header {name} is missing"
            if value is not None:
                typed = int(value) if header["schema"]["type"] == "integer" else value
                assert not self.problems(header["schema"], typed), f"{where}: header {name}: {value}"
        if "content" not in described:
            assert reply.body == b"", f"{where}: a body where none is described: {reply.body[:200]!r}"
            return
        assert reply.headers.get("Content-Type") == "application/json", f"{where}: {reply.headers.get('Content-Type')}"
        found = self.problems(described["content"]["application/json"]["schema"], reply.json)
        assert not found, f"{where}: {found}; body {reply.body[:600]!r}"
        if reply.status >= 400:
            assert reply.json["code"] == reply.status, f"{where}: the body says code {reply.json['code']}"


def routes_of_source():
    """(method, path with {} for each parameter, needs a key, is not built) of src/control/routes.cpp."""
    text = (TOP / "src" / "control" / "routes.cpp").read_text()
    row = re.compile(r'\{"([A-Z]+)", "(/[^"]*)", (kKey|Access::open), (\w+)')
    found = [(m.lower(), p, access == "kKey", handler.startswith("not_built")) for m, p, access, handler in row.findall(text)]
    table = text[text.index("kRoutes[] = {"):text.index("\n};")]
    assert len(found) == table.count('    {"'), "a row of routes.cpp is written in a way that this test cannot read"
    return found
