"""A model server that keeps the contract of `glm serve` with adapters, without a model: it says who answers.

SOURCE --name NAME --uds SOCKET [--lora NAME=FOLDER …]. An answer is the name that was asked for and what its
adapter's weights hold. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from aiohttp import web


class Server:
    def __init__(self, arguments: list[str]):
        self.name = arguments[arguments.index("--name") + 1]
        self.socket = arguments[arguments.index("--uds") + 1]
        self.adapters: dict[str, str] = {}
        for at, word in enumerate(arguments):
            if word == "--lora":
                name, _, folder = arguments[at + 1].partition("=")
                self.adapters[name] = folder

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self.health)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/load_lora_adapter", self.load)
        app.router.add_post("/v1/unload_lora_adapter", self.unload)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not (Path(body["lora_path"]) / "adapter_config.json").exists():
            return web.json_response({"error": {"message": "no adapter there"}}, status=400)
        self.adapters[body["lora_name"]] = body["lora_path"]
        print("loaded", body["lora_name"], file=sys.stderr, flush=True)
        return web.json_response({})

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        del self.adapters[name]
        print("unloaded", name, file=sys.stderr, flush=True)
        return web.json_response({})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        model = (await request.json())["model"]
        if model != self.name and model not in self.adapters:
            return web.json_response({"error": {"message": f"{model} is not served"}}, status=404)
        words = model
        if model in self.adapters:
            words += "|" + (Path(self.adapters[model]) / "adapter_model.safetensors").read_text()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        for chunk in (
            {"choices": [{"index": 0, "delta": {"content": words}}], "usage": usage},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


async def main() -> None:
    server = Server(sys.argv[1:])
    runner = web.AppRunner(server.app())
    await runner.setup()
    await web.UnixSite(runner, server.socket).start()
    print("adapters at the start:", *sorted(server.adapters), file=sys.stderr, flush=True)
    print(f"ready unix:{server.socket}", flush=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)

    def until_eof() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=until_eof, daemon=True).start()
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
