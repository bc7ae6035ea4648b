"""`glm generate`: one prompt in, one answer on stdout."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from openglm.commands.session import EngineFlags, Lora, SamplingFlags, open_session
from openglm.errors import EngineFailure
from openglm.messages import Failure, Finish, Message, ReasoningDelta, TextDelta, Usage, UsageUpdate


def generate(
    model: Annotated[str | None, Parameter(help="default: the embedded one")] = None,
    /,
    *,
    prompt: Annotated[str, Parameter(help="the text; - reads it from stdin", allow_leading_hyphen=True)],
    system: Annotated[str | None, Parameter(help="a system turn before it")] = None,
    raw: Annotated[
        bool, Parameter(negative=(), help="continue the text itself, without a prompt format")
    ] = False,
    thinking: Annotated[bool | None, Parameter(help="for models that can; default: the model's own")] = None,
    json_: Annotated[
        bool, Parameter(name="--json", negative=(), help="print one JSON object at the end")
    ] = False,
    lora: Lora = None,
    sampling: SamplingFlags = SamplingFlags(),
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Answer one prompt and exit. The answer streams to stdout, the reasoning and all else to stderr."""
    text = sys.stdin.read() if prompt == "-" else prompt
    with open_session(model, flags, lora) as session:
        params = sampling.params(session.local)
        if raw:
            events = session.continuation(text, params)
        else:
            turns = [Message.of("system", system)] if system else []
            events = session.answer([*turns, Message.of("user", text)], params, thinking)
        answer: list[str] = []
        reasoning: list[str] = []
        usage, finish = Usage(), Finish("stop")
        for event in events:
            match event:
                case TextDelta(piece):
                    answer.append(piece)
                    if not json_:
                        print(piece, end="", flush=True)
                case ReasoningDelta(piece):
                    reasoning.append(piece)
                    if not json_:
                        print(piece, end="", file=sys.stderr, flush=True)
                case UsageUpdate(usage):
                    pass
                case Finish():
                    finish = event
                case Failure(message):
                    raise EngineFailure(message)
    if not json_:
        print()
        return
    report = {
        "model": session.local.name,
        "text": "".join(answer),
        "reasoning": "".join(reasoning) or None,
        "finish_reason": finish.reason,
        "stop": finish.stop if isinstance(finish.stop, str) else None,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    print(json.dumps(report, ensure_ascii=False))
