"""The OpenAPI document is true: schemathesis sends generated requests to a real server."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from served_store import Maker, running

from brmrs.service.endpoints import router
from brmrs.store.artifacts import ArtifactStore

EXAMPLES = int(os.environ.get("BRMRS_FUZZ", "15"))  # per endpoint


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")
    Maker(store, "a-ease", seed=1).write("ease")
    Maker(store, "b-served").write()
    with running(store) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Any:
    """The schema, with known ids among the generated values."""
    content = client.get("/openapi.json").json()
    known = {"user": ["U00001"], "asin": ["A/00001", "A/00005"], "item": ["A/00002"]}
    for operations in content["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in known:
                    parameter["examples"] = {
                        str(place): {"value": value}
                        for place, value in enumerate(known[parameter["name"]])
                    }
    loaded = schemathesis.openapi.from_dict(content)
    loaded.config.update(base_url=str(client.base_url))
    return loaded


OPERATIONS = [
    (route.path_format, method)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: value)
def test_no_status_of_500_and_none_that_is_undocumented(
    document: Any, path: str, method: str
) -> None:
    operation = document[path][method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(timeout=30)

    ask()


def test_every_endpoint_documents_its_errors(client: httpx.Client) -> None:
    content = client.get("/openapi.json").json()
    assert len(content["paths"]) == 14
    for path, operations in content["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert {"401", "421", "422", "503"} <= operation["responses"].keys()
            error = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert error["$ref"].endswith("/Error")
