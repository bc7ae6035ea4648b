"""Search, reader, moderation, images, agents, token counts through Zhipu's SDKs; what is not offered here."""

from __future__ import annotations

import base64
from typing import Any

import httpx

from tests.sdk.table import until
from tests.sdk.zhipu import Sdk, ask, both, zai

QUESTION = [{"role": "user", "content": "what makes tides"}]


@both.works("web_search.web_search")
def a_search_finds_pages_and_says_what_it_took_for_the_question(sdk: Sdk) -> None:
    found = sdk.lenient.web_search.web_search(
        search_engine="search_pro",
        search_query="what makes tides",
        count=5,
        content_size="high",
        request_id="s-1",
    ).model_dump()
    (hit,) = found["search_result"]
    assert (hit["title"], hit["link"], hit["refer"]) == ("Tides", "https://a.example/tides", "ref_1")
    assert found["search_intent"][0]["query"] == "what makes tides"
    assert found["request_id"] == "s-1"
    with sdk.raises("APIRequestFailedError", "1213"):
        sdk.client.web_search.web_search(search_engine="search_std")


@both.works("tools.web_search")
def the_older_search_answers_with_tool_calls_whole_or_streamed(sdk: Sdk) -> None:
    whole = sdk.lenient.tools.web_search(model="web-search-pro", messages=QUESTION, request_id="tool-1")
    assert whole.request_id == "tool-1"
    intent, result = whole.choices[0].message.tool_calls
    assert (intent.type, result.type) == ("search_intent", "search_result")
    chunks = list(sdk.lenient.tools.web_search(model="web-search-pro", messages=QUESTION, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.type for call in calls] == ["search_intent", "search_result"]
    assert calls[1].search_result == result.search_result
    assert chunks[-1].choices[0].finish_reason == "stop"


@zai.works("web_reader.web_reader")
def a_page_is_read_with_its_links_and_images(sdk: Sdk) -> None:
    read = sdk.client.web_reader.web_reader(
        url=sdk.world.page,
        timeout="20",
        return_format="markdown",
        retain_images=True,
        with_images_summary=True,
        with_links_summary=True,
    ).reader_result
    assert (read.title, read.description, read.url) == ("Tides", "About tides", sdk.world.page)
    assert "The tide **turns** twice a day." in read.content
    origin = sdk.world.page.removesuffix("/tides")
    assert read.links == {f"{origin}/moon": "Moon"}
    assert read.images == {f"{origin}/sea.png": "the sea"}
    with sdk.raises("APIRequestFailedError", "1210"):
        sdk.client.web_reader.web_reader(url="file:///etc/passwd")


@both.works("moderations.create")
def a_text_is_judged_whatever_form_it_has(sdk: Sdk) -> None:
    for given in ("a kind word", ["one", "two"], {"type": "text", "text": "a kind word"}):
        judged = sdk.client.moderations.create(model="moderation", input=given).model_dump()
        assert [result["risk_level"] for result in judged["result_list"]] == ["PASS"] * len(
            given if isinstance(given, list) else [given]
        )
        assert judged["id"]


@both.works("images.generations")
def images_come_as_links_or_as_base64(sdk: Sdk) -> None:
    drawn = sdk.client.images.generations(model="glm", prompt="the sea", size="1024x1024", quality="hd", n=2)
    links = [image.url for image in drawn.data]
    assert [httpx.get(link).headers["content-type"] for link in links] == ["image/png"] * 2
    drawn = sdk.client.images.generations(model="glm", prompt="the sea", response_format="b64_json")
    assert base64.b64decode(drawn.data[0].b64_json) == httpx.get(links[0]).content
    with sdk.raises("APIRequestFailedError", "1214"):
        sdk.client.images.generations(model="glm", prompt="the sea", size="big")


@zai.works("images.async_generations", "images.retrieve_images_result")
def images_are_drawn_in_the_background_and_fetched_later(sdk: Sdk) -> None:
    task = sdk.client.images.async_generations(model="glm", prompt="the sea", watermark_enabled=False)
    assert task.task_status == "PROCESSING"

    def ended() -> Any:
        result = sdk.client.images.retrieve_images_result(task.id)
        return result if result.task_status != "PROCESSING" else None

    result = until(ended)
    assert (result.task_status, result.model) == ("SUCCESS", "glm")
    assert httpx.get(result.image_result[0].url).status_code == 200


@both.works("agents.invoke")
def an_agent_answers_whole_or_streamed(sdk: Sdk) -> None:
    asking = {
        "agent_id": "general_translation",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "the sea"}]}],
        "custom_variables": {"source_lang": "en", "target_lang": "zh-CN"},
    }
    whole = sdk.client.agents.invoke(**asking, request_id="agent-1")
    assert (whole.agent_id, whole.status, whole.request_id) == ("general_translation", "success", "agent-1")
    assert whole.choices[0].message.content == {"type": "text", "text": "w0 w1 w2 "}
    assert whole.usage.completion_tokens == 3
    chunks = list(sdk.client.agents.invoke(**asking, stream=True))
    text = "".join(chunk.choices[0].delta.content["text"] for chunk in chunks)
    assert text == "w0 w1 w2 "
    assert chunks[-1].usage.completion_tokens == 3
    with sdk.raises("APIRequestFailedError", "1214"):
        sdk.client.agents.invoke(**{**asking, "agent_id": "nobody"})


@both.works("agents.invoke", "agents.async_result")
def an_agent_answers_later(sdk: Sdk) -> None:
    begun = sdk.client.agents.invoke(
        agent_id="text_review", messages=ask("teh sea"), extra_body={"async": True}
    )
    assert begun.status == "pending"

    def ended() -> Any:
        result = sdk.client.agents.async_result(agent_id="text_review", async_id=begun.async_id)
        return result if result.status != "pending" else None

    result = until(ended)
    assert result.status == "success"
    assert result.conversation_id == begun.conversation_id
    assert result.choices[0].message.content["text"] == "w0 w1 w2 "


@both.works()
def tokens_are_counted_models_listed_and_texts_ranked_by_the_clients_own_post(sdk: Sdk) -> None:
    counted = sdk.client.post(
        "/tokenizer", body={"model": "glm", "messages": ask("one two")}, cast_type=object
    )
    assert counted["usage"] == {"prompt_tokens": 2, "image_tokens": 0, "video_tokens": 0, "total_tokens": 2}
    models = sdk.client.get("/models", cast_type=object)
    assert [model["id"] for model in models["data"]] == ["glm"]
    body: dict[str, Any] = {
        "model": "rerank",
        "query": "tides",
        "documents": ["bread", "the tides"],
        "top_n": 1,
    }
    ranked = sdk.client.post("/rerank", body=body, cast_type=object)
    assert [result["index"] for result in ranked["results"]] == [1]


both.refuses("1222", "audio.speech", "audio.transcriptions.create", "videos.generations")
both.refuses("1222", "audio.customization", voice_data=("a.wav", b"sound"))
both.refuses("1222", "assistant.conversation", messages=[{"role": "user", "content": "hi"}])
both.refuses("1222", "assistant.query_support", "assistant.query_conversation_usage")
both.refuses("1222", "file_parser.create", "file_parser.content", file=("a.pdf", b"%PDF"), task_id="x")
both.refuses("1233", "videos.retrieve_videos_result")
zai.refuses("1222", "file_parser.create_sync", file=("a.pdf", b"%PDF"), tool_type="prime-sync")
zai.refuses(
    "1222", "ocr.handwriting_ocr", "layout_parsing.create", "voice.clone", "voice.delete", "voice.list"
)
zai.refuses("1233", "images.retrieve_images_result")
