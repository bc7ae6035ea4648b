"""docs/api.md kept true: its routes are the app's, its errors are what the dialects say, its examples run."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from starlette.routing import Route

from openglm.dialects import anthropic, openai, zhipu
from openglm.errors import (
    BudgetExhausted,
    Conflict,
    DuplicateRequest,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotOffered,
    Overloaded,
    PaymentRequired,
    PlanRefused,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    Unauthorized,
    UnsafeContent,
    UpstreamFailure,
)
from openglm.maas.gateway import create_app

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
ERRORS = {
    "no key": Unauthorized("", reason="missing"),
    "a garbled key": Unauthorized("", reason="malformed"),
    "a signed token that has run out": Unauthorized("", reason="expired"),
    "a wrong or revoked key": Unauthorized(""),
    "the key may not": Forbidden(""),
    "an unknown model": ModelNotFound(""),
    "an unknown id": NotFound(""),
    "not offered": NotOffered(""),
    "a missing field": InvalidRequest("", code="missing_field"),
    "a field that does not fit": InvalidRequest("", code="invalid_value"),
    "fields that do not go together": InvalidRequest("", code="unsupported_combination"),
    "a prompt that is too long": PromptTooLong(""),
    "a body that is too large": RequestTooLarge(""),
    "unsafe words": UnsafeContent(""),
    "an id that was used": DuplicateRequest(""),
    "a state that does not allow it": Conflict(""),
    "no money": PaymentRequired(""),
    "a budget that is spent": BudgetExhausted(""),
    "the plan's five hours are used up": PlanRefused("", reason="5h"),
    "the plan's week or month is": PlanRefused("", reason="week"),
    "a plan that has run out": PlanRefused("", reason="expired"),
    "no plan": PlanRefused("", reason="none"),
    "a model outside the plan": PlanRefused("", reason="model"),
    "too many answers in flight": RateLimited("", kind="concurrency"),
    "too many requests or tokens a minute": RateLimited("", kind="requests"),
    "the model's server fails": UpstreamFailure(""),
    "the model's server is full": Overloaded(""),
}


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def table(text: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def told_routes() -> set[tuple[str, str]]:
    """(method, path) of every row; a path of which any method is not offered has the method *."""
    told = set()
    for heading, text in re.findall(r"^### ([^\n]*)\n(.*?)(?=^### |\Z)", section("Routes"), re.M | re.S):
        if heading == "Not offered":
            told |= {("*", path) for row in table(text) for path in re.findall(r"`(/[^`]*)`", row[1])}
            continue
        bases = re.findall(r"`([^`]+)`", heading) or [""]
        for methods, paths, _ in table(text):
            told |= {
                (method, base + path)
                for base, method, path in itertools.product(
                    bases, re.findall(r"`(\w+)`", methods), re.findall(r"`(/[^`]*)`", paths) or [""]
                )
            }
    return told


def real_routes(app) -> set[tuple[str, str]]:
    real = set()
    for route in app.routes:
        if isinstance(route, Route):
            path = re.sub(r"\{rest:path\}", "*", route.path)
            path = re.sub(r"\{(\w+):path\}", r"{\1}", path)
            methods = (route.methods or set()) - {"HEAD"}
            real |= {("*" if len(methods) > 3 else method, path) for method in methods}
    return real - {("GET", "/api/anthropic")}  # with and without its last slash


def test_the_routes_of_the_page_are_the_routes_of_the_app(town):
    assert told_routes() == real_routes(create_app(town.platform))


@pytest.mark.parametrize("row", table(section("Errors").partition("### Headers")[0]), ids=lambda row: row[0])
def test_an_error_comes_out_as_the_page_says(row):
    happened, *told = row
    error = ERRORS[happened]
    in_openai, in_zhipu = openai.encode_error(error), zhipu.encode_error(error)
    in_anthropic = anthropic.encode_error(error)
    assert [cell.replace("`", "") for cell in told] == [
        f"{in_openai.status} {in_openai.body['error']['code']}",
        f"{in_zhipu.status} {in_zhipu.body['error']['code']}",
        f"{in_anthropic.status} {in_anthropic.body['error']['type']}",
    ]


def test_the_page_names_every_error_that_it_knows():
    assert {row[0] for row in table(section("Errors").partition("### Headers")[0])} == set(ERRORS)


@pytest.mark.parametrize("package", ["openai", "zai", "zhipuai", "anthropic"])
def test_an_example_of_the_page_runs(town, environment, package):
    (code,) = [
        one for one in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if f"from {package} " in one
    ]
    key = town.move_in(f"page-{package}").key
    code = code.replace("http://HOST", town.url).replace('"KEY"', repr(key)).replace("glm-4.5-air", "glm")
    python = environment(package)
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
