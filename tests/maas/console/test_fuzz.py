"""Schemathesis against the whole console: no failure of ours, and answers as the document says."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.maas.console.conftest import Browser

EXAMPLES = 200 if os.environ.get("OPENGLM_SOAK") == "1" else 20
# Not fuzzed: what ends the session that the fuzzing needs, and what costs an argon2 hash each time.
NOT = r"^/(logout|login|sign-up|me/password|sessions|platform/users|oidc/.*|me/identities/.*)"


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.slow
def test_no_input_makes_the_console_fail(ann: Browser):
    loaded = schemathesis.openapi.from_dict(ann.get("openapi.json").json()).exclude(path_regex=NOT)
    loaded.config.update(base_url=str(ann.base_url).rstrip("/"))
    session = {"x-csrf-token": ann.headers["x-csrf-token"], "origin": ann.headers["origin"]}
    tried = 0
    for found in loaded.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def run(case):
            nonlocal tried
            if "org_id" in case.path_parameters:
                case.path_parameters["org_id"] = ann.state["organisations"][0]["id"]
            case.call_and_validate(headers=session, cookies=dict(ann.cookies), checks=CHECKS)
            tried += 1

        run()
    assert tried > 40 * EXAMPLES
