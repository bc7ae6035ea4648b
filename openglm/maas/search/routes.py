"""The routes of search and reader. Every call is held before it runs, and charged only if it answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from openglm.asgi.body import decoded, read_body
from openglm.dialects.fields import Fields, parse_object
from openglm.errors import NotOffered
from openglm.maas.files.routes import Wrap
from openglm.maas.ids import new_id
from openglm.maas.search import shapes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.identity.caller import Caller

MAX_BODY = 1 << 20
ENGINES = ("search_std", "search_pro", "search_pro_sogou", "search_pro_quark")
OLDER = ("web-search-pro", "web-search")
TOOLS = (*ENGINES, *OLDER, "reader")  # what is priced by the call, free until somebody prices it


@asynccontextmanager
async def charged(
    platform: Any,
    caller: Caller,
    tool: str,
    request_id: str,
    *,
    plan: bool = False,
    limited: bool = True,
    errand: str | None = None,
) -> AsyncIterator[None]:
    """One call of a tool, within the caller's limits: settled if the body succeeds, void if it fails.

    Of all calls with the same `errand`, one is charged: DuplicateRequest where one was, or is running.
    """
    from openglm.maas.money.ask import Ask
    from openglm.messages import Usage

    who = (caller.org_id, caller.project_id, caller.key_id, caller.user_id)
    ask = Ask(request_id, *who, model=tool, kind="tool", plan=plan, client_request_id=errand)
    with platform.limits.enter(caller, tool, 0) if limited else nullcontext():
        async with await platform.billing.bill(ask) as bill:
            yield
            bill.used(Usage())


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape.

    Of the platform: caller, limits, billing, clock, search (a SearchEngine or None), and reader.
    """
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def opened(request: Request) -> tuple[Caller, Fields]:
        caller = await platform.caller(request, endpoint="tools")
        return caller, await decoded(parse_object, await read_body(request.scope, request.receive, MAX_BODY))

    def engine() -> Any:
        if platform.search is None:
            raise NotOffered("no search engine is set up here", hint="ask the operator to set one up")
        return platform.search

    async def web_search(request: Request) -> Response:
        caller, fields = await opened(request)
        request_id = new_id("search")
        name = fields.word("search_engine", ENGINES) or "search_std"
        async with charged(platform, caller, name, request_id):
            query = shapes.read_query(fields)
            hits = await engine().search(query)
        body = {
            "id": request_id,
            "request_id": fields.text("request_id") or request_id,
            "created": platform.clock() // 1000,
            "search_intent": [shapes.intent(query, asked=bool(fields.flag("search_intent")))],
            "search_result": shapes.results(hits, images=bool(fields.flag("include_image"))),
        }
        return JSONResponse(body)

    async def tools(request: Request) -> Response:
        caller, fields = await opened(request)
        request_id = new_id("search")
        name = fields.word("model", OLDER) or "web-search-pro"
        async with charged(platform, caller, name, request_id):
            query = shapes.read_tool_query(fields)
            hits = await engine().search(query)
        head = {
            "id": request_id,
            "request_id": fields.text("request_id") or request_id,
            "created": platform.clock() // 1000,
        }
        calls = shapes.tool_calls(request_id, query, hits)
        if fields.flag("stream"):
            return Response(shapes.tool_events(head, calls), media_type="text/event-stream")
        return JSONResponse(shapes.tool_answer(head, calls))

    async def reader(request: Request) -> Response:
        caller, fields = await opened(request)
        request_id, url = new_id("read"), fields.needed_text("url")
        seconds = fields.raw("timeout")  # the SDK sends it as a text
        timeout_s = float(seconds) if str(seconds or "").isdecimal() else 20.0
        async with charged(platform, caller, "reader", request_id):
            address, page = await platform.reader.read(
                url,
                tenant=caller.org_id,
                timeout_s=min(max(timeout_s, 1.0), 60.0),
                markdown=fields.text("return_format") != "text",
                images=fields.flag("retain_images") is not False,
            )
        body = {
            "id": request_id,
            "request_id": fields.text("request_id") or request_id,
            "created": platform.clock() // 1000,
            "model": "reader",
            "reader_result": shapes.reader_result(page, address, fields),
        }
        return JSONResponse(body)

    return [
        Route(f"/api/paas/v4/{path}", wrap("zhipu", handler), methods=["POST"])
        for path, handler in (("web_search", web_search), ("tools", tools), ("reader", reader))
    ]
