"""A model's server that does what a test tells it, well or badly, and remembers what it billed.

The script of a request comes in the text of its last user message, as JSON, so that one server serves all;
or from `plays`, where the client writes its own messages.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web


@dataclass
class FakeUpstream:
    """`with FakeUpstream() as upstream:` listens at `upstream.url` until the block ends."""

    url: str = ""
    billed: dict[str, dict[str, int]] = field(default_factory=dict)  # by request id, what it would charge
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    aborted: set[str] = field(default_factory=set)
    open: int = 0  # answers being written
    well: bool = True
    counts: bool = True  # whether it has /tokenize
    always: dict[str, Any] = field(default_factory=dict)  # what overrides every script
    gate: threading.Event | None = None  # answers begin only when it is set
    count_gate: threading.Event | None = None  # texts are counted only when it is set
    counting: int = 0  # how often that was asked
    plays: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # a body -> its script

    def __enter__(self) -> FakeUpstream:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._stop = asyncio.Event()
        self._loop.run_until_complete(self._run(ready))
        self._loop.close()

    async def _run(self, ready: threading.Event) -> None:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/images/generations", self._images)
        app.router.add_get("/kept/{number}", self._kept)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/abort", self._abort)
        app.router.add_get("/health", self._health)
        app.router.add_get("/page", self._page)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, status=200 if self.well else 503)

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="<html><body><p>A page.</p></body></html>", content_type="text/html")

    async def _abort(self, request: web.Request) -> web.Response:
        self.aborted.add((await request.json())["request_id"])
        return web.json_response({"aborted": True})

    async def _tokenize(self, request: web.Request) -> web.Response:
        if not self.counts:
            return web.json_response({"detail": "Not Found"}, status=404)
        body = await request.json()
        self.counting += 1
        while self.count_gate is not None and not self.count_gate.is_set():
            await asyncio.sleep(0.005)
        text = body.get("prompt") or "".join(str(turn.get("content")) for turn in body["messages"])
        return web.json_response({"count": len(text.split()), "tokens": []})

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        await asyncio.sleep(self.always.get("wait_s", 0))
        data = [
            {"index": index, "embedding": [float(len(str(text))), 1.0]}
            for index, text in enumerate(body["input"])
        ]
        if self.always.get("vectors") == "few":
            del data[1:]
        elif self.always.get("vectors") == "ragged":
            data[0]["embedding"].append(1.0)
        self.billed[request.headers.get("x-request-id", "")] = {"prompt": 7 * len(data), "completion": 0}
        return web.json_response({"data": data, "usage": {"prompt_tokens": 7 * len(data)}})

    async def _images(self, request: web.Request) -> web.Response:
        """As the prompt's script says: `images` come (default: n), `as` b64, url, data or elsewhere."""
        body = await request.json()
        self.bodies.append(body)
        try:
            script = json.loads(body["prompt"])
        except ValueError:
            script = {}
        script = {**script, **self.always}
        await asyncio.sleep(script.get("pace_s", 0))
        if status := script.get("status"):
            return web.json_response({"error": {"message": script.get("message", "no")}}, status=status)
        if script.get("only_base64") and "response_format" in body:
            error = {"message": "Unknown parameter", "param": "response_format"}
            return web.json_response({"error": error}, status=400)
        request_id = request.headers.get("x-request-id", "")
        data = []
        for number in range(script.get("images", body.get("n", 1))):
            encoded = base64.b64encode(picture(number)).decode()
            told = {
                "b64": {"b64_json": encoded},
                "url": {"url": f"{self.url}/kept/{number}"},
                "data": {"url": f"data:image/png;base64,{encoded}"},
                "elsewhere": {"url": script.get("url")},
                "nothing": {},
                "text": {"b64_json": base64.b64encode(b"<svg/>").decode()},
            }[script.get("as", "b64")]
            data.append({**told, "revised_prompt": f"better {number}"})
        self.billed[request_id] = {"prompt": 0, "completion": 0, "images": len(data)}
        more = {name: script[name] for name in ("usage", "content_filter") if name in script}
        return web.json_response({"created": 1, "data": data, **more})

    async def _kept(self, request: web.Request) -> web.Response:
        return web.Response(body=picture(int(request.match_info["number"])), content_type="image/png")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        script = {**(self.plays or _script)(body), **self.always}
        if script.get("echo"):  # the answer is what was asked
            script["words"] = [json.dumps(body)]
        request_id = request.headers.get("x-request-id", "")
        if status := script.get("status"):
            return web.json_response({"error": {"message": script.get("message", "no")}}, status=status)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if script.get("gzip"):
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        self.open += 1
        try:
            if body.get("n", 1) > 1 or isinstance(body.get("prompt"), list):
                await self._choices(response, script, request_id, body)
            else:
                await self._answer(request, response, script, request_id, chat="messages" in body)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
        return response

    async def _choices(
        self, response: web.StreamResponse, script: dict[str, Any], request_id: str, body: dict[str, Any]
    ) -> None:
        """Several choices at once, each counted for itself, as vLLM does while it streams."""
        n, prompts = body.get("n", 1), len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
        prompt, tokens, choices = script.get("prompt", 5), script.get("tokens", 3), n * prompts

        async def send(data: dict[str, Any]) -> None:
            await response.write(f"data: {json.dumps(data)}\n\n".encode())

        for word in range(1, tokens + 1):
            for index in range(choices):
                begun = prompts if word > 1 else index // n + 1
                counted = (word - 1) * choices + index + 1
                self.billed[request_id] = {"prompt": prompt * begun, "completion": counted}
                said = {"delta": {"content": f"w{word} "}} if "messages" in body else {"text": f"w{word} "}
                choice = {"index": index, **said}
                choice["finish_reason"] = "stop" if word == tokens else None
                await send({"choices": [choice], "usage": _plain(prompt, word)})
                await asyncio.sleep(script.get("pace_s", 0))
        await send({"choices": [], "usage": _plain(prompt * prompts, tokens * choices)})
        await response.write(b"data: [DONE]\n\n")

    async def _answer(
        self,
        request: web.Request,
        response: web.StreamResponse,
        script: dict[str, Any],
        request_id: str,
        *,
        chat: bool,
    ) -> None:
        prompt, cached = script.get("prompt", 5), script.get("cached", 0)
        tokens, reasoning = script.get("tokens", 3), script.get("reasoning", 0)
        words = script.get("words") or [f"w{index} " for index in range(tokens)]
        telling = script.get("usage", "always")
        newline = "\r\n" if script.get("crlf") else "\n"

        def usage(count: int) -> dict[str, Any]:
            self.billed[request_id] = {"prompt": prompt, "cached": cached, "completion": count}
            return {
                "prompt_tokens": prompt,
                "completion_tokens": count,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": min(count, reasoning)},
            }

        held = bytearray()

        async def write(data: bytes) -> None:
            if script.get("at_once"):  # the body comes in one piece
                held.extend(data)
            else:
                await response.write(data)

        async def send(data: dict[str, Any]) -> None:
            line = f"data: {json.dumps(data, ensure_ascii=False)}{newline}{newline}".encode()
            piece = script.get("piece") or len(line)
            for start in range(0, len(line), piece):
                await write(line[start : start + piece])

        if script.get("dies") == 0:
            request.transport.abort()
            return
        written = 0
        await asyncio.sleep(script.get("wait_s", 0))
        while self.gate is not None and not self.gate.is_set():
            await asyncio.sleep(0.005)
        for index, word in enumerate(words):
            await _opened(script.get("gates", {}).get(str(index)))
            if request_id in self.aborted:
                break
            name = "reasoning_content" if index < reasoning else "content"
            choice = {"delta": {name: word}} if chat else {"text": word}
            choice["index"] = script.get("place", 0)
            written = index + 1
            counted = usage(written)
            await send({"choices": [choice], **({"usage": counted} if telling == "always" else {})})
            if script.get("dies") == written:
                request.transport.abort()
                return
            if script.get("garbage") == written:
                await write(b"data: {nonsense\n\n")
            await asyncio.sleep(script.get("pace_s", 0))
        for index, call in enumerate(script.get("calls", ())):
            function = {"name": call["name"], "arguments": ""}
            begun = {"index": index, "id": call["id"], "type": "function", "function": function}
            await send({"choices": [{"index": 0, "delta": {"tool_calls": [begun]}}]})
            for letter in call["arguments"]:
                more = {"index": index, "function": {"arguments": letter}}
                await send({"choices": [{"index": 0, "delta": {"tool_calls": [more]}}]})
        if not script.get("unfinished"):
            await send(
                {"choices": [{"index": 0, "delta": {}, "finish_reason": script.get("finish", "stop")}]}
            )
        if telling in ("always", "last"):
            await send({"choices": [], "usage": usage(written)})
        if not script.get("no_done"):
            await write(b"data: [DONE]\n\n")
        await response.write(bytes(held))


async def _opened(gate: str | None) -> None:
    """A word's gate opens when somebody, perhaps in another process, makes the file of that name."""
    while gate and not Path(gate).exists():
        await asyncio.sleep(0.005)


def picture(number: int) -> bytes:
    """A PNG of one grey pixel, another one for each number."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixel = zlib.compress(bytes((0, number)))
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixel) + part(b"IEND", b"")


def _plain(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def _script(body: dict[str, Any]) -> dict[str, Any]:
    """The last message's, or, where the last user's has `turns`, that of as many as have been answered."""
    messages = body.get("messages", [])
    asked = max((at for at, turn in enumerate(messages) if turn["role"] == "user"), default=0)
    script = _read(messages[asked]["content"]) if messages else {}
    if turns := script.get("turns"):
        answered = sum(turn["role"] == "assistant" for turn in messages[asked:])
        return turns[min(answered, len(turns) - 1)]
    return _read(messages[-1]["content"] if messages else body["prompt"])


def _read(text: Any) -> dict[str, Any]:
    if isinstance(text, list) and isinstance(text[0], str):
        text = text[0]
    elif isinstance(text, list):
        text = next((part["text"] for part in text if part.get("type") == "text"), "")
    try:
        script = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return script if isinstance(script, dict) else {}
