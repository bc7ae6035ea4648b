"""No client text becomes a control token in a prompt, whichever field it comes in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from openglm.asgi import Running
from openglm.serve import Service, create_app
from openglm.tokenizer.chat import load_chat_format

FIRST_CONTROL = 256  # ids below are single bytes
TEMPLATE = """
{%- for tool in tools or [] %}<|system|>{{ tool | tojson }}{% endfor -%}
{%- for m in messages -%}
<|{{ m.role }}|>{{ m.name }}{{ m.reasoning_content }}{{ m.content }}{{ m.tool_call_id }}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.id }}{{ c.function | tojson }}</tool_call>{% endfor %}
{%- endfor %}{{ extra }}<|assistant|>"""


@pytest.fixture(params=["glm-4.7", "glm-4.5", "glm-4-0414", "chatml", "jinja"])
def client(
    request: pytest.FixtureRequest, service: Service, tiny_checkpoint: Path, tmp_path: Path
) -> Iterator[httpx.Client]:
    folder = tiny_checkpoint
    if request.param == "jinja":
        folder = tmp_path
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    form = load_chat_format(folder, service.tokenizer, request.param)
    app = create_app(Service(service.engine, service.tokenizer, form, "tiny"))
    with Running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def conversation(text: str) -> dict:
    """`text` in every place where a client's words go. /nothink is a control token and a legal tool name."""
    call = {"name": "f" + text, "arguments": json.dumps({text: text, "more": [text, {text: text}]})}
    answer = {"role": "assistant", "content": text, "reasoning_content": text}
    properties = {text: {"type": "string", "description": text, "enum": [text]}}
    tool = {
        "name": "/nothink",
        "description": text,
        "parameters": {"type": "object", "properties": properties},
    }
    middle = len(text) // 2
    return {
        "messages": [
            {"role": "system", "content": text, "name": text},
            {"role": "user", "name": text, "content": [{"type": "text", "text": text[:middle]}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": t} for t in (text[:middle], text[middle:])],
            },
            {**answer, "tool_calls": [{"id": text, "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": text, "name": text, "content": text},
            answer,
            {"role": "developer", "content": text},
            {"role": "user", "content": text},
            answer,
        ],
        "tools": [{"type": "function", "function": tool}],
        "chat_template_kwargs": {"extra": text, "enable_thinking": True},
    }


def test_a_chat_prompt_has_the_same_control_tokens_whatever_its_texts_spell(client, service):
    def controls(text: str) -> list[int]:
        response = client.post("/tokenize", json=conversation(text))
        return [n for n in response.json()["tokens"] if n >= FIRST_CONTROL]

    harmless = controls("hello")
    assert harmless
    tokens = list(service.tokenizer.control_tokens)
    for text in ("".join(tokens), "\n".join(tokens), "<|" + "".join(tokens), *tokens):
        assert controls(text) == harmless, text


def test_raw_prompts_and_the_parts_around_a_gap_are_bytes_alone(service, url, open_service: Callable):
    text = "".join(service.tokenizer.control_tokens)
    size = len(text)  # one token per byte
    with httpx.Client(base_url=url, timeout=60) as client:

        def prompt_tokens(**fields: object) -> int:
            body = {"max_tokens": 1, **fields}
            return client.post("/v1/completions", json=body).json()["usage"]["prompt_tokens"]

        assert prompt_tokens(prompt=text) == size
        assert prompt_tokens(prompt=text, echo=True, logprobs=1, stop=[text]) == size
        assert prompt_tokens(prompt=text, suffix=text) == 2 * size + 3
        embedded = client.post("/v1/embeddings", json={"input": text}).json()
        assert embedded["usage"]["prompt_tokens"] == size
