"""A real Chromium in front of a real server with the embedded default model."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from openglm.asgi import Running
from openglm.engine import EngineOptions, load_engine
from openglm.messages import SamplingParams
from openglm.serve import Service, create_app
from openglm.tokenizer.chat import load_chat_format

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(timeout=30_000)  # ms; two busy cores


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while Playwright runs, no other test of this process could start an event loop."""
    if not CHROMIUM.is_file():
        pytest.fail(f"the browser tests need Chromium at {CHROMIUM}; run `make setup`, it installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(smollm2: Path) -> Iterator[Service]:
    engine = load_engine(smollm2, options=EngineOptions(max_context=2048, cache_tokens=8192))
    chat_format = load_chat_format(smollm2, engine.tokenizer)
    yield Service(
        engine,
        engine.tokenizer,
        chat_format,
        "smollm2",
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        sampling=SamplingParams(temperature=0.0),  # the same answers every time
    )
    engine.close()


@pytest.fixture(scope="session")
def url(service: Service) -> Iterator[str]:
    with Running(create_app(service, page=True)) as url:
        yield url


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page as a new visitor. A script error, a CSP breach or a foreign request fails the test."""
    contexts = []
    complaints: list[str] = []

    def visit(url: str, path: str = "", **visitor: object) -> Page:
        def foreign(asked: Request) -> bool:
            return not asked.url.startswith((url, f"blob:{url}", "blob:null/"))  # null: the frame's

        context = browser.new_context(**{"locale": "en-US", "color_scheme": "light", **visitor})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda said: complaints.append(said.text) if "Content Security" in said.text else 0
        )
        page.on("request", lambda asked: complaints.append(asked.url) if foreign(asked) else None)
        page.goto(f"{url}/{path}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(visit: Callable[..., Page], url: str) -> Callable[..., Page]:
    """The page of the server with one model."""
    return partial(visit, url)


def chunk(delta: dict, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


@pytest.fixture
def answer_with() -> Callable[..., None]:
    """Puts a fixed event stream on the wire in place of the model's: for what no small model would write."""

    def fake(page: Page, *deltas: dict, complete: bool = True) -> None:
        events = [chunk(delta) for delta in deltas]
        if complete:
            events += [chunk({}, "stop"), "[DONE]"]
        body = "".join(f"data: {event}\n\n" for event in events)

        def fulfil(route: Route) -> None:
            route.fulfill(status=200, content_type="text/event-stream", body=body)

        page.route("**/v1/chat/completions", fulfil)

    return fake
