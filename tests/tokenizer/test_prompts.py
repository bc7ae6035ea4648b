"""Prompts as the published templates write them, against which these strings were checked."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message, TextPart, ToolCall, ToolSpec
from openglm.tokenizer.chat import ChatFormat, Rendered

WEATHER = ToolSpec("weather", "Now", {"type": "object", "properties": {"city": {"type": "string"}}})
DECLARED = (
    '{"type": "function", "function": {"name": "weather", "description": "Now", "parameters": '
    '{"type": "object", "properties": {"city": {"type": "string"}}}}}'
)
CALL = ToolCall("call_1", "weather", '{"city": "巴黎", "days": 2}')
TOOL_ROUND = [
    Message.of("user", "q1"),
    Message.of("assistant", "old", reasoning="forgotten"),
    Message.of("user", "q2"),
    Message.of("assistant", "see", reasoning="kept", tool_calls=(CALL, ToolCall("call_2", "weather", "{}"))),
    Message.of("tool", "sun"),
    Message.of("tool", "rain"),
]


def text(chat: ChatFormat, rendered: Rendered) -> str:
    return chat.tokenizer.decode(rendered.ids)  # type: ignore[attr-defined]


def marked(chat: ChatFormat, rendered: Rendered) -> str:
    """The prompt with what the model writes in double brackets."""
    parts = []
    for written, pairs in groupby(zip(rendered.ids, rendered.mask, strict=True), key=lambda pair: pair[1]):
        run = chat.tokenizer.decode([token_id for token_id, _ in pairs])  # type: ignore[attr-defined]
        parts.append(f"⟦{run}⟧" if written else run)
    return "".join(parts)


HI = [Message.of("system", "S"), Message.of("user", "Hi")]
SIMPLE = {
    "glm-4.5": "[gMASK]<sop><|system|>\nS<|user|>\nHi<|assistant|>",
    "glm-4.7": "[gMASK]<sop><|system|>S<|user|>Hi<|assistant|><think>",
    "glm-4-9b": "[gMASK]<sop><|system|>\nS<|user|>\nHi<|assistant|>",
    "glm-4-0414": "[gMASK]<sop><|system|>\nS<|user|>\nHi<|assistant|>",
    "codegeex4": "[gMASK]<sop><|system|>\nS<|user|>\nHi<|assistant|>",
    "glm-edge": "<|system|>\nS<|user|>\nHi<|assistant|>",
    "glm-z1": "[gMASK]<sop><|system|>\nS<|user|>\nHi<|assistant|>\n<think>",
    "glm-z1-rumination": "[gMASK]<sop><|system|>\n你是一个深度研究助手\n\n[]<|user|>\nHi<|assistant|>",
    "qwen2.5": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.mark.parametrize("name", SIMPLE)
def test_a_system_turn_and_a_question(name: str, formats: dict[str, ChatFormat]) -> None:
    assert text(formats[name], formats[name].render(HI)) == SIMPLE[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glm-4.5", "[gMASK]<sop><|user|>\nHi/nothink<|assistant|>\n<think></think>"),
        ("glm-4.7", "[gMASK]<sop><|user|>Hi<|assistant|></think>"),
    ],
)
def test_thinking_off(name: str, expected: str, formats: dict[str, ChatFormat]) -> None:
    rendered = formats[name].render([Message.of("user", "Hi")], thinking=False)
    assert text(formats[name], rendered) == expected
    assert not rendered.reasoning_open


def test_reasoning_is_open_where_the_prompt_opens_it(formats: dict[str, ChatFormat]) -> None:
    opened = {name for name, chat in formats.items() if chat.render(HI).reasoning_open}
    assert opened == {"glm-4.7", "glm-z1"}


def test_smollm2_gets_its_default_system_turn_only_where_there_is_none(
    formats: dict[str, ChatFormat],
) -> None:
    chat = formats["smollm2"]
    default = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    )
    assert text(chat, chat.render(HI[1:])).startswith(default + "<|im_start|>user\nHi")
    assert default not in text(chat, chat.render(HI))


def test_tools_of_glm45_are_declared_in_a_turn_of_their_own(formats: dict[str, ChatFormat]) -> None:
    prompt = text(formats["glm-4.5"], formats["glm-4.5"].render(HI, tools=[WEATHER]))
    assert prompt.startswith("[gMASK]<sop><|system|>\n# Tools\n\nYou may call")
    assert f"XML tags:\n<tools>\n{DECLARED}\n</tools>\n\nFor each function call" in prompt
    assert prompt.endswith(
        "XML format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}"
        "</arg_value>\n<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>"
        "<|system|>\nS<|user|>\nHi<|assistant|>"
    )


def test_tools_of_glm4_are_declared_in_chinese(formats: dict[str, ChatFormat]) -> None:
    declared = (
        '# 可用工具\n\n## weather\n\n{\n    "name": "weather",\n    "description": "Now",\n    "parameters": '
        '{\n        "type": "object",\n        "properties": {\n            "city": {\n                '
        '"type": "string"\n            }\n        }\n    }\n}\n'
        "在调用上述函数时，请使用 Json 格式表示调用的参数。"
    )
    ours = {name: text(formats[name], formats[name].render(HI, tools=[WEATHER])) for name in formats}
    assert ours["glm-4-0414"].startswith(f"[gMASK]<sop><|system|>\n{declared}<|system|>\nS<|user|>")
    assert "GLM-4 的人工智能助手" in ours["glm-4-9b"]
    assert f"支持。\n\n{declared}<|system|>\nS<|user|>" in ours["glm-4-9b"]
    assert "支持。\n\n" + declared.replace("工具\n\n##", "工具\n##") in ours["glm-z1"]


def test_tools_of_chatml_stand_at_the_end_of_the_system_turn(formats: dict[str, ChatFormat]) -> None:
    prompt = text(formats["qwen2.5"], formats["qwen2.5"].render(HI, tools=[WEATHER]))
    assert prompt.startswith("<|im_start|>system\nS\n\n# Tools\n\nYou may")
    assert f"XML tags:\n<tools>\n{DECLARED}\n</tools>\n\nFor" in prompt
    assert (
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>'
        in prompt
    )


def test_a_round_of_tools_in_glm45(formats: dict[str, ChatFormat]) -> None:
    chat = formats["glm-4.5"]
    assert marked(chat, chat.render(TOOL_ROUND)) == (
        "[gMASK]<sop><|user|>\nq1<|assistant|>\n<think></think>⟦\nold<|user|>⟧\nq2<|assistant|>⟦\n<think>kept"
        "</think>\nsee\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>巴黎</arg_value>\n<arg_key>days"
        "</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>weather\n</tool_call><|observation|>⟧"
        "\n<tool_response>\nsun\n</tool_response>\n<tool_response>\nrain\n</tool_response><|assistant|>"
    )


def test_a_round_of_tools_in_glm47(formats: dict[str, ChatFormat]) -> None:
    chat = formats["glm-4.7"]
    assert marked(chat, chat.render(TOOL_ROUND)) == (
        "[gMASK]<sop><|user|>q1<|assistant|></think>⟦old<|user|>⟧q2<|assistant|><think>⟦kept</think>see"
        "<tool_call>weather<arg_key>city</arg_key><arg_value>巴黎</arg_value><arg_key>days</arg_key><arg_value>2"
        "</arg_value></tool_call><tool_call>weather</tool_call><|observation|>⟧<tool_response>sun"
        "</tool_response><tool_response>rain</tool_response><|assistant|><think>"
    )


def test_a_round_of_tools_in_glm4(formats: dict[str, ChatFormat]) -> None:
    chat = formats["glm-4-0414"]
    assert marked(chat, chat.render(TOOL_ROUND)) == (
        "[gMASK]<sop><|user|>\nq1<|assistant|>⟦\nold<|user|>⟧\nq2<|assistant|>⟦\nsee<|assistant|>weather\n"
        '{"city": "巴黎", "days": 2}<|assistant|>weather\n{}<|observation|>⟧\nsun<|observation|>\nrain'
        "<|assistant|>"
    )


def test_a_round_of_tools_in_chatml(formats: dict[str, ChatFormat]) -> None:
    chat = formats["chatml"]
    assert marked(chat, chat.render(TOOL_ROUND[2:])) == (
        "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦see\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "巴黎", "days": 2}}\n</tool_call>\n<tool_call>\n'
        '{"name": "weather", "arguments": {}}\n</tool_call><|im_end|>⟧\n<|im_start|>user\n<tool_response>\n'
        "sun\n</tool_response>\n<tool_response>\nrain\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", ["glm-4.5", "glm-4.7", "glm-z1"])
def test_keep_reasoning_keeps_that_of_old_turns(name: str, formats: dict[str, ChatFormat]) -> None:
    chat = formats[name]
    assert "forgotten" not in text(chat, chat.render(TOOL_ROUND))
    assert "forgotten" not in text(chat, chat.render(TOOL_ROUND, keep_reasoning=False))
    assert "forgotten" in text(chat, chat.render(TOOL_ROUND, keep_reasoning=True))


def test_a_conversation_for_training_ends_with_the_models_stop_token(formats: dict[str, ChatFormat]) -> None:
    for name, chat in formats.items():
        for messages in (TOOL_ROUND[:2], TOOL_ROUND[:4]):
            rendered = chat.render(messages, generate=False)
            last = max(n for n, written in enumerate(rendered.mask) if written)
            assert rendered.ids[last] in chat.stop_token_ids, name
            assert last >= len(rendered.ids) - 2, name  # ChatML writes a newline behind


def test_images_are_refused_by_name(formats: dict[str, ChatFormat]) -> None:
    picture = Message("user", (TextPart("what is this"), ImagePart("data:image/png;base64,AAAA")))
    for chat in formats.values():
        with pytest.raises(InvalidRequest, match="image"):
            chat.render([picture])


@pytest.mark.parametrize("arguments", ["{", "[]", '"x"', "[" * 100_000])
def test_calls_in_the_history_must_hold_an_object(arguments: str, formats: dict[str, ChatFormat]) -> None:
    bad = Message.of("assistant", "", tool_calls=(ToolCall("x", "weather", arguments),))
    for chat in formats.values():
        with pytest.raises(InvalidRequest, match="weather"):
            chat.render([Message.of("user", "q"), bad])


def test_filling_in_the_middle(formats: dict[str, ChatFormat]) -> None:
    prompts = {name: chat.fill_in_middle("a <think>", "b") for name, chat in formats.items()}
    decoded = {
        name: formats[name].tokenizer.decode(ids)  # type: ignore[attr-defined]
        for name, ids in prompts.items()
        if ids is not None
    }
    assert decoded == {
        "glm-4.5": "[gMASK]<sop><|code_prefix|>a <think><|code_suffix|>b<|code_middle|>",
        "glm-4.7": "[gMASK]<sop><|code_prefix|>a <think><|code_suffix|>b<|code_middle|>",
        "codegeex4": (
            "[gMASK]<sop><|user|>\n###PATH:\n###LANGUAGE:\n###MODE:BLOCK\n"
            "<|code_suffix|>b<|code_prefix|>a <think><|code_middle|><|assistant|>\n"
        ),
        "qwen2.5": "<|fim_prefix|>a <think><|fim_suffix|>b<|fim_middle|>",
        "chatml": "<|fim_prefix|>a <think><|fim_suffix|>b<|fim_middle|>",
    }


def test_a_turn_of_weight_0_leaves_the_mask_and_changes_no_id(formats: dict[str, ChatFormat]) -> None:
    """Its stop token too; the turns beside it keep theirs."""
    for chat in formats.values():
        turns = [
            *HI,
            Message.of("assistant", "one"),
            Message.of("user", "more"),
            Message.of("assistant", "two"),
        ]
        whole = chat.render(turns, generate=False)
        for out in (2, 4):
            lighter = [replace(turn, weight=int(n != out)) for n, turn in enumerate(turns)]
            rendered = chat.render(lighter, generate=False)
            assert rendered.ids == whole.ids
            spans = [bool(written) for written, _ in groupby(rendered.mask)]
            assert spans.count(True) == 1
            kept = [n for n, written in enumerate(whole.mask) if written != rendered.mask[n]]
            removed = chat.tokenizer.decode([whole.ids[n] for n in kept])  # type: ignore[attr-defined]
            assert ("one" in removed, "two" in removed) == (out == 2, out == 4)
            assert whole.ids[kept[-1]] in chat.stop_token_ids
