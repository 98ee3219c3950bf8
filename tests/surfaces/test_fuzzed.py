"""Requests that schemathesis makes up from the OpenAPI page, against a server of its own process.

None may be a fault of ours, and every refusal has the body that docs/http.md promises.
"""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from millwright.privacy.access import create_key
from millwright.project import Project
from tests.conftest import csv_of, desk_rows
from tests.serve.tiny import serving
from tests.surfaces.test_access import bearer
from tests.surfaces.test_owasp import SCOPES
from tests.surfaces.test_process import server

EXAMPLES = 25


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


def test_no_request_is_a_fault_of_ours_and_every_refusal_says_why(project):
    _, key = create_key(project, "officer", ["admin", "unmask"])
    tried = set[tuple[str, int]]()
    with server(project) as (process, url):
        page = httpx.get(f"{url}/openapi.json", headers=bearer(key)).json()
        schema = schemathesis.openapi.from_dict(page)
        schema.config.update(base_url=url)
        for found in schema.get_all_operations():
            if found.ok().path != "/metrics":  # it takes nothing, and answers text
                try_out(found.ok(), key, tried)
        assert process.poll() is None
        assert httpx.get(f"{url}/readyz").status_code == 200
    assert {("/v1/predictions", 200), ("/v1/predictions", 422), ("/v1/subjects/consent", 201)} <= tried
    assert {path for path, _ in tried} == set(SCOPES) - {"/metrics"}
    assert not [path for path, status in tried if status in (401, 403)]  # all of them were let in


def try_out(operation: schemathesis.APIOperation, key: str, tried: set[tuple[str, int]]) -> None:
    """Send made-up requests; `tried` gets the route with each answer's status."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def holds(case: schemathesis.Case) -> None:
        answer = case.call(headers=bearer(key))
        assert answer.status_code < 500 or answer.status_code == 503, (case.body, answer.text)
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert error["message"]
            assert set(error) == {"message", "field", "value", "remedy"}
        tried.add((operation.path, answer.status_code))

    holds()
