"""What the server says of itself by `rpc.discover` is right: as OpenRPC, and against what it does."""

from __future__ import annotations

import inspect
import json
import pathlib
import subprocess
from typing import Any, Dict, Iterator, List

import jsonschema
import pytest
import referencing
from support import ROOT, Server

import shaveet
from shaveet import CallError, InvalidArguments, UnknownChannel, UnknownClient
from shaveet.api import Api

HERE = pathlib.Path(__file__).parent

PARAMETERS: Dict[str, Any] = {
    "after": 0,
    "channel": "room",
    "channel_name": "room",
    "channels": {"room": ["alice"]},
    "client_id": "alice",
    "data": {"text": "hello"},
    "exclude": ["bob"],
    "id": 1,
    "limit": 10,
    "message": "hello",
    "options": {},
    "prefix": "r",
    "since": None,
    "system": False,
}
LONG = "x" * 70_000
OTHERWISE = {("broadcast", "channels"): ["room", "hall"]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[shaveet.Shaveet]:
    with shaveet.Shaveet(server.url, retry_for=0) as made:
        made.create_client("alice")
        made.subscribe("alice", "room")
        yield made


@pytest.fixture(scope="module")
def document(server: Server) -> Dict[str, Any]:
    found: Dict[str, Any] = shaveet.Shaveet(server.url).call("rpc.discover", [])
    return found


def methods(document: Dict[str, Any]) -> Dict[str, Any]:
    return {method["name"]: method for method in document["methods"]}


def arguments(method: Dict[str, Any]) -> Dict[str, Any]:
    """Good ones, for all parameters."""
    names = [parameter["name"] for parameter in method["params"]]
    return {name: OTHERWISE.get((method["name"], name), PARAMETERS[name]) for name in names}


def fits(document: Dict[str, Any], schema: Dict[str, Any], value: Any) -> None:
    """Raises if the value has not that shape, or members of which the description does not know."""
    strict = json.loads(json.dumps({**schema, "components": document["components"]}))
    for shape in strict["components"]["schemas"].values():
        if "properties" in shape:
            shape["additionalProperties"] = False
    jsonschema.Draft7Validator(strict).validate(value)


def test_it_is_openrpc(document: Dict[str, Any]) -> None:
    """By the schemas of those who made it."""
    script = """
        const read = (name) => { const found = require(name); return found.default ?? found; };
        console.log(JSON.stringify(["@open-rpc/meta-schema", "@json-schema-tools/meta-schema"].map(read)));
    """
    done = subprocess.run(["node", "-e", script], cwd=HERE, capture_output=True, text=True, check=True)
    of_documents, of_schemas = json.loads(done.stdout)
    resource = referencing.Resource.from_contents(of_schemas, referencing.jsonschema.DRAFT7)
    names = ["https://meta.json-schema.tools", "https://meta.json-schema.tools/"]
    registry = referencing.Registry().with_resources((name, resource) for name in names)
    validator = jsonschema.Draft7Validator({**of_documents, "$schema": None}, registry=registry)
    assert [error.message for error in validator.iter_errors(document)] == []
    # The judge is one: it finds what is wrong.
    wrong = json.loads(json.dumps(document))
    wrong["methods"][0]["params"][0]["schema"] = 7
    wrong["methods"][1]["errors"] = [{"code": "x", "message": "y"}]
    assert len(list(validator.iter_errors(wrong))) >= 2
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_every_method_gives_what_it_says(document: Dict[str, Any], client: shaveet.Shaveet) -> None:
    for name, method in methods(document).items():
        given = arguments(method)
        for parameter in method["params"]:
            fits(document, parameter["schema"], given[parameter["name"]])
        for params in (given, list(given.values())):
            client.create_client("alice")
            client.subscribe("alice", "room")
            fits(document, method["result"]["schema"], client.call(name, params))


def test_only_what_is_optional_can_be_left_out(document: Dict[str, Any], client: shaveet.Shaveet) -> None:
    for name, method in methods(document).items():
        given = arguments(method)
        for parameter in method["params"]:
            client.create_client("alice")
            rest = {key: value for key, value in given.items() if key != parameter["name"]}
            if parameter["required"]:
                with pytest.raises(InvalidArguments, match=parameter["name"]):
                    client.call(name, rest)
            else:
                client.call(name, rest)
        with pytest.raises(InvalidArguments):
            client.call(name, {**given, "one_more": 1})
        if "options" in given:
            with pytest.raises(InvalidArguments, match="one_more"):
                client.call(name, {**given, "options": {"one_more": 1}})


def test_the_errors_are_those_it_names(document: Dict[str, Any], client: shaveet.Shaveet) -> None:
    kinds = {-32602: InvalidArguments, -32001: UnknownClient, -32002: UnknownChannel, -32003: shaveet.LimitReached}
    # A server alone has no broker that could be away (tests/it/nodes.rs).
    elsewhere = {-32004}
    for name, method in methods(document).items():
        named = {error["code"] for error in method["errors"]} - elsewhere
        assert named <= set(kinds), name
        given = arguments(method)
        seen: List[int] = []
        wrong = {"client_id": ["nobody " + name, LONG], "channel": ["nowhere " + name, LONG], "channel_name": [LONG]}
        wrong.update(prefix=[LONG], channels=[{"room": ["nobody"]}, {LONG: []}, [LONG]])
        attempts = [{**given, key: value} for key in given for value in wrong.get(key, [])]
        for params in [*attempts, {"one_more": 1}]:
            client.create_client("alice")
            client.subscribe("alice", "room")
            try:
                client.call(name, params)
            except CallError as error:
                seen.append(error.code)
        assert set(seen) == named, name


def test_the_python_package_has_all_of_it(document: Dict[str, Any]) -> None:
    other = {"system.list_methods": "list_methods", "system.describe": "describe"}
    for name, method in methods(document).items():
        if name == "rpc.discover":
            continue
        has = list(inspect.signature(getattr(Api, other.get(name, name))).parameters)[1:]
        wants = [parameter["name"] for parameter in method["params"] if parameter["name"] != "options"]
        assert has[: len(wants)] == wants, name


def test_the_readme_knows_every_method(document: Dict[str, Any]) -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in methods(document) if f"`{name}`" not in readme] == []


def test_the_page_about_the_api_is_current(document: Dict[str, Any]) -> None:
    done = subprocess.run(
        [ROOT / "docs/api/generate"], input=json.dumps(document), capture_output=True, text=True, check=True
    )
    page = ROOT / "docs/api/README.md"
    assert page.read_text() == done.stdout, "it is not: docs/api/generate < DOCUMENT > docs/api/README.md"
