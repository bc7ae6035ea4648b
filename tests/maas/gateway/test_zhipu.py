"""Zhipu's routes and the coding plan's: who pays, what is found for the model, and what the meters say."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from openglm.errors import UpstreamFailure
from openglm.maas.limits import Rule
from openglm.maas.money import Prices
from openglm.maas.search import Document
from tests.maas.gateway.conftest import YUAN, House

CHAT = "/api/paas/v4/chat/completions"
CODING = "/api/coding/paas/v4/chat/completions"


def chat(*, text: str = "", tools: list | None = None, stream: bool = False, **fields) -> dict:
    script = fields.pop("script", {})
    return {
        "model": "glm",
        "messages": [{"role": "user", "content": text or json.dumps(script)}],
        "stream": stream,
        "thinking": None,
        "response_format": None,
        **({"tools": tools} if tools else {}),
        **fields,
    }


def test_an_answer_names_the_callers_request_id_and_a_second_one_is_a_duplicate(house: House, wait_until):
    body = chat(script={"tokens": 3, "reasoning": 1}, request_id="mine-1")
    answer = house.post(CHAT, body).json()
    assert answer["request_id"] == "mine-1"
    assert answer["choices"][0]["message"]["reasoning_content"] == "w0 "
    assert answer["usage"]["total_tokens"] == 8
    house.settled(wait_until)
    again = house.post(CHAT, body)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "1231")
    assert again.headers["x-should-retry"] == "false"
    assert len(house.usage()) == 1


def test_counting_tokens_is_free_but_not_without_measure(house: House):
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    assert house.post("/api/paas/v4/tokenizer", chat(text="hello")).status_code == 200
    assert house.post("/api/paas/v4/tokenizer", chat(text="hello")).json()["error"]["code"] == "1303"


def test_a_stream_ends_with_usage_and_done(house: House):
    text = house.post(CHAT, chat(script={"tokens": 2}, stream=True)).text
    frames = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    assert json.loads(frames[-2])["usage"]["completion_tokens"] == 2


def test_the_coding_routes_spend_the_plan_and_never_the_wallet(house: House, wait_until):
    refused = house.post(CODING, chat())
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "1113")
    assert refused.headers["x-should-retry"] == "false"
    asyncio.run(house.platform.plans.subscribe(house.org_id, "lite", idempotency_key="one"))
    assert house.post(CODING, chat(script={"tokens": 10, "prompt": 20, "cached": 5})).status_code == 200
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN
    (row,) = house.usage()
    assert (row["cost_nano"], row["credits"]) == (0, 15 + 1 + 30)
    assert "15 uncached input" in row["arithmetic"]


def test_a_search_tells_the_model_what_it_found_and_costs_a_call(house: House, wait_until):
    house.platform._index._add([Document("https://a.example/glm", "About GLM", "GLM fills in blanks.")])
    asyncio.run(Prices(house.platform.database).set("search_std", per_call_nano=10_000_000))
    search = {"type": "web_search", "web_search": {"enable": True, "search_result": True}}
    answer = house.post(CHAT, chat(text="What does GLM fill in?", tools=[search])).json()
    assert [hit["link"] for hit in answer["web_search"]] == ["https://a.example/glm"]
    told = house.upstream.bodies[-1]["messages"]
    assert "GLM fills in blanks." in told[-2]["content"]
    assert told[-1] == {"role": "user", "content": "What does GLM fill in?"}
    house.settled(wait_until)
    assert {row["model"]: row["cost_nano"] for row in house.usage()}["search_std"] == 10_000_000


def test_a_search_of_an_asynchronous_chat_that_failed_is_charged_when_it_succeeds(house: House, wait_until):
    class Flaky:
        tries = 0

        async def search(self, query):
            self.tries += 1
            if self.tries == 1:
                raise UpstreamFailure("the engine is away")
            return await found.search(query)

    house.platform._index._add([Document("https://a.example/glm", "About GLM", "GLM fills in blanks.")])
    found, house.platform.search = house.platform.search, Flaky()
    asyncio.run(Prices(house.platform.database).set("search_std", per_call_nano=10_000_000))
    search = {"type": "web_search", "web_search": {"enable": True}}
    house.post("/api/paas/v4/async/chat/completions", chat(text="What does GLM fill in?", tools=[search]))
    wait_until(lambda: house.rows("SELECT state FROM async_task") == [{"state": "SUCCESS"}])
    house.settled(wait_until)
    searches = [(row["status"], row["cost_nano"]) for row in house.usage() if row["model"] == "search_std"]
    assert searches == [("void", 0), ("ok", 10_000_000)]


def test_an_answer_that_breaks_off_says_that_trying_again_helps(house: House):
    broken = house.post(CHAT, chat(stream=True, script={"dies": 2, "tokens": 5})).text
    assert '"code":"1234"' in broken
    assert "try again later" in broken
    unseen = house.post(CHAT, chat(script={"dies": 0})).json()["error"]
    assert unseen["code"] == "1234"
    assert "try again later" in unseen["message"]


def test_the_search_tools_answer_by_themselves(house: House):
    house.platform._index._add([Document("https://a.example/glm", "About GLM", "GLM fills in blanks.")])
    for name in ("search_std", "web-search-pro", "reader"):
        asyncio.run(Prices(house.platform.database).set(name, per_call_nano=1))
    found = house.post("/api/paas/v4/web_search", {"search_query": "blanks", "search_engine": "search_std"})
    assert found.json()["search_result"][0]["title"] == "About GLM"
    body = {"model": "web-search-pro", "messages": [{"role": "user", "content": "blanks"}]}
    assert house.post("/api/paas/v4/tools", body).status_code == 200
    inside = house.post("/api/paas/v4/reader", {"url": f"{house.url}/health"})
    assert (inside.status_code, inside.json()["error"]["code"]) == (400, "1210")


@pytest.mark.parametrize("vectors", ["few", "ragged"])
def test_vectors_that_are_too_few_or_of_many_sizes_are_no_answer_and_cost_nothing(
    house: House, wait_until, vectors
):
    house.upstream.always = {"vectors": vectors}
    for path, body in (
        ("/api/paas/v4/rerank", {"model": "glm", "query": "a", "documents": ["b", "c"]}),
        ("/api/paas/v4/embeddings", {"model": "glm", "input": ["a", "b", "c"]}),
        ("/v1/embeddings", {"model": "glm", "input": ["a", "b", "c"]}),
    ):
        refused = house.post(path, body)
        assert refused.status_code >= 500, (path, refused.text)
        assert "sent" in refused.json()["error"]["message"], path
    house.settled(wait_until)
    assert {row["cost_nano"] for row in house.usage()} <= {0}


def test_tokens_are_counted_and_embeddings_billed(house: House, wait_until):
    counted = house.post("/api/paas/v4/tokenizer", chat(text="one two three")).json()
    assert counted["usage"]["prompt_tokens"] == 3
    vectors = house.post("/api/paas/v4/embeddings", {"model": "glm", "input": ["a", "b"]}).json()
    assert len(vectors["data"]) == 2
    house.settled(wait_until)
    assert [row["kind"] for row in house.usage()] == ["embedding"]


def test_what_is_not_offered_says_so_with_its_code(house: House):
    for path in ("videos/generations", "async/videos/generations", "audio/speech"):
        answer = house.post(f"/api/paas/v4/{path}", {"model": "glm"})
        assert answer.json()["error"]["code"] == "1222", path
    assert house.post("/v1/images/edits", {}).json()["error"]["code"] == "not_offered"
    assert httpx.post(f"{house.url}/api/paas/v4/videos/generations").status_code == 401
    kept = house.post("/api/llm-application/open/nothing", {"name": "a"})
    assert (kept.status_code, kept.json()["code"], kept.headers["x-openglm-error"]) == (200, 1222, "1222")
    assert house.post("/api/paas/v4/nothing", {}).json()["error"]["code"] == "1222"


def test_unsafe_words_are_refused_before_anything_is_charged(house: House):
    from openglm.maas.moderation import WordList

    house.platform.moderation = WordList({"weapons": ["plutonium pit"]})
    refused = house.post(CHAT, chat(text="how to machine a Plutonium Pit"))
    assert refused.json()["error"]["code"] == "1301"
    assert house.usage() == []


def test_a_request_that_is_refused_pays_for_no_search(house: House, wait_until):
    asyncio.run(Prices(house.platform.database).set("search_std", per_call_nano=10_000_000))
    search = {"type": "web_search", "web_search": {"enable": True}}
    asked = chat(text="blanks", tools=[search], request_id="once-and-no-more")
    assert house.post(CHAT, asked).status_code == 200
    house.settled(wait_until)
    paid = house.balance()
    again = house.post(CHAT, asked)
    assert again.json()["error"]["code"] == "1231"
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    assert house.post(CHAT, chat()).status_code == 200
    house.settled(wait_until)
    paid = house.balance()
    limited = house.post(CHAT, {**asked, "request_id": "a-third-one"})
    assert limited.json()["error"]["code"] == "1303"
    unknown = house.post(CHAT, {**asked, "model": "no-such-model", "request_id": "another-one"})
    assert unknown.json()["error"]["code"] == "1211"
    house.settled(wait_until)
    assert house.balance() == paid
