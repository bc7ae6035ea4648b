"""GLM-4-9B, CodeGeeX4, GLM-Edge, GLM-4-0414, GLM-Z1 and Z1-Rumination.

A turn is `<|role|>`, metadata, newline, content; it ends where the next role token stands. A tool call is
an assistant turn whose metadata is the function's name and whose content is the JSON of its arguments;
several calls are several turns, of which the model writes the role tokens too.

Z1 thinks in plain text tags, which its prompt opens. Its template strips white space around every content,
and so do we; the tags themselves, spelled out in an answer, can not be told from its reasoning's. An answer
that begins with a tool's name, a newline and an object, with no newline before it, reads as a call, and so
does one behind the reasoning.

Blank lines between tool declarations are those of GLM-4's own code; through transformers' Jinja settings the
template of the -hf checkpoint loses one of the two newlines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openglm.messages import Grammar, Message, ToolChoice, ToolSpec
from openglm.tokenizer.chat.answer import END_THINK, THINK
from openglm.tokenizer.chat.fim import fill_in_middle_codegeex
from openglm.tokenizer.chat.format import (
    Parser,
    Rendered,
    Script,
    arguments_of,
    function_of,
    known_ids,
    stop_ids,
    stop_is_written,
    text_of,
    to_json,
)
from openglm.tokenizer.chat.glm4_parser import Glm4Parser
from openglm.tokenizer.chat.grammars import glm4_grammar
from openglm.tokenizer.chat.lexer import Lexer
from openglm.tokenizer.protocol import Tokenizer

ASSISTANT = "<|assistant|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": ASSISTANT, "tool": "<|observation|>"}
GLM4_PERSONA = (
    "你是一个名为 GLM-4 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，"
    "你的任务是针对用户的问题和要求提供适当的答复和支持。"
)
Z1_PERSONA = (
    "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
    "你的任务是针对用户的问题和要求提供适当的答复和支持。"
)
CODEGEEX4_SYSTEM = (
    "你是一位智能编程助手，你叫CodeGeeX。你会为用户回答关于编程、代码、计算机方面的任何问题，"
    "并提供格式规范、可以执行、准确安全的代码，并在必要时提供详细的解释。"
)


@dataclass(frozen=True)
class Glm4:
    """`persona` opens the turn that declares tools. `default_system` stands in for a missing system turn.

    `fixed_system` is a system turn that the template always writes, in place of all others. It declares the
    tools that the model was trained with, so a request's tools are then only what the parser looks for.
    """

    name: str
    tokenizer: Tokenizer
    prefix: str = "[gMASK]<sop>"
    persona: str = ""
    default_system: str | None = None
    fixed_system: str | None = None
    thinks: bool = False
    think_opened: bool = False  # by the prompt, so that the model can not but think
    systems_first: bool = False
    tool_gap: str = "\n\n"  # before each tool's declaration
    call_gap: str = "\n"  # between a function's name and its arguments
    fills_middle: bool = False
    reasoning_end_token: int | None = None

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return stop_ids(self.tokenizer, ("<|endoftext|>", "<|user|>", "<|observation|>"))

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool | None = None,
        keep_reasoning: bool | None = None,
        generate: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Rendered:
        script = Script(self.tokenizer)
        script.template(self.prefix)
        if self.fixed_system is not None:
            script.template(f"<|system|>\n{self.fixed_system}")
            messages = [message for message in messages if message.role != "system"]
        elif tools:
            self._declare(script, tools)
        if self.systems_first:
            messages = sorted(messages, key=lambda message: message.role != "system")
        if self.default_system is not None and not any(message.role == "system" for message in messages):
            script.template(f"<|system|>\n{self.default_system}")
        for n, message in enumerate(messages):
            # No prompt shows reasoning; it belongs to the turn that is being written.
            keep = keep_reasoning or (not generate and n + 1 == len(messages))
            if message.role == "assistant":
                self._answer(script, message, bool(keep))
            else:
                script.tag(ROLES[message.role], written=stop_is_written(messages, n))
                script.text(f"\n{self._stripped(text_of(message))}")
        if generate:
            script.tag(ASSISTANT)
            if self.think_opened:
                script.text("\n")
                script.tag(THINK)
        elif messages and messages[-1].role == "assistant":
            script.tag("<|observation|>" if messages[-1].tool_calls else "<|user|>", written=True)
        return script.rendered(reasoning_open=generate and self.think_opened)

    def _stripped(self, text: str) -> str:
        return text.strip() if self.thinks else text

    def _declare(self, script: Script, tools: Sequence[ToolSpec]) -> None:
        script.tag("<|system|>")
        script.text("\n" + (self.persona + "\n\n" if self.persona else "") + "# 可用工具")
        for tool in tools:
            declaration = to_json(function_of(tool), indent=4)
            script.text(f"{self.tool_gap}## {tool.name}\n\n{declaration}\n")
            script.text("在调用上述函数时，请使用 Json 格式表示调用的参数。")

    def _answer(self, script: Script, message: Message, keep_reasoning: bool) -> None:
        text = self._stripped(text_of(message))
        reasoning = (message.reasoning or "").strip() if self.thinks and keep_reasoning else ""
        script.answer(message)
        script.tag(ASSISTANT)
        if reasoning:
            opened = self.think_opened
            script.text("\n", written=not opened)
            script.tag(THINK, written=not opened)
            script.text(f"\n{reasoning}\n", written=True)
            script.tag(END_THINK, written=True)
        if text or not message.tool_calls:
            script.text(f"\n{text}", written=True)
        for n, call in enumerate(message.tool_calls):
            if n or text or reasoning:
                script.tag(ASSISTANT, written=True)
            script.text(f"{call.name}{self.call_gap}{to_json(arguments_of(call))}", written=True)

    def parser(self, *, tools: Sequence[ToolSpec] = (), reasoning_open: bool = False) -> Parser:
        tags = (ASSISTANT, THINK, END_THINK) if self.thinks else (ASSISTANT,)
        roles = known_ids(self.tokenizer, ROLES.values())
        lexer = Lexer(self.tokenizer, tags, (*self.stop_token_ids, *roles))
        return Glm4Parser(lexer, [tool.name for tool in tools], reasoning_open=reasoning_open)

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int] | None:
        return fill_in_middle_codegeex(self.tokenizer, prefix, suffix) if self.fills_middle else None

    def call_grammar(self, tools: Sequence[ToolSpec], choice: ToolChoice, parallel: bool) -> Grammar | None:
        return glm4_grammar(self.tokenizer, tools, choice, parallel)
