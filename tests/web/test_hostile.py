"""What a model, a user or a stranger writes is shown and never runs, on the page and in an artifact."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.deeds import answer, button, rested, send
from tests.web.house import WIDE, House, housed

ATTACKS = (  # each would call attacked() somewhere
    "<script>attacked()</script>",
    "<img src=x onerror=attacked()>",
    "<svg onload=attacked()></svg>",
    "<svg><script>attacked()</script></svg>",
    "<svg><animate onbegin=attacked() attributeName=x dur=1s></svg>",
    "<iframe srcdoc='<script>parent.attacked()</script>'></iframe>",
    "<iframe src='javascript:parent.attacked()'></iframe>",
    "<object data='javascript:attacked()'></object>",
    "<embed src='javascript:attacked()'>",
    "<body onload=attacked()>",
    "<details open ontoggle=attacked()>x</details>",
    "<video><source onerror=attacked()></video>",
    "<input autofocus onfocus=attacked()>",
    "<marquee onstart=attacked()>x</marquee>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=attacked()>",
    "<style>@import 'javascript:attacked()'</style>",
    "<link rel=stylesheet href='javascript:attacked()'>",
    "<meta http-equiv=refresh content='0;url=javascript:attacked()'>",
    "<base href='javascript:/'>",
    "<form action='javascript:attacked()'><button>press</button></form>",
    "<noscript><p title='</noscript><img src=x onerror=attacked()>'>",
    "<!--<img src='--><img src=x onerror=attacked()>'>",
    "<a href='javascript:attacked()'>link</a>",
    "[link](javascript:attacked())",
    "[link](JaVaScRiPt:attacked())",
    "[link](java\tscript:attacked())",
    "[link](&#106;avascript:attacked())",
    "[link](data:text/html,<script>attacked()</script>)",
    "[link](vbscript:attacked())",
    "[link](https://example.com/'onmouseover='attacked())",
    "[a]: javascript:attacked()\n\n[a]",
    '![image](x"onerror="attacked())',
    "![image](javascript:attacked())",
    "<javascript:attacked()>",
    "`<img src=x onerror=attacked()>`",
    "```html\n<script>attacked()</script>\n```",
    '```"onload=attacked()\n<img src=x onerror=attacked()>\n```',
    "| a |\n|---|\n| <img src=x onerror=attacked()> |",
    "> <script>attacked()</script>",
    "- <script>attacked()</script>",
    "# <img src=x onerror=attacked()>",
    "$\\href{javascript:attacked()}{x}$ and $$\\htmlData{x=attacked()}{y}$$",
    "$\\includegraphics{javascript:attacked()}$",
    "```mermaid\ngraph TD\n  A[<img src=x onerror=attacked()>]\n  click A href 'javascript:attacked()'\n```",
    "\u202e<script>attacked()</script>\u0000",
)
ALL = "\n\n".join(ATTACKS)
ARMED = "window.attacked = () => { document.title = 'attacked'; window.fell = true }; 0"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


def unharmed(page: Page) -> None:
    """Nothing ran, nothing that could run is there, and no link leads anywhere but to the web."""
    assert page.evaluate("window.fell") is None
    shown = page.locator(".thread, .sidebar")
    for what in (
        "script",
        "iframe",
        "object",
        "embed",
        "form:not(.question-editor)",
        "base",
        "meta",
        "link",
        "video",
    ):
        expect(shown.locator(what)).to_have_count(0)
    harmful = "all => all.filter(e => [...e.attributes].some(a => /^on/i.test(a.name))).length"
    assert shown.locator("*").evaluate_all(harmful) == 0
    links = shown.locator("a").evaluate_all("all => all.map(a => a.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}


@pytest.mark.parametrize("pace", ["in one piece", "letter by letter"])
def test_nothing_in_an_answer_runs_whether_it_comes(
    visit: Callable[..., Page], house: House, pace: str
) -> None:
    words = [ALL] if pace == "in one piece" else list(ALL)
    house.when(pace, words=words, at_once=True)
    page = visit(house.url, **WIDE, **house.member()[1])
    page.evaluate(ARMED)
    send(page, pace)
    expect(answer(page)).to_contain_text("<script>attacked()</script>")
    rested(page)
    page.locator(".scroll").evaluate("box => { box.scrollTop = 0 }")
    unharmed(page)
    page.reload()
    page.evaluate(ARMED)
    expect(answer(page)).to_contain_text("<script>attacked()</script>")
    unharmed(page)


def test_nothing_runs_in_a_question_a_title_a_thought_and_a_name(
    visit: Callable[..., Page], house: House
) -> None:
    attack = "<img src=x onerror=attacked()>"
    house.when(attack, words=[ALL, "Fine."], reasoning=1)
    page = visit(house.url, **WIDE, **house.member(attack)[1])
    page.evaluate(ARMED)
    send(page, attack)
    expect(answer(page)).to_have_text("Fine.")
    page.locator(".reasoning summary").click()
    expect(page.locator(".reasoning-text")).to_contain_text("<script>")
    expect(page.get_by_role("complementary").get_by_role("link", name=attack)).to_be_visible()
    expect(page.get_by_role("complementary")).to_contain_text(attack)
    unharmed(page)


ESCAPES = """<!doctype html><p id=said>Drawn</p><script>
const tries = {
  parent: () => parent.document.title,
  top: () => top.location.assign("about:blank"),
  cookie: () => document.cookie,
  storage: () => localStorage.length,
  opened: () => { if (!window.open("about:blank")) throw 0 },
}
const say = (word) => { said.textContent += " " + word }
for (const [name, attempt] of Object.entries(tries)) try { attempt(); say(name) } catch { }
fetch("/api/console/session").then(() => say("fetched"), () => say("asked"))
parent.postMessage({ type: "drawn", id: 1, svg: "<svg onload=attacked()>" }, "*")
</script>"""


def test_an_artifact_runs_without_the_page_its_storage_or_a_network(browser: Browser, house: House) -> None:
    house.when("Make a page", words=[f"Here:\n\n```html\n{ESCAPES}\n```\n"])
    context = browser.new_context(locale="en-US", **WIDE, **house.member()[1])
    page = context.new_page()
    page.goto(house.url)
    page.evaluate(ARMED)
    send(page, "Make a page")
    button(page, "Open as artifact").click()
    said = page.frame_locator("iframe[title=Artifact]").locator("#said")
    expect(said).to_have_text("Drawn asked")
    assert page.evaluate("window.fell") is None
    expect(page).to_have_url(f"{house.url}/chat/{page.url.rpartition('/')[2]}")
    context.close()


def test_an_artifact_has_versions_its_code_and_fills_a_phone(
    visit: Callable[..., Page], house: House
) -> None:
    for number in (1, 2):
        house.when(
            f"Draw {number}", words=[f"```svg\n<svg viewBox='0 0 9 9'><text y='9'>{number}</text></svg>\n```"]
        )
    page = visit(house.url, **WIDE, **house.member()[1])
    for number in (1, 2):
        send(page, f"Draw {number}")
        expect(answer(page)).to_contain_text(f">{number}<")
        rested(page)
    button(page, "Open as artifact").last.click()
    panel = page.get_by_role("complementary", name="Artifact")
    drawn = page.frame_locator("iframe[title=Artifact]").locator("text")
    expect(drawn).to_have_text("2")
    button(panel, "Older version").click()
    expect(drawn).to_have_text("1")
    panel.get_by_role("tab", name="Code").click()
    expect(panel.locator("pre")).to_contain_text("<text y='9'>1</text>")
    page.set_viewport_size({"width": 390, "height": 844})
    assert panel.bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    button(panel, "Close the artifact").click()
    expect(panel).to_have_count(0)
