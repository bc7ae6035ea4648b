"""Embeddings, files, batches and knowledge bases through Zhipu's SDKs."""

from __future__ import annotations

import json
from typing import Any

from tests.sdk.table import until
from tests.sdk.zhipu import Sdk, both, zai, zhipuai

MANUAL = ("manual.md", b"# Pump\n\nThe pump makes 42 litres a minute.\n", "text/markdown")
OPEN = "/api/llm-application/open"


@both.works("embeddings.create")
def vectors_come_in_the_order_of_the_inputs(sdk: Sdk) -> None:
    made = sdk.client.embeddings.create(model="glm", input=["a", "four"], request_id=f"{sdk.name}-embed")
    assert [(entry.index, entry.embedding) for entry in made.data] == [(0, [1.0, 1.0]), (1, [4.0, 1.0])]
    assert (made.object, made.model) == ("list", "glm")
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (14, 14)
    assert sdk.client.embeddings.create(model="glm", input="one").data[0].embedding == [3.0, 1.0]


@both.works("files.create", "files.list", "files.content", "files.delete")
def a_file_is_kept_listed_read_and_deleted(sdk: Sdk) -> None:
    files = sdk.client.files
    kept = files.create(file=("training.jsonl", b'{"a": 1}\n'), purpose="fine-tune")
    assert (kept.filename, kept.bytes, kept.purpose, kept.object) == (
        "training.jsonl",
        9,
        "fine-tune",
        "file",
    )
    older = files.create(file=("older.jsonl", b"{}"), purpose="batch")
    assert {kept.id, older.id} <= {file.id for file in files.list().data}
    assert [file.id for file in files.list(purpose="fine-tune", limit=1).data] == [kept.id]
    assert [file.id for file in files.list(after=kept.id, order="asc").data][:1] == [older.id]
    content = files.content(kept.id)
    assert content.content == b'{"a": 1}\n'
    assert content.response.headers["content-disposition"].startswith("attachment")
    gone = files.delete(kept.id)
    assert (gone.id, gone.deleted) == (kept.id, True)
    with sdk.raises("APIRequestFailedError", "1233"):
        files.content(kept.id)
    files.delete(older.id)


@both.works("files.create")
def the_raw_answer_of_an_upload_can_be_had(sdk: Sdk) -> None:
    raw = sdk.package.api_resource.FilesWithRawResponse(sdk.client.files)
    answer = raw.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.parse().filename == "a.jsonl"


@both.works("files.create")
def an_upload_for_nothing_known_is_told_so(sdk: Sdk) -> None:
    with sdk.raises("APIRequestFailedError", "1214"):
        sdk.client.files.create(file=("a.txt", b"a"), purpose="fun")
    with sdk.raises("APIRequestFailedError", "1210"):
        sdk.client.files.create(file=("a.txt", b""), purpose="batch")


@both.works("batches.create", "batches.retrieve", "batches.list")
def a_batch_is_answered_row_by_row_in_zhipus_words(sdk: Sdk) -> None:
    for endpoint in ("/v4/chat/completions", "/v1/chat/completions"):  # the documentation's, and the SDK's
        rows = [row("row-0001", endpoint), row("row-0002", endpoint, model="nobody")]
        done = ended(sdk, "\n".join(rows), endpoint)
        assert (done.status, done.endpoint, done.object) == ("completed", endpoint, "batch")
        counts = done.request_counts
        assert (counts.total, counts.completed, counts.failed) == (2, 1, 1)
        good = json.loads(sdk.client.files.content(done.output_file_id).content)
        assert good["custom_id"] == "row-0001"
        body = good["response"]["body"]
        assert body["choices"][0]["message"]["content"] == "w0 w1 "
        assert body["request_id"]
        bad = json.loads(sdk.client.files.content(done.error_file_id).content)
        assert bad["response"]["body"]["error"]["code"] == "1211"
        assert done.id in [batch.id for batch in sdk.client.batches.list(limit=1)]


@both.works("batches.list")
def pages_of_batches_follow_each_other_to_the_end(sdk: Sdk) -> None:
    seen = [batch.id for batch in sdk.client.batches.list(limit=1)]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) >= 2
    first = sdk.client.batches.list(limit=1)
    assert first.has_next_page()
    assert first.get_next_page().data[0].id == seen[1]


@both.works("batches.create", "batches.cancel")
def a_batch_is_cancelled_or_says_why_not(sdk: Sdk) -> None:
    slow = "\n".join(row(f"slow-{number:04}", pace_s=0.05, tokens=100) for number in range(200))
    batch = begun(sdk, slow)
    assert sdk.client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    until(lambda: sdk.client.batches.retrieve(batch.id).status == "cancelled")
    done = ended(sdk, row("row-0001"))
    with sdk.raises("APIRequestFailedError", "1230"):
        sdk.client.batches.cancel(done.id)


@both.works("batches.create")
def a_batch_whose_rows_cannot_be_read_names_the_lines(sdk: Sdk) -> None:
    failed = ended(sdk, row("short") + "\n{nonsense")
    assert failed.status == "failed"
    assert [(error.line, error.code) for error in failed.errors.data] == [
        (1, "invalid_custom_id"),
        (2, "invalid_json_line"),
    ]


@zhipuai.works(
    "knowledge.create", "knowledge.modify", "knowledge.query", "knowledge.delete", "knowledge.used"
)
def a_knowledge_base_is_made_changed_listed_and_deleted(sdk: Sdk) -> None:
    knowledge = sdk.client.knowledge
    made = knowledge.create(
        embedding_id=3, name="manuals", description="of pumps", background="blue", icon="book"
    )
    assert made.id
    assert knowledge.modify(made.id, 3, name="handbooks", description="of all pumps").status_code == 200
    page = sdk.lenient.knowledge.query(page=1, size=10)  # whose ids of embeddings are typed as texts
    (base,) = [base for base in page.list if base.id == made.id]
    assert (base.name, base.description, base.icon) == ("handbooks", "of all pumps", "book")
    used = knowledge.used()
    assert used.used.word_num >= 0
    assert used.total.length > 0
    assert knowledge.delete(made.id).status_code == 200
    with sdk.raises("APIRequestFailedError", "1233"):
        knowledge.delete(made.id)


@zhipuai.works(
    "knowledge.document.create",
    "knowledge.document.list",
    "knowledge.document.retrieve",
    "knowledge.document.edit",
    "knowledge.document.delete",
)
def documents_are_uploaded_read_cut_anew_and_deleted(sdk: Sdk) -> None:
    base = sdk.client.knowledge.create(embedding_id=3, name="manuals").id
    documents = sdk.client.knowledge.document
    sent = documents.create(
        file=MANUAL, purpose="retrieval", knowledge_id=base, sentence_size=202, custom_separator=["\n"]
    )
    assert not sent.failedInfos
    (taken,) = sent.successInfos
    assert taken.filename == "manual.md"

    def read() -> Any:
        # The SDK types sentence_size as a text and the address of an upload, which has none, too.
        document = sdk.lenient.knowledge.document.retrieve(taken.documentId)
        return document if document.embedding_stat == 1 else None

    document = until(read)
    assert (document.name, document.length) == ("manual.md", len(MANUAL[1]))
    page = sdk.lenient.knowledge.document.list(base, purpose="retrieval", page="1", limit="10", order="desc")
    assert [document.id for document in page.list] == [taken.documentId]
    assert documents.edit(taken.documentId, "5", custom_separator=["."], sentence_size=300).status_code == 200
    until(read)
    tool = {"type": "retrieval", "retrieval": {"knowledge_id": base}}
    question = [{"role": "user", "content": "How many litres does the pump make?"}]
    assert sdk.client.chat.completions.create(model="glm", messages=question, tools=[tool]).choices
    assert documents.delete(taken.documentId).status_code == 200
    assert documents.list(base).list == []


@both.works()
def documents_may_be_named_by_their_addresses(sdk: Sdk) -> None:
    """The SDKs have `upload_detail` for this and stumble over the missing file: so by their post."""
    client, base = sdk.client, made_base(sdk)
    details = [{"url": sdk.world.page, "knowledge_type": 1}, {"url": "ftp://a.example", "knowledge_type": 1}]
    body = {"upload_detail": details, "purpose": "retrieval", "knowledge_id": base}
    sent = client.post("/files", body=body, cast_type=object)
    (taken,), (refused,) = sent["successInfos"], sent["failedInfos"]
    assert (taken["url"], refused["url"]) == (sdk.world.page, "ftp://a.example")
    assert refused["failReason"]
    where = f"{sdk.world.url}{OPEN}/document/{taken['documentId']}"
    until(lambda: client.get(where, cast_type=object)["data"]["embedding_stat"] == 1)


@zai.works("files.create")
def a_file_for_retrieval_goes_into_its_knowledge_base(sdk: Sdk) -> None:
    client, open_, base = sdk.client, f"{sdk.world.url}{OPEN}", made_base(sdk)
    sdk.lenient.files.create(file=MANUAL, purpose="retrieval", knowledge_id=base, sentence_size=300)
    query = {"params": {"knowledge_id": base}}
    (document,) = client.get(f"{open_}/document", options=query, cast_type=object)["data"]["list"]
    assert document["name"] == "manual.md"
    where = f"{open_}/document/{document['id']}"
    until(lambda: client.get(where, cast_type=object)["data"]["embedding_stat"])
    asked = {"query": "litres", "knowledge_ids": [base]}
    found = client.post(f"{open_}/knowledge/retrieve", body=asked, cast_type=object)
    assert "42 litres" in found["data"][0]["text"]
    assert client.delete(f"{open_}/knowledge/{base}", cast_type=object)["code"] == 200


@both.works("files.create")
def a_file_for_retrieval_into_no_knowledge_base_is_told_so(sdk: Sdk) -> None:
    with sdk.raises("APIRequestFailedError", "1233"):
        sdk.client.files.create(file=MANUAL, purpose="retrieval", knowledge_id="kb_nobody")


def made_base(sdk: Sdk) -> str:
    body = {"embedding_id": 3, "name": "manuals"}
    made = sdk.client.post(f"{sdk.world.url}{OPEN}/knowledge", body=body, cast_type=object)
    return made["data"]["id"]


def row(custom_id: str, url: str = "/v4/chat/completions", model: str = "glm", **script: Any) -> str:
    message = {"role": "user", "content": json.dumps({"tokens": 2, **script})}
    body = {"model": model, "messages": [message]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def begun(sdk: Sdk, rows: str, endpoint: str = "/v4/chat/completions") -> Any:
    file = sdk.client.files.create(file=("rows.jsonl", rows.encode()), purpose="batch")
    return sdk.client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"why": "test"}
    )


def ended(sdk: Sdk, rows: str, endpoint: str = "/v4/chat/completions") -> Any:
    batch = begun(sdk, rows, endpoint)

    def over() -> Any:
        found = sdk.client.batches.retrieve(batch.id)
        return found if found.status in ("completed", "failed", "cancelled") else None

    return until(over)
