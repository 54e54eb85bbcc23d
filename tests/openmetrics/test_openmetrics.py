"""What `/metrics` says can be read by Prometheus' own parsers: the strict one of OpenMetrics, and that of the older text."""

from __future__ import annotations

import urllib.request
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format
from support import Server

import shaveet

OPEN = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,*/*;q=0.1"
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

Sample = Tuple[str, Tuple[Tuple[str, str], ...]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One through which something has gone: clients, a message, an answer, a refusal."""
    running = Server("--max-channels", "2")
    with shaveet.Shaveet(running.url) as client:
        key = client.create_client("alice")
        client.subscribe("alice", "room")
        client.publish("room", "hello", sender="bob")
        with pytest.raises(shaveet.CallError):
            client.publish("hall", "hello", sender="bob")
    read(running, f"/message_updates?callback=cb&client_id=alice_!!_{key}")
    read(running, "/ready")
    yield running
    running.stop()


def read(server: Server, path: str = "/metrics", accept: str = "*/*") -> Tuple[str, str]:
    request = urllib.request.Request(server.url.rstrip("/") + path, headers={"Accept": accept})
    with _open(request) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(families: List[Any]) -> Dict[Sample, float]:
    every = [sample for family in families for sample in family.samples]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in every}
    assert len(found) == len(every), "no sample comes twice"
    return found


def test_open_metrics_is_read_by_the_strict_parser(server: Server) -> None:
    content_type, text = read(server, accept=OPEN)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = list(open_metrics(text))
    for family in families:
        assert family.documentation.endswith("."), family
        assert family.type in ("counter", "gauge", "histogram"), family
        unit = family.name.rsplit("_", 1)[-1]
        assert family.unit == (unit if unit in ("seconds", "bytes") else ""), family
        assert family.samples, family
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    found = samples(families)
    assert found["shaveet_clients", ()] == 1
    assert found["shaveet_published_messages_total", (("kind", "application"),)] == 1
    assert found["shaveet_deliveries_total", (("transport", "poll"),)] == 1
    assert found["shaveet_refusals_total", (("limit", "max-channels"),)] == 1
    assert found["shaveet_readiness_checks_total", (("result", "ready"),)] == 1
    assert found["shaveet_turn_duration_seconds_bucket", (("le", "+Inf"),)] > 0


def test_a_text_that_was_cut_is_none(server: Server) -> None:
    _, text = read(server, accept=OPEN)
    with pytest.raises(ValueError):
        list(open_metrics(text[: text.rindex("# EOF")]))


def test_the_older_text_says_the_same(server: Server) -> None:
    content_type, text = read(server)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_format(text)}
    strict = {family.name: family for family in open_metrics(read(server, accept=OPEN)[1])}
    assert {name: family.type for name, family in families.items()} == {name: family.type for name, family in strict.items()}
    assert samples(list(families.values())).keys() == samples(list(strict.values())).keys()
    assert {name: family.documentation for name, family in families.items()} == {
        name: family.documentation for name, family in strict.items()
    }
