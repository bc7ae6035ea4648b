"""The routes of knowledge bases: in envelopes below /api/llm-application/open, plain where zhipuai asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.asgi.body import decoded, read_body
from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.zhipu.errors import envelope
from openglm.errors import InvalidRequest, NotOffered, OpenGLMError
from openglm.maas.documents.reading import MAX_BYTES
from openglm.maas.files.multipart import Upload, read_uploads
from openglm.maas.files.routes import Wrap, whole
from openglm.maas.knowledge.knowledge import Base, Manners
from openglm.maas.knowledge.retrieve import RETRIEVAL, Found, Question

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.identity.caller import Caller

MAX_BODY = 1 << 20
MAX_FILES = 10
MAX_URLS = 20
MAX_QUESTION = 1000  # characters, as documented
MAX_PAGE = 100
Answer = Callable[["Request", "Caller"], Awaitable[Any]]
PLACES = (  # knowledge, document, wrap's word
    ("/api/llm-application/open/knowledge", "/api/llm-application/open/document", "envelope"),
    ("/api/paas/v4/knowledge", "/api/paas/v4/document", "zhipu"),
)


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import Response
    from starlette.routing import Route

    def answering(word: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            caller = await platform.caller(request, endpoint="knowledge")
            data = await answer(request, caller)
            body = envelope(data) if word == "envelope" else ({} if data is None else data)
            return Response(msgspec.json.encode(body), media_type="application/json")

        return wrap(word, handle)

    async def create(request: Request, caller: Caller) -> Any:
        return {"id": await platform.knowledge.create(caller, read_base(await _fields(request)))}

    async def list_bases(request: Request, caller: Caller) -> Any:
        page, size = _page(request, "size")
        rows, total = await platform.knowledge.bases(caller, page=page, size=size)
        return {"list": [_base(row) for row in rows], "object": "list", "total": total}

    async def one(request: Request, caller: Caller) -> Any:
        return _base(await platform.knowledge.base(caller, request.path_params["id"]))

    async def change(request: Request, caller: Caller) -> Any:
        base_id = request.path_params["id"]
        before = await platform.knowledge.base(caller, base_id)
        sent = await _fields(request)
        kept = {name: before[name] for name in Base.__dataclass_fields__}
        given = {name: value for name, value in sent.data.items() if value is not None}
        await platform.knowledge.change(caller, base_id, read_base(Fields({**kept, **given})))

    async def delete(request: Request, caller: Caller) -> Any:
        await platform.knowledge.delete(caller, request.path_params["id"])

    async def capacity(request: Request, caller: Caller) -> Any:
        return await platform.knowledge.capacity(caller)

    async def retrieve(request: Request, caller: Caller) -> Any:
        question, bases = read_question(await _fields(request))
        with platform.limits.enter(caller, RETRIEVAL, 0):
            return [_found(one) for one in await platform.knowledge.retrieve(caller, question, bases)]

    async def documents(request: Request, caller: Caller) -> Any:
        return await document_page(platform, request, caller)

    async def upload(request: Request, caller: Caller) -> Any:
        async with read_uploads(request, MAX_BYTES, most=MAX_FILES) as sent:
            return await take_documents(platform, caller, request.path_params["id"], sent)

    async def upload_urls(request: Request, caller: Caller) -> Any:
        return await add_urls(platform, caller, await _fields(request))

    async def document(request: Request, caller: Caller) -> Any:
        return _document(await platform.knowledge.document(caller, request.path_params["id"]))

    async def text(request: Request, caller: Caller) -> Any:
        return {"text": await platform.knowledge.text(caller, request.path_params["id"])}

    async def edit(request: Request, caller: Caller) -> Any:
        manners = read_manners(await _fields(request))
        await platform.knowledge.read_again(caller, request.path_params["id"], manners)

    async def read_again(request: Request, caller: Caller) -> Any:
        fields = await _fields(request, empty=True)
        _refuse_callbacks(fields)
        await platform.knowledge.read_again(caller, request.path_params["id"])

    async def images(request: Request, caller: Caller) -> Any:
        await platform.knowledge.document(caller, request.path_params["id"])
        return {"text": "", "images": []}  # no reader here takes pictures out of documents

    async def delete_document(request: Request, caller: Caller) -> Any:
        await platform.knowledge.delete_document(caller, request.path_params["id"])

    return [
        Route(path, answering(word, answer), methods=[method])
        for bases, papers, word in PLACES
        for method, path, answer in (
            ("POST", bases, create),
            ("GET", bases, list_bases),
            ("GET", f"{bases}/capacity", capacity),
            ("POST", f"{bases}/retrieve", retrieve),
            ("GET", f"{bases}/{{id}}", one),
            ("PUT", f"{bases}/{{id}}", change),
            ("DELETE", f"{bases}/{{id}}", delete),
            ("GET", papers, documents),
            ("POST", f"{papers}/upload_document/{{id}}", upload),
            ("POST", f"{papers}/upload_url", upload_urls),
            ("POST", f"{papers}/embedding/{{id}}", read_again),
            ("POST", f"{papers}/slice/image_list/{{id}}", images),
            ("GET", f"{papers}/{{id}}/text", text),
            ("GET", f"{papers}/{{id}}", document),
            ("PUT", f"{papers}/{{id}}", edit),
            ("DELETE", f"{papers}/{{id}}", delete_document),
        )
    ]


async def document_page(platform: Any, request: Request, caller: Caller) -> dict[str, Any]:
    """One page of the documents of the base that the query names."""
    page, size = _page(request, "limit" if "limit" in request.query_params else "size")
    rows, total = await platform.knowledge.documents(
        caller,
        request.query_params.get("knowledge_id", ""),
        page=page,
        size=size,
        word=request.query_params.get("word", "")[:200],
    )
    return {"list": [_document(row) for row in rows], "object": "list", "total": total}


async def take_documents(
    platform: Any, caller: Caller, base_id: str, sent: Sequence[Upload]
) -> dict[str, Any]:
    """Each file that was sent, taken in or refused by itself."""
    taken, refused = [], []
    manners = read_manners(Fields(dict(_plain(name, value) for name, value in sent[0].fields.items())))
    await platform.knowledge.base(caller, base_id)
    for file in sent:
        try:
            document = await platform.knowledge.add(caller, base_id, file.filename, file.chunks(), manners)
            taken.append({"documentId": document, "fileName": file.filename, "filename": file.filename})
        except OpenGLMError as error:
            refused.append({"fileName": file.filename, "filename": file.filename, "failReason": str(error)})
    return {"successInfos": taken, "failedInfos": refused}


async def add_urls(platform: Any, caller: Caller, fields: Fields) -> dict[str, Any]:
    """Each URL of `upload_detail`, taken in or refused by itself."""
    base_id = fields.needed_text("knowledge_id")
    await platform.knowledge.base(caller, base_id)
    taken: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    details = list(fields.objects("upload_detail", MAX_URLS))
    if not details:
        raise fields.wrong("upload_detail", "a list of objects with a url")
    for detail in details:
        url = detail.needed_text("url")
        try:
            document = await platform.knowledge.add_url(caller, base_id, url, read_manners(detail))
            taken.append({"documentId": document, "url": url, "filename": url})
        except OpenGLMError as error:
            refused.append({"url": url, "filename": url, "failReason": str(error)})
    return {"successInfos": taken, "failedInfos": refused}


def read_base(fields: Fields) -> Base:
    embedding = fields.raw("embedding_id")
    if isinstance(embedding, str) and embedding.isdecimal() and len(embedding) < 4:
        fields = Fields({**fields.data, "embedding_id": int(embedding)})
    number = fields.integer("embedding_id", 0, 999)
    if number is None:
        raise fields.wrong("embedding_id", "3, 11 or 12")
    return Base(
        fields.needed_text("name"),
        number,
        fields.text("description"),
        fields.text("background"),
        fields.text("icon"),
    )


def read_manners(fields: Fields) -> Manners:
    _refuse_callbacks(fields)
    kind = fields.raw("knowledge_type")
    if isinstance(kind, str) and kind.isdecimal() and len(kind) < 4:
        fields = Fields({**fields.data, "knowledge_type": int(kind)})
    marks = fields.items("custom_separator", 16)
    if not all(isinstance(mark, str) for mark in marks):
        raise fields.wrong("custom_separator", "a list of texts")
    return Manners(
        fields.integer("knowledge_type", 1, 99),
        tuple(marks) or ("\n",),
        fields.integer("sentence_size", 1, 100_000),
    )


def read_question(fields: Fields) -> tuple[Question, list[str]]:
    text = fields.needed_text("query")
    if len(text) > MAX_QUESTION:
        raise fields.wrong("query", f"at most {MAX_QUESTION} characters")
    bases = fields.items("knowledge_ids", 100)
    if not bases or not all(isinstance(base, str) for base in bases):
        raise fields.wrong("knowledge_ids", "a list of 1 to 100 ids")
    documents = fields.items("document_ids", 1000)
    if not all(isinstance(document, str) for document in documents):
        raise fields.wrong("document_ids", "a list of ids")
    if fields.text("rerank_model") not in (None, "rerank", "rerank-pro"):
        raise fields.wrong("rerank_model", "rerank")
    count = fields.integer("top_k", 1, 20) or 8
    ratio = fields.integer("recall_ratio", 0, 100)
    question = Question(
        text,
        count=count,
        recalled=max(fields.integer("top_n", 1, 100) or 10, count),
        method=fields.word("recall_method", ("embedding", "keyword", "mixed")) or "mixed",  # type: ignore[arg-type]
        ratio=0.8 if ratio is None else ratio / 100,
        rerank=bool(fields.integer("rerank_status", 0, 1)),
        threshold=fields.number("fractional_threshold", 0.0, 1.0) or 0.0,
        documents=frozenset(documents) or None,
    )
    return question, bases


def _plain(name: str, value: str) -> tuple[str, Any]:
    """A form's field as JSON has it: numbers, and a list of separators, which SDKs call name[]."""
    if name in ("knowledge_type", "sentence_size") and value.isdecimal() and len(value) < 7:
        return name, int(value)
    if name == "custom_separator[]":
        return "custom_separator", [value]
    if name == "custom_separator":
        try:
            found = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return name, [value]
        return name, found if isinstance(found, list) else [value]
    return name, value


def _refuse_callbacks(fields: Fields) -> None:
    if fields.raw("callback_url"):
        raise NotOffered("callback_url is not offered here yet", hint="ask for the document's embedding_stat")


async def _fields(request: Request, *, empty: bool = False) -> Fields:
    body = await read_body(request.scope, request.receive, MAX_BODY)
    return await decoded(parse_object, b"{}" if empty and not body else body)


def _page(request: Request, size: str) -> tuple[int, int]:
    query: Mapping[str, str] = request.query_params
    page, count = whole(query.get("page"), 1, "page"), whole(query.get(size), 10, size)
    if not 1 <= page <= 100_000 or not 1 <= count <= MAX_PAGE:
        raise InvalidRequest(f"page must be from 1, {size} from 1 to {MAX_PAGE}, got {page} and {count}")
    return page, count


def _base(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "embedding_id": row["embedding_id"],
        "name": row["name"],
        "description": row["description"],
        "background": row["background"],
        "icon": row["icon"],
        "document_size": row["documents"],
        "length": int(row["bytes"]),
        "word_num": int(row["words"]),
        "created_at": row["created_at"] // 1000,
    }


def _document(row: Any) -> dict[str, Any]:
    failed = {"embedding_code": row["fail_code"], "embedding_msg": row["fail_message"]}
    return {
        "id": row["id"],
        "knowledge_id": row["knowledge_id"],
        "knowledge_type": row["knowledge_type"],
        "custom_separator": msgspec.json.decode(row["separators"]),
        "sentence_size": row["sentence_size"],
        "length": row["bytes"],
        "word_num": row["word_num"],
        "name": row["name"],
        "url": row["url"],
        "embedding_stat": row["state"],
        "failInfo": failed if row["state"] == 2 else None,
    }


def _found(one: Found) -> dict[str, Any]:
    return {
        "text": one.text,
        "score": one.score,
        "metadata": {
            "_id": f"{one.document_id}-{one.number}",
            "knowledge_id": one.knowledge_id,
            "doc_id": one.document_id,
            "doc_name": one.document,
            "doc_url": one.url,
            "contextual_text": one.heading,
            "start": one.start,
            "end": one.end,
            "page": one.page,
            "row": one.row,
        },
    }
