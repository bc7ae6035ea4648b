"""LoRA adapters over HTTP: under names of their own, loaded and unloaded while the server runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from openglm.asgi import Running
from openglm.model import ModelConfig
from openglm.model.lora import new_adapter, write_adapter
from openglm.serve import Service, create_app

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def make_adapter(tiny_checkpoint: Path, tmp_path_factory) -> Callable[[int], Path]:
    """A random adapter for the tiny model, in a folder."""

    def make(seed: int) -> Path:
        generator = torch.Generator().manual_seed(seed)
        adapter = new_adapter(
            ModelConfig.load(tiny_checkpoint), rank=4, alpha=8, targets=None, dropout=0, generator=generator
        )
        pairs = {
            name: replace(pair, B=torch.randn(pair.B.shape, generator=generator))
            for name, pair in adapter.pairs.items()
        }
        folder = tmp_path_factory.mktemp(f"adapter{seed}")
        write_adapter(folder, replace(adapter, pairs=pairs), "tiny")
        return folder

    return make


@pytest.fixture(scope="module")
def adapted(open_service: Callable[..., Service]) -> Service:
    return open_service(max_context=1024, cache_tokens=8192)


@pytest.fixture(scope="module")
def url(adapted: Service) -> Iterator[str]:
    with Running(create_app(adapted, lora_loading=True)) as url:
        yield url


@pytest.fixture
def client(adapted: Service, url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client
    for card in adapted.cards[1:]:
        adapted.unload_adapter(card.name)


def load(client: httpx.Client, name: str, folder: Path | str) -> httpx.Response:
    return client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)})


def ask(client: httpx.Client, model: str, path: str = "/v1/chat/completions", **fields) -> dict:
    body = {"model": model, "messages": HELLO, "max_tokens": 12, "temperature": 0} | fields
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


def test_a_loaded_adapter_is_listed_under_its_model_and_answers_in_its_own_way(client, make_adapter):
    assert load(client, "pirate", make_adapter(1)).status_code == 200
    assert load(client, "poet", make_adapter(2)).status_code == 200
    cards = {card["id"]: card["parent"] for card in client.get("/v1/models").json()["data"]}
    assert cards == {"tiny": None, "pirate": "tiny", "poet": "tiny"}
    assert client.get("/v1/models/poet").json()["parent"] == "tiny"
    answers = {name: ask(client, name) for name in cards}
    assert len({text(answer) for answer in answers.values()}) == 3
    assert {name: answer["model"] for name, answer in answers.items()} == {name: name for name in cards}


def test_streams_completions_embeddings_and_tokens_know_adapters_by_name(client, make_adapter):
    load(client, "pirate", make_adapter(1))
    whole = text(ask(client, "pirate"))
    body = {"model": "pirate", "messages": HELLO, "max_tokens": 12, "temperature": 0, "stream": True}
    assert '"model":"pirate"' in client.post("/v1/chat/completions", json=body).text
    bare, adapted = (
        ask(client, name, "/v1/completions", prompt="hello", logprobs=0)["choices"][0]["logprobs"]
        for name in ("tiny", "pirate")
    )
    assert bare != adapted
    vectors = [
        ask(client, name, "/v1/embeddings", input="hello")["data"][0]["embedding"]
        for name in ("tiny", "pirate")
    ]
    assert vectors[0] != vectors[1]
    assert client.post("/tokenize", json={"model": "pirate", "prompt": "a"}).status_code == 200
    assert text(ask(client, "pirate")) == whole


def test_an_unloaded_adapter_is_a_model_that_is_not_found(client, make_adapter):
    load(client, "pirate", make_adapter(1))
    gone = client.post("/v1/unload_lora_adapter", json={"lora_name": "pirate"})
    assert gone.status_code == 200
    answer = client.post("/v1/chat/completions", json={"model": "pirate", "messages": HELLO})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    again = client.post("/v1/unload_lora_adapter", json={"lora_name": "pirate"})
    assert again.status_code == 404
    assert load(client, "pirate", make_adapter(2)).status_code == 200


def test_names_are_taken_once(client, make_adapter):
    assert load(client, "tiny", make_adapter(1)).status_code == 409
    assert load(client, "pirate", make_adapter(1)).status_code == 200
    twice = load(client, "pirate", make_adapter(2))
    assert twice.status_code == 409
    assert "loaded already" in twice.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"lora_name": "x"}, 400),
        ({"lora_name": "", "lora_path": "/"}, 400),
        ({"lora_name": 3, "lora_path": "/"}, 400),
        ({"lora_name": "x", "lora_path": "/nothing/here"}, 400),
    ],
)
def test_what_is_no_adapter_is_refused_and_nothing_is_loaded(client, fields, status):
    answer = client.post("/v1/load_lora_adapter", json=fields)
    assert answer.status_code == status
    assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny"]


def test_a_stranger_may_not_have_folders_opened(open_service: Callable[..., Service], make_adapter):
    guarded = open_service(max_context=64, cache_tokens=64)
    with Running(create_app(guarded)) as url, httpx.Client(base_url=url) as client:
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            answer = client.post(path, json={"lora_name": "x", "lora_path": str(make_adapter(1))})
            assert answer.status_code == 403
            assert "--lora-loading" in answer.json()["error"]["message"]
    assert len(guarded.cards) == 1
