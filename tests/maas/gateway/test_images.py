"""Images: held for what was asked, paid for what came, handed out as base64 or as links of our own."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import openai
import pytest

from openglm.maas.images.images import KEEP_MS
from openglm.maas.limits import Rule
from openglm.maas.moderation import WordList
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import picture
from tests.maas.gateway.conftest import YUAN, House

EACH = 60_000_000  # nano: 0.06 for an image
ZHIPU = "/api/paas/v4/images/generations"
OPENAI = "/v1/images/generations"


@pytest.fixture
def house(house: House) -> House:
    house.platform.router.add(Channel("draws", house.upstream.url, {"cogview": "wire"}))
    asyncio.run(house.platform.prices.set("cogview", per_image_nano=EACH))
    return house


def asked(n: int = 1, **script) -> dict:
    more = {name: script.pop(name) for name in ("response_format", "request_id") if name in script}
    return {"model": "cogview", "prompt": json.dumps(script), "n": n, **more}


def data_of(house: House, answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    found = []
    for image in answer.json()["data"]:
        if "url" in image:
            assert image["url"].startswith(house.url + "/images/")
            shown = httpx.get(image["url"])
            assert shown.headers["content-type"] == "image/png"
            found.append(shown.content)
        else:
            found.append(base64.b64decode(image["b64_json"]))
    return found


@pytest.mark.parametrize("told", ["b64", "url", "data"])
@pytest.mark.parametrize(
    ("path", "wanted"), [(ZHIPU, None), (ZHIPU, "b64_json"), (OPENAI, "url"), (OPENAI, None)]
)
def test_however_the_upstream_hands_images_over_the_caller_gets_what_they_asked_for(
    house: House, wait_until, told, path, wanted
):
    answer = house.post(path, asked(2, response_format=wanted, **{"as": told}))
    assert data_of(house, answer) == [picture(0), picture(1)]
    assert [image["revised_prompt"] for image in answer.json()["data"]] == ["better 0", "better 1"]
    assert house.upstream.url not in answer.text
    shape = "url" if (wanted or ("url" if path == ZHIPU else "b64_json")) == "url" else "b64_json"
    assert all(shape in image for image in answer.json()["data"])
    house.settled(wait_until)
    (row,) = house.usage()
    assert (row["kind"], row["images"], row["cost_nano"], row["status"]) == ("image", 2, 2 * EACH, "ok")
    assert house.balance() == 10 * YUAN - 2 * EACH


def test_images_that_did_not_come_are_not_paid(house: House, wait_until):
    assert len(house.post(ZHIPU, asked(4, images=3)).json()["data"]) == 3
    assert len(house.post(ZHIPU, asked(2, images=9)).json()["data"]) == 2  # and none that nobody asked for
    house.settled(wait_until)
    assert [(row["images"], row["status"]) for row in house.usage()] == [(3, "partial"), (2, "ok")]
    assert house.balance() == 10 * YUAN - 5 * EACH


@pytest.mark.parametrize(
    "script", [{"images": 0}, {"as": "nothing"}, {"as": "text"}, {"status": 500}, {"status": 503}]
)
def test_no_image_costs_nothing(house: House, wait_until, script):
    answer = house.post(ZHIPU, asked(**script))
    assert answer.status_code >= 429
    assert answer.json()["error"]["code"] in ("1234", "1305")
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN
    assert not house.rows("SELECT 1 FROM file")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "http://169.254.169.254/latest", "file:///etc/passwd"]
)
def test_an_upstream_cannot_make_us_fetch_from_the_inside(house: House, wait_until, url):
    assert house.post(ZHIPU, asked(**{"as": "elsewhere", "url": url})).status_code == 500
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN


def test_who_leaves_while_an_image_is_drawn_pays_for_it_once(house: House, wait_until):
    for number, path in enumerate((ZHIPU, OPENAI), 1):
        with house.left(path, asked(3, pace_s=0.5)):
            wait_until(lambda count=number: len(house.upstream.bodies) == count)
    wait_until(lambda: len(house.usage()) == 2)
    assert [(row["images"], row["cost_nano"]) for row in house.usage()] == [(3, 3 * EACH)] * 2
    assert len(house.upstream.billed) == 2
    assert house.balance() == 10 * YUAN - 6 * EACH


def test_a_wallet_that_does_not_cover_the_images_is_told_before_anything_is_drawn(house: House, wait_until):
    left = 3 * EACH - house.balance()
    asyncio.run(house.platform.wallet.adjust(house.org_id, left, idempotency_key="few", reason="test"))
    assert house.post(ZHIPU, asked(4)).json()["error"]["code"] == "1113"
    assert not house.upstream.bodies
    assert house.post(ZHIPU, asked(3)).status_code == 200
    house.settled(wait_until)
    assert house.balance() == 0


def test_a_request_id_is_good_for_one_answer(house: House, wait_until):
    assert house.post(ZHIPU, asked(request_id="picture-1")).json()["request_id"] == "picture-1"
    house.settled(wait_until)
    again = house.post(ZHIPU, asked(request_id="picture-1"))
    assert again.json()["error"]["code"] == "1231"
    assert len(house.usage()) == 1


def test_a_prompt_passes_the_moderation_and_the_limits_first(house: House):
    house.platform.moderation = WordList({"violence": ["bloodbath"]})
    refused = house.post(ZHIPU, {"model": "cogview", "prompt": "a bloodbath"})
    assert refused.json()["error"]["code"] == "1301"
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    assert house.post(ZHIPU, asked()).status_code == 200
    assert house.post(ZHIPU, asked()).json()["error"]["code"] == "1303"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"size": "large"}, "size"),
        ({"n": 11}, "n"),
        ({"quality": "best"}, "quality"),
        ({"response_format": "png"}, "response_format"),
        ({"stream": True}, "stream"),
    ],
)
def test_what_is_wrong_is_named(house: House, change, param):
    error = house.post(OPENAI, {**asked(), **change}).json()["error"]
    assert error["param"] == param
    assert not house.upstream.bodies


def test_options_reach_the_model_as_they_came_and_no_others(house: House):
    body = asked() | {"size": "1024x768", "quality": "hd", "style": "vivid", "watermark_enabled": False}
    house.post(ZHIPU, body | {"user_id": "customer-7", "unknown": 1})
    (sent,) = house.upstream.bodies
    assert sent == {
        "model": "wire", "prompt": "{}", "n": 1, "size": "1024x768", "quality": "hd", "style": "vivid",
        "watermark_enabled": False, "response_format": "b64_json",
    }  # fmt: skip


def test_a_server_that_knows_no_response_format_is_asked_again_without(house: House, wait_until):
    assert data_of(house, house.post(OPENAI, asked(only_base64=True))) == [picture(0)]
    assert ["response_format" in body for body in house.upstream.bodies] == [True, False]
    house.settled(wait_until)
    assert len(house.usage()) == 1


def test_a_model_that_counts_tokens_is_billed_for_them_too(house: House, wait_until):
    asyncio.run(house.platform.prices.set("cogview", per_image_nano=EACH, output_pico=1_000_000))
    usage = {"input_tokens": 11, "output_tokens": 4_000, "total_tokens": 4_011}
    answer = house.post(OPENAI, asked(usage=usage)).json()
    assert answer["usage"]["total_tokens"] == 4_011
    house.settled(wait_until)
    assert house.usage()[0]["cost_nano"] == EACH + 4_000_000


def test_an_upstreams_verdicts_are_shown_in_the_dialect_that_has_them(house: House):
    verdict = [{"role": "assistant", "level": 3}]
    assert house.post(ZHIPU, asked(content_filter=verdict)).json()["content_filter"] == verdict
    assert "content_filter" not in house.post(OPENAI, asked(content_filter=verdict)).json()


def test_a_link_ends_with_its_image_and_cannot_be_made_up(house: House, wait_until):
    link = house.post(ZHIPU, asked()).json()["data"][0]["url"]
    shown = httpx.get(link)
    assert shown.headers["x-content-type-options"] == "nosniff"
    for broken in (link[:-1] + "0", link.replace(".png", ".svg"), link.partition("?")[0]):
        if broken != link:
            assert httpx.get(broken).status_code == 404
    headers = {"authorization": f"Bearer {house.key}"}
    (file,) = httpx.get(f"{house.url}/v1/files", headers=headers).json()["data"]
    assert file["purpose"] == "image_output"
    house.platform.files._clock = lambda: house.platform.clock() + KEEP_MS
    assert httpx.get(link).status_code == 404
    assert httpx.get(f"{house.url}/v1/files", headers=headers).json()["data"] == []
    assert asyncio.run(house.platform.files.forget_expired()) == 1
    assert not house.rows("SELECT 1 FROM file")
    assert not list((house.platform.settings.data / "blobs").rglob("file_*"))


def test_an_asynchronous_image_is_fetched_later_and_billed_once(house: House, wait_until):
    begun = house.post("/api/paas/v4/async/images/generations", asked(2, request_id="later")).json()
    assert begun["task_status"] == "PROCESSING"
    headers = {"authorization": f"Bearer {house.key}"}
    result = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
    wait_until(lambda: httpx.get(result, headers=headers).json()["task_status"] == "SUCCESS")
    answer = httpx.get(result, headers=headers).json()
    assert [httpx.get(image["url"]).content for image in answer["image_result"]] == [picture(0), picture(1)]
    assert (answer["request_id"], answer["model"]) == ("later", "cogview")
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN - 2 * EACH
    wrong = house.post("/api/paas/v4/async/images/generations", {"model": "cogview"})
    assert wrong.json()["error"]["code"] == "1213"


def test_an_asynchronous_image_waits_out_an_upstream_that_is_down(house: House, wait_until):
    house.upstream.always = {"status": 503}
    begun = house.post("/api/paas/v4/async/images/generations", asked()).json()
    wait_until(lambda: len(house.upstream.bodies) >= 1)
    house.upstream.always = {}
    headers = {"authorization": f"Bearer {house.key}"}
    result = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
    wait_until(lambda: httpx.get(result, headers=headers).json()["task_status"] == "SUCCESS")
    house.settled(wait_until)
    assert sum(row["cost_nano"] for row in house.usage()) == EACH


def test_a_key_for_images_alone_sees_its_tasks_and_one_for_chat_does_not(house: House):
    async def keys() -> tuple[str, str]:
        (owner,) = house.rows("SELECT org_id, project_id FROM api_key")
        make = house.platform.keys.create
        return (
            (await make(owner["org_id"], owner["project_id"], "draws", endpoints=("images",))).key,
            (await make(owner["org_id"], owner["project_id"], "talks", endpoints=("chat",))).key,
        )

    draws, talks = asyncio.run(keys())
    begun = house.post("/api/paas/v4/async/images/generations", asked(), key=draws).json()
    result = f"{house.url}/api/paas/v4/async-result/{begun['id']}"
    assert httpx.get(result, headers={"authorization": draws}).status_code == 200
    assert httpx.get(result, headers={"authorization": talks}).json()["error"]["code"] == "1220"
    assert house.post(ZHIPU, asked(), key=talks).json()["error"]["code"] == "1220"


def test_the_official_client_draws(house: House):
    client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    drawn = client.images.generate(model="cogview", prompt="{}", n=1, size="1024x1024")
    assert base64.b64decode(drawn.data[0].b64_json) == picture(0)
    with pytest.raises(openai.NotFoundError):
        client.images.edit(model="cogview", image=b"x", prompt="y")


def test_metrics_and_sums_count_images(house: House, wait_until):
    assert house.post(ZHIPU, asked(2)).status_code == 200
    house.settled(wait_until)
    text = house.platform.metrics.text().decode()
    assert 'openglm_images_total{model="cogview"} 2.0' in text


def test_an_image_model_behind_a_public_address_has_public_links(house: House):
    house.platform.settings = type(house.platform.settings)(
        data=house.platform.settings.data, public_url="https://glm.example.org"
    )
    link = house.post(ZHIPU, asked()).json()["data"][0]["url"]
    assert link.startswith("https://glm.example.org/images/file_")
