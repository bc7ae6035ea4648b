"""What developers do in the console: keys, the playground in every dialect, files, batches, training, knowledge."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.web.console_town import SIZES, Town, button, housed, open_page, row, settled

SCRIPT = json.dumps({"words": ["Bears ", "sleep."], "prompt": 12})


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with housed(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture
def context(browser: Browser, town: Town) -> Iterator[BrowserContext]:
    complaints: list[str] = []
    context = town.visit(browser, complaints)
    yield context
    context.close()
    assert complaints == []


def upload(page: Page, press: str, *files: tuple[str, bytes]) -> None:
    with page.expect_file_chooser() as chooser:
        button(page, press).click()
    chooser.value.set_files([{"name": name, "mimeType": "text/plain", "buffer": data} for name, data in files])


def test_a_key_is_shown_once_works_within_its_scope_and_ends(context: BrowserContext, town: Town) -> None:
    page = open_page(context, "keys")
    button(page, "New key").click()
    page.get_by_label("Name", exact=True).fill("search")
    page.get_by_label("Models", exact=True).fill("glm")
    page.get_by_label("Chat", exact=True).check()
    page.get_by_label("Budget", exact=True).fill("2.50")
    button(page, "Make the key").click()
    secret = page.get_by_label("Your new key", exact=True).last.inner_text().strip()
    assert town.ask("glm", secret, words=["ok"]).is_success
    assert town.ask("glm-air", secret).status_code == 403
    button(page, "Done").click()
    expect(row(page, "search")).to_contain_text("glm, Chat")
    expect(page.get_by_text(secret)).to_have_count(0)
    budgets = town.ann.get(f"{town.ann.org}/budgets").json()
    assert [(one["limit"], one["period"]) for one in budgets] == [("2.5", "month")]
    button(page, "Revoke: search").click()
    button(page, "Revoke").click()
    expect(row(page, "search")).to_have_count(0)
    assert town.ask("glm", secret).status_code == 401
    page.get_by_role("switch").check(force=True)
    expect(row(page, "search")).to_contain_text("revoked")


def test_what_a_form_gets_wrong_is_said_in_the_form_and_nothing_typed_is_lost(context: BrowserContext) -> None:
    page = open_page(context, "keys")
    button(page, "New key").click()
    page.get_by_label("Name", exact=True).fill("office")
    page.get_by_label("From addresses").fill("ten.0.0.0/8")
    button(page, "Make the key").click()
    expect(page.get_by_role("alert")).to_contain_text("ten.0.0.0/8")
    expect(page.get_by_label("Name", exact=True)).to_have_value("office")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", ["OpenAI chat", "OpenAI Responses", "Anthropic", "Zhipu"])
def test_the_playground_asks_in_every_dialect_and_leads_to_the_bill(
    context: BrowserContext, dialect: str, stream: bool
) -> None:
    page = open_page(context, "playground?model=glm")
    page.get_by_text(dialect, exact=True).click()
    page.get_by_label("Message").fill(SCRIPT)
    page.get_by_role("switch", name="Stream").set_checked(stream, force=True)
    button(page, "Send").click()
    expect(page.locator(".said")).to_have_text("Bears sleep.")
    expect(page.locator(".answered")).to_contain_text("200")
    page.get_by_role("tab", name="Raw").click()
    raw = page.get_by_label("Raw").last.inner_text()
    assert raw.startswith(("data:", "event:", ": keep-alive")) == stream  # comments where it takes long
    page.get_by_role("tab", name="Headers").click()
    expect(page.get_by_label("Headers").last).to_contain_text("x-request-id")
    page.get_by_role("link", name="What it cost").click()
    expect(page.get_by_label("How the price came about")).to_contain_text("12 uncached input")
    expect(page.locator(".facts", has_text="Cost")).to_contain_text("¥0.00002")


def test_whoever_signs_in_next_in_a_tab_asks_with_a_key_of_their_own(
    context: BrowserContext, town: Town
) -> None:
    page = open_page(context, "playground?model=glm")
    button(page, "Send").click()
    expect(page.locator(".answered")).to_contain_text("200")
    invited = town.ann.post(f"{town.ann.org}/invitations", json={"email": "bob@example.com", "role": "developer"})
    bob = type(town.ann)(town.url).sign_up("bob@example.com", invitation=invited.json()["token"])
    context.clear_cookies()
    context.add_cookies([{"name": name, "value": value, "url": town.url} for name, value in bob.cookies.items()])
    page.reload()
    settled(page)
    button(page, "Send").click()
    page.get_by_role("link", name="What it cost").click()
    expect(page.get_by_label("How the price came about")).to_be_visible()
    (newest,) = town.ann.get(f"{town.ann.org}/usage/requests?order=newest&limit=1").json()["rows"]
    assert newest["user_id"] == bob.user_id


def test_the_playground_shows_a_refusal_as_it_came_and_refuses_what_is_no_json(context: BrowserContext) -> None:
    page = open_page(context, "playground?model=glm")
    body = page.get_by_label("Body of the request")
    body.fill('{"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}')
    button(page, "Send").click()
    expect(page.locator(".answered")).to_contain_text("404")
    expect(page.locator(".said")).to_contain_text("model_not_found")
    body.fill('{"model": ')
    expect(page.get_by_role("alert")).to_contain_text("no JSON")
    expect(button(page, "Send")).to_be_disabled()


def test_the_code_beside_the_playground_runs_with_the_official_clients(
    context: BrowserContext, town: Town
) -> None:
    page = open_page(context, "playground?model=glm")
    page.get_by_label("Message").fill(SCRIPT)
    page.get_by_role("switch", name="Stream").set_checked(False, force=True)
    for dialect, language in (
        ("OpenAI chat", "Python: openai"),
        ("OpenAI Responses", "Python: openai"),
        ("Anthropic", "Python: anthropic"),
    ):
        page.get_by_text(dialect, exact=True).click()
        page.get_by_role("tab", name=language).click()
        code = page.get_by_label(language, exact=True).last.inner_text()
        said = run(code, town.key)
        assert "Bears sleep." in said, said
    page.get_by_text("Zhipu", exact=True).click()
    page.get_by_role("tab", name="Python: zai-sdk").click()
    code = page.get_by_label("Python: zai-sdk", exact=True).last.inner_text()
    compile(code, "snippet.py", "exec")  # tests/sdk has the package, in an environment of its own
    assert f'base_url="{town.url}/api/paas/v4/"' in code


def run(code: str, key: str) -> str:
    """Run a snippet in this process, as its reader would, and give what it prints."""
    printed = io.StringIO()
    os.environ["OPENGLM_API_KEY"] = key
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "snippet.py", "exec"), {})
    finally:
        del os.environ["OPENGLM_API_KEY"]
    return printed.getvalue()


def test_a_file_is_uploaded_runs_as_a_batch_and_its_result_comes_back(context: BrowserContext) -> None:
    question = {"model": "glm", "messages": [{"role": "user", "content": SCRIPT}]}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": question}
    page = open_page(context, "files")
    upload(page, "Upload", ("questions.jsonl", json.dumps(line).encode()))
    expect(row(page, "questions.jsonl")).to_contain_text("Batch")
    page.goto("/console/batches")
    settled(page)
    button(page, "New batch").click()
    button(page, "Start the batch").click()
    expect(row(page, "/v1/chat/completions")).to_contain_text("1 of 1")
    with page.expect_download() as download:
        button(page, "Result").click()
    assert "Bears sleep." in Path(download.value.path()).read_text()
    page.goto("/console/files")
    settled(page)
    button(page, "Delete the file: questions.jsonl").click()
    button(page, "Delete the file").click()
    expect(row(page, "questions.jsonl")).to_have_count(0)


def test_a_training_shows_its_curve_while_it_grows_and_ends_in_a_model_to_try(
    context: BrowserContext, town: Town
) -> None:
    talks = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]}
        for n in range(12)
    ]
    page = open_page(context, "files")
    page.get_by_label("Purpose").select_option("fine-tune")
    upload(page, "Upload", ("talks.jsonl", "\n".join(map(json.dumps, talks)).encode()))
    expect(row(page, "talks.jsonl")).to_be_visible()
    page.goto("/console/models")
    expect(page.locator(".card", has_text="tiny").first).to_contain_text("ready")
    page.goto("/console/fine-tuning")
    settled(page)
    button(page, "New job").click()
    page.get_by_label("Base model").select_option("tiny")
    page.get_by_label("Name of the new model").fill("kind")
    page.get_by_label("Epochs").fill("2")
    button(page, "Start training").click()
    town.open_gate(3)
    expect(page.get_by_text(re.compile("step 3 of"))).to_be_visible()
    button(page, "Show as a table").click()
    expect(page.locator(".chart tbody tr")).to_have_count(3)
    town.open_gate(10**9)
    expect(page.get_by_role("link", name="Try it")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^ft:tiny:kind:"))).to_be_visible()
    assert page.locator(".chart tbody tr").count() > 3


def test_a_knowledge_base_takes_documents_and_a_search_can_be_tried_on_a_phone(
    browser: Browser, town: Town
) -> None:
    context = town.visit(browser, [], viewport=SIZES["phone"])
    page = open_page(context, "knowledge")
    button(page, "New base").click()
    page.get_by_label("Name", exact=True).fill("Bears")
    button(page, "Make the base").click()
    upload(page, "Add documents", ("winter.md", b"# Winter\n\nBears sleep through the winter in a den.\n"))
    expect(row(page, "winter.md")).to_contain_text("ready")
    page.get_by_label("Question").fill("Where do bears sleep in winter?")
    button(page, "Search").click()
    expect(page.locator(".found")).to_contain_text("in a den")
    button(page, "Delete the document: winter.md").click()
    button(page, "Delete the document").click()
    expect(page.get_by_text("No documents yet")).to_be_visible()
    context.close()


def test_keys_that_the_console_works_with_end_by_themselves(town: Town) -> None:
    ours = [key for key in town.ann.get(f"{town.ann.org}/keys").json() if key["name"].startswith("Console, until")]
    assert ours
    assert all(key["expires_at"] for key in ours)
    assert httpx.get(f"{town.url}/v1/models").status_code == 401  # the session alone opens no endpoint
