"""ChatML: `<|im_start|>role` newline, content `<|im_end|>`. Qwen 2 and 2.5, SmolLM2. Tools the Hermes way.

SmolLM2's own template knows no tools; it gets Qwen 2.5's block, so that tool_choice works on it too.
The format has no place for reasoning: that of old turns is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openglm.messages import Grammar, Message, ToolChoice, ToolSpec
from openglm.tokenizer.chat.answer import CALL, END_CALL, AnswerParser, Gaps
from openglm.tokenizer.chat.fim import fill_in_middle
from openglm.tokenizer.chat.format import Parser, Rendered, Script, known_ids, stop_ids, text_of
from openglm.tokenizer.chat.grammars import hermes_grammar
from openglm.tokenizer.chat.hermes import HermesReader, declare_tools, write_call
from openglm.tokenizer.chat.lexer import Lexer
from openglm.tokenizer.protocol import Tokenizer

START, END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class ChatML:
    """`default_system` is written where the conversation brings no system turn; None writes none."""

    name: str
    tokenizer: Tokenizer
    default_system: str | None = None
    thinks: bool = False
    reasoning_end_token: int | None = None

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return stop_ids(self.tokenizer, (END,))

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
        has_system = bool(messages) and messages[0].role == "system"
        system = text_of(messages[0]) if has_system else self.default_system
        if system is not None or tools:
            self._open(script, "system")
            script.text(system or "")
            if tools:
                declare_tools(script, tools)
            self._close(script)
        for n, message in enumerate(messages):
            if message.role == "tool":
                self._result(script, messages, n)
            elif message.role == "assistant":
                self._answer(script, message)
            elif n or not has_system:
                self._open(script, message.role)
                script.text(text_of(message))
                self._close(script)
        if generate:
            self._open(script, "assistant")
        return script.rendered()

    def _open(self, script: Script, role: str) -> None:
        script.tag(START)
        script.text(f"{role}\n")

    def _close(self, script: Script, written: bool = False) -> None:
        script.tag(END, written)
        script.text("\n")

    def _answer(self, script: Script, message: Message) -> None:
        script.answer(message)
        self._open(script, "assistant")
        text = text_of(message)
        script.text(text, written=True)
        for n, call in enumerate(message.tool_calls):
            if text or n:
                script.text("\n", written=True)
            write_call(script, call)
        self._close(script, written=True)

    def _result(self, script: Script, messages: Sequence[Message], n: int) -> None:
        """Neighbouring results share one user turn."""
        if n == 0 or messages[n - 1].role != "tool":
            script.tag(START)
            script.text("user")
        script.text("\n<tool_response>\n")
        script.text(text_of(messages[n]))
        script.text("\n</tool_response>")
        if n + 1 == len(messages) or messages[n + 1].role != "tool":
            self._close(script)

    def parser(self, *, tools: Sequence[ToolSpec] = (), reasoning_open: bool = False) -> Parser:
        silent = (*self.stop_token_ids, *known_ids(self.tokenizer, (START,)))
        lexer = Lexer(self.tokenizer, (CALL, END_CALL) if tools else (), silent)
        return AnswerParser(lexer, gaps=Gaps(before_call="\n"), new_reader=HermesReader if tools else None)

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int] | None:
        return fill_in_middle(self.tokenizer, prefix, suffix)

    def call_grammar(self, tools: Sequence[ToolSpec], choice: ToolChoice, parallel: bool) -> Grammar | None:
        return hermes_grammar(self.tokenizer, tools, choice, parallel)
