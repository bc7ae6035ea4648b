"""A model in this very process, for the verbs that talk in the terminal: messages in, events out."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from openglm import hub
from openglm.errors import CheckpointError, InvalidRequest, OpenGLMError
from openglm.hub import LocalModel
from openglm.messages import Event, Failure, Finish, Message, SamplingParams, TextDelta, Usage, UsageUpdate

if TYPE_CHECKING:
    from openglm.engine import Engine, EngineOutput
    from openglm.tokenizer import Tokenizer
    from openglm.tokenizer.chat import ChatFormat

# For checkpoints that bring no generation_config.json; small models do not bear sampling at 1.
TEMPERATURE, TOP_P = 0.6, 0.95


Lora = Annotated[Path | None, Parameter(help="the folder of a LoRA adapter to answer with")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFlags:
    """How the model is loaded and how much it may take."""

    device: Annotated[str | None, Parameter(help="cpu, cuda or cuda:N; default: CUDA where there is one")] = (
        None
    )
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Parameter(help="of the weights; default: as published"),
    ] = None
    quantize: Annotated[
        Literal["int8", "int4", "keep", "none"] | None,
        Parameter(
            help="weights in few bits; keep: a GGUF's own; none: unpacked; default: keep with native kernels"
        ),
    ] = None
    max_context: Annotated[
        int | None, Parameter(help="tokens of prompt and answer; default: the model's")
    ] = None
    max_sequences: Annotated[int | None, Parameter(help="answers that are worked on at once")] = None
    max_batch_tokens: Annotated[int | None, Parameter(help="rows of one step, prompts included")] = None
    cache_tokens: Annotated[int | None, Parameter(help="room of the key-value cache, in tokens")] = None
    speculate: Annotated[
        Literal["mtp", "lookup"] | None,
        Parameter(help="draft ahead: the model's own layer, or the prompt's text"),
    ] = None
    num_draft_tokens: Annotated[int | None, Parameter(help="drafted tokens in each step")] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFlags:
    """How tokens are chosen. What is not given comes from the checkpoint's generation_config.json."""

    max_tokens: Annotated[int | None, Parameter(help="longest answer; default: up to the context's end")] = (
        None
    )
    temperature: Annotated[float | None, Parameter(help="0: always the likeliest token")] = None
    top_p: Annotated[
        float | None, Parameter(help="choose among the likeliest tokens of this joint share")
    ] = None
    seed: Annotated[int | None, Parameter(help="the same seed gives the same answer")] = None
    stop: Annotated[
        tuple[str, ...], Parameter(help="end before this text; may be repeated", negative=())
    ] = ()

    def params(self, local: LocalModel) -> SamplingParams:
        recommended = read_recommended(local)
        temperature, top_p = self.temperature, self.top_p
        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=recommended.get("temperature", TEMPERATURE) if temperature is None else temperature,
            top_p=recommended.get("top_p", TOP_P) if top_p is None else top_p,
            top_k=recommended.get("top_k"),
            seed=self.seed,
            stop=self.stop,
        )


def read_recommended(local: LocalModel) -> dict[str, Any]:
    """What the makers of a model recommend for sampling, in its files or on its card, if they say."""
    path = local.path / "generation_config.json"
    if not path.is_file():
        return dict(local.sampling)
    try:
        table = json.loads(path.read_bytes())
        said = {key: table[key] for key in ("temperature", "top_p", "top_k") if table.get(key) is not None}
        if said.get("top_k") == 0:  # published for: off
            del said["top_k"]
        return {**local.sampling, **said}
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} is not a generation config: {error}") from error


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded model. Close it, or use it as a context: the engine has a thread of its own."""

    local: LocalModel
    engine: Engine
    tokenizer: Tokenizer
    chat_format: ChatFormat
    adapter: str | None = None  # the name that the engine knows a LoRA adapter by

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def answer(
        self, messages: Sequence[Message], sampling: SamplingParams, thinking: bool | None = None
    ) -> Iterator[Event]:
        """The assistant's next turn: text and reasoning as they come, then the usage, then the end."""
        rendered = self.chat_format.render(messages, thinking=thinking)
        parser = self.chat_format.parser(reasoning_open=rendered.reasoning_open)
        stops = (*sampling.stop_token_ids, *self.chat_format.stop_token_ids)
        for output in self.outputs(rendered.ids, replace(sampling, stop_token_ids=stops)):
            yield from parser.feed(output.token_ids)
            if output.done:
                yield from parser.finish(output.tail)
                yield from ending(output)

    def continuation(self, prompt: str, sampling: SamplingParams) -> Iterator[Event]:
        """What follows a raw text."""
        from openglm.tokenizer import TextStream

        ids = self.tokenizer.encode(prompt)
        if self.tokenizer.add_bos and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id, *ids]
        text = TextStream(self.tokenizer, skip_control=True)
        for output in self.outputs(ids, sampling):
            piece = text.push(output.token_ids) + (text.finish() + output.tail if output.done else "")
            if piece:
                yield TextDelta(piece)
            if output.done:
                yield from ending(output)

    def outputs(self, prompt_ids: list[int], sampling: SamplingParams) -> Iterator[EngineOutput]:
        """The engine's outputs; leaving early frees what the request holds."""
        from openglm.engine import EngineRequest

        outputs = self.engine.generate(EngineRequest(prompt_ids, sampling, adapter=self.adapter))
        try:
            yield from outputs
        finally:
            outputs.close()  # type: ignore[attr-defined]


def ending(output: EngineOutput) -> Iterator[Event]:
    yield UsageUpdate(
        Usage(
            input_uncached=output.prompt_tokens - output.cached_tokens,
            cache_read=output.cached_tokens,
            output_text=output.generated_tokens,
        )
    )
    last: Finish | Failure | None = output.finish or output.failure
    if last:
        yield last


def open_session(name: str | None, flags: EngineFlags, lora: Path | None = None) -> Session:
    """Find, fetch, check and load a model. None: the default one. What happens is told on stderr.

    `lora`: the folder of an adapter that the session's answers go through.
    """
    local = hub.resolve(name or hub.catalogue().default)
    told = f"{local.title} ({local.licence})" if local.licence else local.title
    print(f"loading {told} from {local.source}", file=sys.stderr, flush=True)
    engine = load(local.path, flags)
    from openglm.tokenizer.chat import load_chat_format

    session = Session(
        local,
        engine,
        engine.tokenizer,
        load_chat_format(local.path, engine.tokenizer),
        adapter=None if lora is None else str(lora),
    )
    if session.adapter is not None:
        engine.load_adapter(session.adapter, Path(session.adapter).expanduser())
    return session


def load(path: Path, flags: EngineFlags) -> Engine:
    import torch

    from openglm.engine import EngineOptions, load_engine

    limits = ("max_context", "max_sequences", "max_batch_tokens", "cache_tokens", "num_draft_tokens")
    given = {name: getattr(flags, name) for name in limits if getattr(flags, name) is not None}
    quantize = {"none": None, None: "auto"}.get(flags.quantize, flags.quantize)
    with bad_values_are_usage():
        return load_engine(
            path,
            device=flags.device,
            dtype=getattr(torch, flags.dtype) if flags.dtype else None,
            quantize=quantize,  # type: ignore[arg-type]
            options=EngineOptions(speculate=flags.speculate, **given),
        )


@contextlib.contextmanager
def bad_values_are_usage() -> Iterator[None]:
    """A flag's value that the layers below refuse is the user's business, not a crash."""
    try:
        yield
    except OpenGLMError:
        raise
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def how_it_runs(path: Path, flags: EngineFlags) -> str:
    """Device, precision and kernels, in one line for people."""
    from openglm import kernels
    from openglm.engine import packed_pays
    from openglm.runtime import pick_device

    device = pick_device(flags.device)
    if flags.quantize in ("int8", "int4"):
        weights = f"weights rounded to {flags.quantize}"
    elif path.suffix == ".gguf":
        packed = flags.quantize == "keep" or (flags.quantize is None and packed_pays(device))
        weights = "weights as packed in the file" if packed else "weights unpacked"
    else:
        weights = f"weights in {flags.dtype}" if flags.dtype else "weights as published"
    if device.type != "cpu":
        return f"{device}, {weights}"
    status = kernels.status()
    built = "native kernels" if status.available else "no native kernels"
    return f"{device}, {weights}, {built} ({status.detail})"
