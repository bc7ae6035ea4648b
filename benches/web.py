"""The page beside Open WebUI's: what it weighs, when it can be typed into, and what 500 messages cost.

Both are signed in to, with one model behind one fake model server, and hold the same conversation, taken in
by their own imports. A fresh Chromium for each turn, its CPU slowed four times; contestants take turns;
figures are medians; the way up to the conversation's beginning is gone once. "Interactive" is when a letter
that was typed into the composer stands there in the next frame, and stays: one that the page loses again does
not count. Kilobytes are those on the wire, as each server packs them.

    .venv/bin/python benches/web.py [--rounds 5] [--messages 500] [--json] [--openwebui FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gateway import started, upstream
from playwright.sync_api import Browser, CDPSession, Page, Playwright, sync_playwright
from talk import FIRST, LAST, TITLE, talk

OPENWEBUI = "0.12.4"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
THROTTLE = 4
QUIET_S = 2.0  # without a request: the page has all it wants
LIMIT_S = 240.0  # of one load, or of scrolling to the beginning
STEP = 400  # pixels a frame
KINDS = {"Document": "document", "Script": "script", "Stylesheet": "style", "Font": "font"}
ANN = {"email": "ann@example.com", "password": "a long and odd passphrase", "name": "Ann"}

# Looks at every frame. It types as a keyboard does, through the browser's editing, not by setting a value.
PROBE = """({ composer, letter, last }) => {
  if (window !== top) return;
  const probe = (window.probe = { interactive: null, opened: null, tasks: [] });
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) probe.tasks.push([task.startTime, task.duration]);
  }).observe({ type: "longtask", buffered: true });
  const shown = () => {
    const found = document.evaluate(`//*[text()[contains(., "${last}")]]`, document.body, null, 9)
      .singleNodeValue;
    if (!found) return false;
    const place = found.getBoundingClientRect();
    return place.height > 0 && place.top < innerHeight && place.bottom > 0;
  };
  const look = () => {
    const box = document.querySelector(composer);
    if (!box || box.disabled || box.readOnly || !(box.value ?? box.textContent).includes(letter)) {
      probe.interactive = null;
      if (box) {
        box.focus();
        document.execCommand("insertText", false, letter);
      }
    } else probe.interactive ??= performance.now();
    if (last && probe.opened === null && document.body?.textContent.includes(last) && shown())
      probe.opened = performance.now();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""

# Up, as a wheel that never rests; at the top it waits for what came before.
SCROLL = """async ({ scroller, first, step, limit }) => {
  const frame = () => new Promise(requestAnimationFrame);
  const began = await frame();
  const gaps = [];
  for (let before = began; before - began < limit; ) {
    const box = document.querySelector(scroller);
    if (box.scrollTop <= 0 && box.textContent.includes(first)) return { gaps, took: before - began };
    box.scrollTop -= step;
    const now = await frame();
    gaps.push(now - before);
    before = now;
  }
  throw new Error(`the first message did not come: ${gaps.length} frames`);
}"""


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    url: str
    composer: str
    scroller: str
    process: psutil.Process
    ready_s: float
    state: dict[str, Any]  # of a browser that is signed in
    talk: str  # the path of the conversation

    def memory_mb(self) -> float:
        family = [self.process, *self.process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / 1e6


@dataclass
class Traffic:
    """What a page fetches."""

    session: CDPSession
    kinds: dict[str, str] = field(default_factory=dict)  # request -> kind
    asked: list[float] = field(default_factory=list)
    done: list[tuple[float, str, float]] = field(default_factory=list)  # when, kind, bytes
    offset: float | None = None  # wall clock less the browser's
    heard: float = 0.0  # when we last heard of it, by our clock

    def __post_init__(self) -> None:
        self.session.on("Network.requestWillBeSent", self._sent)
        self.session.on("Network.responseReceived", self._answered)
        self.session.on("Network.loadingFinished", self._finished)
        self.session.send("Network.enable")

    def _sent(self, event: dict[str, Any]) -> None:
        if not event["request"]["url"].startswith("http"):
            return  # data: and blob: weigh nothing
        self.heard = time.monotonic()
        self.offset = self.offset or event["wallTime"] - event["timestamp"]
        self.asked.append(event["timestamp"])

    def _answered(self, event: dict[str, Any]) -> None:
        self.kinds[event["requestId"]] = KINDS.get(event["type"], "other")

    def _finished(self, event: dict[str, Any]) -> None:
        self.heard = time.monotonic()
        kind = self.kinds.get(event["requestId"], "other")
        self.done.append((event["timestamp"], kind, event["encodedDataLength"]))

    def until(self, wall_s: float) -> dict[str, float]:
        """Kilobytes by kind, their sum and the number of requests, up to a moment."""
        moment = wall_s - (self.offset or 0.0)
        figures = dict.fromkeys([*(f"{kind} kB" for kind in KINDS.values()), "other kB"], 0.0)
        for when, kind, size in self.done:
            if when <= moment:
                figures[f"{kind} kB"] += size / 1e3
        return figures | {
            "transfer kB": sum(figures.values()),
            "requests": sum(when <= moment for when in self.asked),
        }


def ours() -> None:
    """A platform with a free model, as `glm up` serves it. Its channel comes over the API."""
    from openglm.asgi import run
    from openglm.maas.gateway import create_app
    from openglm.maas.platform import Platform
    from openglm.maas.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(Settings(data=Path(folder)))
        asyncio.run(platform.prices.set_if_none("glm"))
        token = platform.installation.setup_token
        run(
            create_app(platform, page=True),
            port=0,
            on_ready=lambda url: print(f"ready {url} {token}", flush=True),
        )


@contextmanager
def openglm(playwright: Playwright, model_server: str, messages: int) -> Iterator[Contestant]:
    with started(sys.executable, __file__, "--role", "ours") as (child, (url, token), ready_s):
        api = playwright.request.new_context(base_url=url, extra_http_headers={"origin": url})
        me = _told(api.post("/api/console/sign-up", data={**ANN, "setup": token}))
        headers = {"x-csrf-token": me["csrf"]}
        channel = {"base_url": model_server, "models": {"glm": "glm"}}
        _told(api.put("/api/console/platform/channels/fake", data=channel, headers=headers))
        file = {"format": "openglm-chat/1", "title": TITLE, "leaf_id": str(messages - 1)}
        file["messages"] = [
            {**one, "id": str(number), "parent_id": str(number - 1) if number else None, "model": "glm"}
            for number, one in enumerate(talk(messages))
        ]
        _told(api.post("/api/chat/import", data=file, headers=headers))
        [made] = _told(api.get("/api/chat/conversations"))["items"]
        process, path = psutil.Process(child.pid), f"/chat/{made['id']}"
        yield Contestant("ours", url, "#message", ".scroll", process, ready_s, api.storage_state(), path)


@contextmanager
def open_webui(
    playwright: Playwright, folder: Path, model_server: str, messages: int
) -> Iterator[Contestant]:
    """Theirs, from an environment of its own that is made if it is missing. It asks no network."""
    program = folder / "bin" / "open-webui"
    if not program.exists():
        venv.create(folder, with_pip=True)
        constraints = Path(__file__).parent.parent / "constraints.txt"
        pip = [str(folder / "bin" / "pip"), "install", "-q"]
        subprocess.run(
            [*pip, "-c", str(constraints), "torch"], check=True
        )  # as ours: the build that the index has
        subprocess.run([*pip, f"open-webui=={OPENWEBUI}"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        environment = {
            **os.environ,
            "DATA_DIR": data,
            "WEBUI_SECRET_KEY": "bench",
            "OPENAI_API_BASE_URL": f"{model_server}/v1",
            "OPENAI_API_KEY": "none",
            "ENABLE_OLLAMA_API": "false",
            "OFFLINE_MODE": "true",
            "HF_HUB_OFFLINE": "1",
            "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "false",
            "ANONYMIZED_TELEMETRY": "false",
            "DO_NOT_TRACK": "true",
            "SCARF_NO_ANALYTICS": "true",
        }
        command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
        began = time.perf_counter()
        with (Path(data) / "log").open("w") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=data)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_up(f"{url}/health", child)
            ready_s = time.perf_counter() - began
            api = playwright.request.new_context(base_url=url)
            token = _told(api.post("/api/v1/auths/signup", data=ANN))["token"]
            headers = {"authorization": f"Bearer {token}"}
            quiet = {"ui": {"version": OPENWEBUI, "showChangelog": False}}  # no dialog before the composer
            _told(api.post("/api/v1/users/user/settings/update", data=quiet, headers=headers))
            [made] = _told(api.post("/api/v1/chats/import", data=_their_file(messages), headers=headers))
            stored = {"origin": url, "localStorage": [{"name": "token", "value": token}]}
            state = {"cookies": api.storage_state()["cookies"], "origins": [stored]}
            process, path = psutil.Process(child.pid), f"/c/{made['id']}"
            yield Contestant(
                "open webui", url, "#chat-input", "#messages-container", process, ready_s, state, path
            )
        finally:
            child.terminate()
            child.wait(30)


def _until_up(url: str, child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("open-webui did not start")


def _their_file(messages: int) -> dict[str, Any]:
    now = int(time.time())
    nodes = {}
    for number, one in enumerate(talk(messages)):
        answers = {"model": "glm", "modelName": "glm", "modelIdx": 0, "done": True}
        nodes[f"m{number}"] = {
            "id": f"m{number}",
            "parentId": f"m{number - 1}" if number else None,
            "childrenIds": [f"m{number + 1}"] if number + 1 < messages else [],
            "role": one["role"],
            "content": one["text"],
            "timestamp": now,
            **(answers if one["role"] == "assistant" else {"models": ["glm"]}),
        }
    history = {"messages": nodes, "currentId": f"m{messages - 1}"}
    return {"chats": [{"chat": {"title": TITLE, "models": ["glm"], "history": history}}]}


def _told(answer: Any) -> Any:
    if not answer.ok:
        raise SystemExit(f"{answer.url}: {answer.status} {answer.text()[:500]}")
    text = answer.text()
    return json.loads(text) if text else None


def measure(playwright: Playwright, one: Contestant, *, reads: bool) -> dict[str, float]:
    """One turn: a cold load, a warm one, the conversation, and perhaps the way up to its beginning."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    try:
        context = browser.new_context(
            storage_state=one.state, viewport={"width": 1440, "height": 900}, locale="en-US"
        )
        figures: dict[str, float] = {}
        for name, letter in (("cold", "q"), ("warm", "w")):
            page = context.new_page()
            figures |= {f"{name} {key}": value for key, value in _load(page, one, "/", letter).items()}
            page.close()
        page = context.new_page()
        opened = _load(page, one, one.talk, "x", LAST)
        figures |= {f"talk {key}": opened[key] for key in ("open ms", "rest kB")}
        session = context.new_cdp_session(page)
        figures |= {f"talk {key}": value for key, value in _memory(browser, session).items()}
        if reads:
            figures |= _scroll(page, session, one.scroller)
            figures |= {f"read {key}": value for key, value in _memory(browser, session).items()}
        return figures | {"server MB": one.memory_mb()}
    finally:
        browser.close()


def _scroll(page: Page, session: CDPSession, scroller: str) -> dict[str, float]:
    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    went = page.evaluate(
        SCROLL, {"scroller": scroller, "first": FIRST, "step": STEP, "limit": LIMIT_S * 1000}
    )
    page.wait_for_timeout(QUIET_S * 1000)
    slow = [gap for gap in went["gaps"] if gap > 50]
    return {
        "scroll s": went["took"] / 1000,
        "scroll slow frames": len(slow),
        "scroll worst ms": max(went["gaps"]),
    }


def _load(page: Page, one: Contestant, path: str, letter: str, last: str = "") -> dict[str, float]:
    """To the page, on the slowed CPU, until it rests."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    traffic = Traffic(session)
    given = {"composer": one.composer, "letter": letter, "last": last}
    page.add_init_script(f"({PROBE})({json.dumps(given)})")
    page.goto(one.url + path, wait_until="commit")
    began, found = time.monotonic(), {}
    while time.monotonic() - began < LIMIT_S:
        page.wait_for_timeout(200)
        found = page.evaluate(
            "({ ...probe, origin: performance.timeOrigin, now: performance.now(),"
            " painted: performance.getEntriesByName('first-contentful-paint')[0]?.startTime })"
        )
        is_there = found["interactive"] is not None and (not last or found["opened"] is not None)
        if is_there and time.monotonic() - traffic.heard > QUIET_S:
            break
    else:
        page.screenshot(path=f"{tempfile.gettempdir()}/web-bench.png")
        raise SystemExit(f"{one.name} {path}: not interactive in {LIMIT_S:.0f} s: {found}")
    ready, painted = found["interactive"], found["painted"]
    blocked = sum(
        max(0.0, min(start + took, ready) - max(start, painted) - 50)
        for start, took in found["tasks"]
        if start < ready and start + took > painted
    )
    figures = {"interactive ms": ready, "first paint ms": painted, "blocked ms": blocked}
    figures |= traffic.until((found["origin"] + ready) / 1000)
    at_rest = traffic.until(time.time() + 60)
    figures |= {"rest kB": at_rest["transfer kB"], "rest requests": at_rest["requests"]}
    if last:
        figures["open ms"] = found["opened"]
    return figures


def _memory(browser: Browser, session: CDPSession) -> dict[str, float]:
    session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    for _ in range(2):  # what the first one finalizes, the second one frees
        session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    nodes = session.send("Memory.getDOMCounters")["nodes"]
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    rss = [psutil.Process(one["id"]).memory_info().rss for one in processes if one["type"] == "renderer"]
    return {"heap MB": heap / 1e6, "nodes": nodes, "renderer MB": max(rss) / 1e6}


def compare(rounds: int, messages: int, folder: Path) -> dict[str, Any]:
    with (
        sync_playwright() as playwright,
        started(sys.executable, __file__, "--role", "upstream") as (_, (server,), _),
        openglm(playwright, server, messages) as mine,
        open_webui(playwright, folder, server, messages) as theirs,
    ):
        found: dict[str, list[dict[str, float]]] = {mine.name: [], theirs.name: []}
        loads = []
        for turn in range(rounds):
            for one in (mine, theirs):
                loads.append(os.getloadavg()[0])
                found[one.name].append(measure(playwright, one, reads=turn == 0))
                print(f"round {turn + 1} {one.name}: {found[one.name][-1]}", file=sys.stderr)
        table: dict[str, Any] = {
            name: {
                figure: statistics.median(row[figure] for row in rows if figure in row) for figure in rows[0]
            }
            for name, rows in found.items()
        }
        for one in (mine, theirs):
            table[one.name]["server ready s"] = one.ready_s
        table["ratio"] = {
            figure: theirs_ / table["ours"][figure] if table["ours"][figure] else None
            for figure, theirs_ in table["open webui"].items()
        }
        return table | {"load": [min(loads), max(loads)], "openwebui": OPENWEBUI, "messages": messages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--openwebui", type=Path, help="an environment that has it, or where to make one")
    parser.add_argument("--role", choices=("upstream", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "upstream":
        return upstream()
    if given.role == "ours":
        return ours()
    from openglm.runtime import cache_folder

    folder = given.openwebui or cache_folder() / "benches" / f"open-webui-{OPENWEBUI}"
    table = compare(given.rounds, given.messages, folder)
    if given.json:
        print(json.dumps(table))
        return None
    low, high = table["load"]
    print(f"load of the machine {low:.1f} to {high:.1f}; ratio is Open WebUI {OPENWEBUI} / ours")
    print(f"{'':22}{'ours':>12}{'open webui':>12}{'ratio':>8}")
    for figure, mine in table["ours"].items():
        ratio = table["ratio"][figure]
        told = "" if ratio is None else f"{ratio:.1f}"
        print(f"{figure:22}{mine:12.1f}{table['open webui'][figure]:12.1f}{told:>8}")
    return None


if __name__ == "__main__":
    main()
