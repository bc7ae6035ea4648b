"""Code in answers: JavaScript runs where nothing of the page can be reached, diagrams fold their source, and
answers are read aloud."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.web.deeds import answer, button, rested, send
from tests.web.house import PHONE, WIDE, House, housed


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


Enter = Callable[..., Page]


@pytest.fixture
def enter(visit: Callable[..., Page], house: House) -> Enter:
    return lambda **visitor: visit(house.url, **visitor, **house.member()[1])


def said(page: Page, house: House, code: str, language: str = "js") -> Locator:
    """The answer with this code in it, whole."""
    house.when("Write code", words=[f"Here:\n\n```{language}\n{code}\n```\n"])
    send(page, "Write code")
    expect(answer(page).locator("figure.code")).to_have_count(1)
    rested(page)
    return answer(page)


def ran(page: Page, house: House, code: str) -> Locator:
    shown = said(page, house, code)
    button(shown, "Run").click()
    return shown.get_by_role("region", name="Output")


def test_javascript_runs_and_its_output_and_error_are_shown(enter: Enter, house: House) -> None:
    page = enter(**WIDE)
    code = """const squares = [1, 2, 3].map((n) => n * n);
console.log("squares:", squares, { a: new Map([["k", 1]]) });
setTimeout(() => { console.warn("later"); throw new TypeError("broken") }, 20);
await Promise.resolve();
console.log("awaited");"""
    output = ran(page, house, code)
    expect(output.get_by_role("status")).to_have_text("An error was thrown")
    expect(output.locator("pre > div")).to_have_text(
        ['squares: [1, 4, 9] { a: Map { "k" => 1 } }', "awaited", "later", "TypeError: broken"]
    )
    button(output, "Close the output").click()
    expect(output).to_have_count(0)
    button(answer(page), "Run").click()
    expect(output.get_by_role("status")).to_have_text("An error was thrown")


def test_an_endless_loop_is_stopped_by_hand_and_by_the_clock(enter: Enter, house: House) -> None:
    page = enter(**WIDE)
    output = ran(page, house, "console.log('begun'); while (true);")
    expect(output.locator("pre")).to_have_text("begun")
    button(output, "Stop").click()
    expect(output.get_by_role("status")).to_have_text("Stopped.")
    button(answer(page), "Run").click()
    expect(output.get_by_role("status")).to_have_text("Stopped after 10 seconds")


def test_code_that_says_too_much_is_cut_and_stopped(enter: Enter, house: House) -> None:
    page = enter(**WIDE)
    output = ran(page, house, "while (true) console.log('x'.repeat(1_000_000));")
    expect(output.get_by_role("status")).to_have_text("Stopped: it says too much")
    assert len(output.locator("pre").inner_text()) < 60_000


@pytest.mark.parametrize("language", ["python", "ts", "bash", ""])
def test_what_cannot_be_run_here_has_no_button(enter: Enter, house: House, language: str) -> None:
    page = enter(**WIDE)
    shown = said(page, house, "console.log(1)", language)
    expect(button(shown, "Copy code")).to_be_visible()
    expect(button(shown, "Run")).to_have_count(0)


ESCAPES = """const tries = {
  parent: () => parent.document, top: () => top.location, document: () => document.cookie,
  storage: () => localStorage.length, session: () => sessionStorage.length,
  opened: () => window.open("about:blank"), frames: () => self.frameElement.ownerDocument,
  socket: () => new WebSocket("ws://" + new URL(self.location.href).host),
  scripts: () => importScripts("data:text/javascript,console.log('imported')"),
};
for (const [name, attempt] of Object.entries(tries)) try { attempt(); console.log("reached", name) } catch { }
const later = {
  fetched: () => fetch("HERE/api/console/session"), blob: () => fetch("data:text/plain,x"),
  caches: () => caches.keys(),
  imported: () => import("data:text/javascript,export default 1"),
  database: () => new Promise((yes, no) => { const r = indexedDB.open("x"); r.onsuccess = yes; r.onerror = no }),
  locked: () => new Promise((yes, no) => {
    const s = new WebSocket("ws" + "HERE/x".slice(4)); s.onopen = yes; s.onerror = no }),
};
for (const [name, attempt] of Object.entries(later)) try { await attempt(); console.log("reached", name) } catch { }
postMessage({ type: "drawn", id: 1, svg: "<svg onload=attacked()>" });
postMessage({ type: "said", level: "x onclick=attacked()", text: "<img src=x onerror=attacked()>" });
postMessage(null);
console.log("tried");"""


def test_code_that_runs_reaches_nothing_of_the_page_and_no_network(browser: Browser, house: House) -> None:
    context = browser.new_context(locale="en-US", **WIDE, **house.member()[1])
    page = context.new_page()
    page.goto(house.url)
    page.evaluate("window.attacked = () => { window.fell = true }; localStorage.setItem('secret', 1); 0")
    asked: list[str] = []
    output = ran(page, house, ESCAPES.replace("HERE", house.url))
    page.on("request", lambda request: asked.append(request.url))
    expect(output.locator("pre > div")).to_have_text(["<img src=x onerror=attacked()>", "tried"])
    assert page.evaluate("window.fell") is None
    assert not [url for url in asked if "console/session" in url]
    context.close()


def test_a_diagrams_source_is_folded_once_it_is_drawn(enter: Enter, house: House) -> None:
    good, bad = "graph LR\n  A[Ask] --> B[Answer]", "graph LR\n  A["
    house.when("Draw", words=[f"```mermaid\n{good}\n```\n\n```mermaid\n{bad}\n```\n\nDone."])
    page = enter(**WIDE)
    send(page, "Draw")
    rested(page)
    drawn, broken = answer(page).locator("figure.code").nth(0), answer(page).locator("figure.code").nth(1)
    expect(drawn.locator("img.diagram")).to_be_visible()
    expect(drawn.locator("pre")).to_have_count(0)
    expect(broken.get_by_text("The diagram has a mistake")).to_be_visible()
    expect(broken.locator("pre")).to_contain_text("A[")
    button(drawn, "Show the source").click()
    expect(drawn.locator("pre")).to_contain_text("A[Ask]")
    expect(drawn.locator("img.diagram")).to_be_visible()
    button(drawn, "Hide the source").click()
    expect(drawn.locator("pre")).to_have_count(0)


def test_a_diagrams_source_is_seen_while_it_is_written(enter: Enter, house: House) -> None:
    lines = ["```mermaid\ngraph LR\n", "  A --> B\n", *["  B --> C\n"] * 40, "```\n"]
    house.when("Draw slowly", words=lines, pace_s=0.05)
    page = enter(**WIDE)
    send(page, "Draw slowly")
    expect(answer(page).locator("figure.code pre")).to_contain_text("B --> C")
    rested(page)
    expect(answer(page).locator("img.diagram")).to_be_visible()
    expect(answer(page).locator("figure.code pre")).to_have_count(0)


VOICE = """window.told = [];
window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text } };
Object.defineProperty(window, "speechSynthesis", { value: {
  speak(one) { told.push([one.lang, one.text]); window.last = one },
  cancel() { told.push("cancelled") },
} });"""


def test_an_answer_is_read_aloud_in_its_language_and_stopped(browser: Browser, house: House) -> None:
    house.when("Tell", words=["# Rain\n\nIt **rains** [here](https://example.com).\n\n```js\n1\n```\n\n天在下雨。"])
    context = browser.new_context(locale="en-GB", **WIDE, **house.member()[1])
    context.add_init_script(VOICE)
    page = context.new_page()
    page.goto(house.url)
    send(page, "Tell")
    rested(page)
    button(page, "Read aloud").click()
    expect(button(page, "Stop reading")).to_be_visible()
    told = page.evaluate("told")
    assert [lang for lang, _ in told] == ["en-GB", "zh-CN"]
    assert re.sub(r"\s+", " ", told[0][1]) == "Rain It rains here."
    assert told[1][1] == "天在下雨。"
    button(page, "Stop reading").click()
    expect(button(page, "Read aloud")).to_be_visible()
    assert page.evaluate("told.at(-1)") == "cancelled"
    button(page, "Read aloud").click()
    page.evaluate("last.onend()")
    expect(button(page, "Read aloud")).to_be_visible()
    context.close()


def test_without_a_voice_there_is_no_button(browser: Browser, house: House) -> None:
    house.when("Hello", words=["Hello."])
    context = browser.new_context(locale="en-US", **WIDE, **house.member()[1])
    context.add_init_script("delete window.speechSynthesis; delete window.SpeechSynthesisUtterance")
    page = context.new_page()
    page.goto(house.url)
    send(page, "Hello")
    rested(page)
    expect(button(page, "Copy")).to_have_count(2)
    expect(button(page, "Read aloud")).to_have_count(0)
    context.close()


def test_code_runs_on_a_phone_in_chinese(enter: Enter, house: House) -> None:
    page = enter(**PHONE)
    house.when("写代码", words=["```js\nconsole.log('好'.repeat(200))\n```\n"])
    send(page, "写代码")
    rested(page)
    button(page, "运行").click()
    output = page.get_by_role("region", name="输出")
    expect(output.get_by_role("status")).to_have_text("运行完毕")
    expect(output.locator("pre")).to_contain_text("好好")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
