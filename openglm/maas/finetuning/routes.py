"""The routes of fine-tuning, in OpenAI's and in Zhipu's place. Handlers parse, call and format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.asgi.body import read_body
from openglm.dialects.fields import parse_object
from openglm.errors import FineTuneNotFound, ModelNotFound
from openglm.maas import door
from openglm.maas.files.routes import Handler, Wrap, whole
from openglm.maas.finetuning.attempt import SCOPE
from openglm.maas.finetuning.wanted import read_wanted
from openglm.maas.identity.audit import Actor

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.finetuning.job import Dialect, Job
    from openglm.maas.identity.caller import Caller

JOBS: tuple[tuple[str, Dialect], ...] = (
    ("/v1/fine_tuning/jobs", "openai"),
    ("/api/paas/v4/fine_tuning/jobs", "zhipu"),
)
MODEL = "/v1/models/{name:path}"
ZHIPU_MODEL = "/api/paas/v4/fine_tuning/fine_tuned_models/{name:path}"
MAX_BODY = 256 << 10


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.routing import Route

    found = []
    for base, dialect in JOBS:
        handlers = Handlers(platform, dialect)
        paths = [
            ("", "POST", handlers.create),
            ("", "GET", handlers.list),
            ("/{id}", "GET", handlers.one),
            ("/{id}/events", "GET", handlers.events),
            ("/{id}/cancel", "POST", handlers.steer("cancel")),
        ]
        if dialect == "openai":
            paths += [
                ("/{id}/pause", "POST", handlers.steer("pause")),
                ("/{id}/resume", "POST", handlers.resume),
                ("/{id}/checkpoints", "GET", handlers.checkpoints),
            ]
        else:
            paths.append(("/{id}", "DELETE", handlers.delete))
        found += [
            Route(base + path, wrap(dialect, handler), methods=[method]) for path, method, handler in paths
        ]
    return [
        *found,
        Route(MODEL, wrap("openai", Handlers(platform, "openai").delete_model), methods=["DELETE"]),
        Route(ZHIPU_MODEL, wrap("zhipu", Handlers(platform, "zhipu").delete_model), methods=["DELETE"]),
    ]


class Handlers:
    """Of one dialect."""

    def __init__(self, platform: Any, dialect: Dialect):
        self._platform = platform
        self._jobs = platform.finetuning
        self._dialect = dialect

    async def create(self, request: Request) -> Response:
        caller = await self._caller(request)
        wanted = read_wanted(parse_object(await read_body(request.scope, request.receive, MAX_BODY)))
        job = await self._jobs.create(caller, wanted, dialect=self._dialect, actor=actor(request, caller))
        return _json(self._shown(job))

    async def list(self, request: Request) -> Response:
        caller, query = await self._caller(request), request.query_params
        page = await self._jobs.list(
            caller.org_id,
            caller.project_id,
            limit=whole(query.get("limit"), 20, "limit"),
            after=query.get("after"),
        )
        data = [self._shown(job) for job in page.jobs]
        return _json({"object": "list", "data": data, "has_more": page.has_more})

    async def one(self, request: Request) -> Response:
        return _json(self._shown(await self._job(request, await self._caller(request))))

    async def events(self, request: Request) -> Response:
        job, query = await self._job(request, await self._caller(request)), request.query_params
        found, more = await self._jobs.event_page(
            job, limit=whole(query.get("limit"), 20, "limit"), after=query.get("after")
        )
        openai = self._dialect == "openai"
        data = [event.wire() if openai else event.zhipu_wire() for event in found]
        return _json({"object": "list", "data": data, "has_more": more})

    async def checkpoints(self, request: Request) -> Response:
        job = await self._job(request, await self._caller(request))
        points = await self._jobs.curve(job)
        data = job.checkpoints(points[-1] if points else None)
        ids = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return _json({"object": "list", "data": data, **ids, "has_more": False})

    def steer(self, deed: str) -> Handler:
        async def handler(request: Request) -> Response:
            caller = await self._caller(request)
            job = await self._job(request, caller)
            return _json(self._shown(await getattr(self._jobs, deed)(job, actor=actor(request, caller))))

        return handler

    async def resume(self, request: Request) -> Response:
        caller = await self._caller(request)
        job = await self._job(request, caller)
        resumed = await self._jobs.resume(job, caller=caller, actor=actor(request, caller))
        return _json(self._shown(resumed))

    async def delete(self, request: Request) -> Response:
        caller = await self._caller(request)
        job = await self._job(request, caller)
        await self._jobs.delete(job, actor=actor(request, caller))
        return _json(self._shown(job))

    async def delete_model(self, request: Request) -> Response:
        caller, name = await self._caller(request), request.path_params["name"]
        try:
            await self._jobs.delete_model(caller, name, actor=actor(request, caller))
        except FineTuneNotFound as error:
            if self._dialect == "openai":
                raise ModelNotFound(error.message, param="model", code="model_not_found") from None
            raise
        if self._dialect == "openai":
            return _json({"id": name, "object": "model", "deleted": True})
        return _json({"request_id": name, "model_name": name, "delete_status": "deleted"})

    async def _caller(self, request: Request) -> Caller:
        caller: Caller = await self._platform.caller(request, endpoint=SCOPE)
        return caller

    async def _job(self, request: Request, caller: Caller) -> Job:
        job: Job = await self._jobs.get(caller.org_id, request.path_params["id"], caller.project_id)
        return job

    def _shown(self, job: Job) -> dict[str, Any]:
        return job.wire() if self._dialect == "openai" else job.zhipu_wire()


def actor(request: Request, caller: Caller) -> Actor:
    return Actor(caller.user_id, door.address(request.scope))


def _json(body: dict[str, Any]) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(body)
