"""The answer to one request: n choices out of the engine, merged into one stream of steps.

Whoever holds an Answer must close it; closing gives up what still runs and frees its blocks at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openglm.engine.request import EngineOutput, EngineRequest
from openglm.messages import Event, Failure, Finish, Usage, UsageUpdate
from openglm.serve.metrics import Metrics
from openglm.serve.readers import Reader

if TYPE_CHECKING:
    from openglm.engine import Engine

Step = tuple[int, tuple[Event, ...]]  # choice, and what one engine step added to it


@dataclass(frozen=True, slots=True)
class Choice:
    """One engine request, who reads its outputs, and which of the body's prompts it answers."""

    request: EngineRequest
    reader: Reader
    prompt: int = 0


class Answer:
    """Iterate it once for its steps, inside `with`. Usage grows with each step and counts a prompt once."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        *,
        continuous_usage: bool = False,
        name: str = "",
        on_close: Callable[[Answer], None] = lambda answer: None,
    ):
        self.name = name  # by which `Service.cancel` finds it
        self._on_close = on_close
        self._closed = False
        self._cancelled = False
        self._engine = engine
        self._metrics = metrics
        self._continuous = continuous_usage
        self._choices: list[Choice] = []
        self._ids: list[int] = []
        self._streaming: list[bool] = []  # choices that the engine has been asked for
        self._open: set[int] = set()  # choices that have not ended
        self._prompts_counted: set[int] = set()
        self._counts = [0, 0, 0, 0]  # uncached, cached, generated, of these reasoning
        self._seen: list[tuple[int, int]] = []  # generated, reasoning of each choice as counted so far
        self._started = time.perf_counter()
        self._last: list[float | None] = []  # when each choice last brought tokens

    def start(self, choices: list[Choice]) -> None:
        """Hand the choices to the engine, which refuses what it cannot do.

        May run on another thread while the client leaves: what is added after `close` is given up here.
        """
        for choice in choices:
            if self._closed:
                break
            self._ids.append(self._engine.add(choice.request))
            self._choices.append(choice)
            self._streaming.append(False)
            self._open.add(len(self._choices) - 1)
            self._seen.append((0, 0))
            self._last.append(None)
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        for choice in tuple(self._open):
            self._engine.abort(self._ids[choice])
        self._open.clear()
        self._on_close(self)

    def cancel(self) -> None:
        """End it early and in order: what was made stays, then Finish("abort") and the whole usage."""
        self._cancelled = True
        for choice in tuple(self._open):
            # Not one that nobody streams yet: the engine would forget it, and `_stream` ends it.
            if self._streaming[choice]:
                self._engine.abort(self._ids[choice])

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usage(self) -> Usage:
        uncached, cached, generated, reasoning = self._counts
        return Usage(uncached, cached, 0, generated - reasoning, reasoning)

    async def __aiter__(self) -> AsyncIterator[Step]:
        async for choice, output in self._outputs():
            events = self._choices[choice].reader.read(output)
            self._measure(choice, output)
            if output.done:
                self._open.discard(choice)
                if self._cancelled and output.finish and output.finish.reason == "abort":
                    events[-1] = output.finish
            if self._continuous or output.done:
                # Before the end, so that the chunk that ends the choice carries the usage.
                place = len(events) - bool(events and isinstance(events[-1], Finish | Failure))
                events.insert(place, UsageUpdate(self.usage))
            if events:
                yield choice, tuple(events)

    async def _outputs(self) -> AsyncIterator[tuple[int, EngineOutput]]:
        if self._closed:  # before anybody read, so the engine has forgotten it
            for choice in range(len(self._ids)):
                yield choice, EngineOutput(finish=Finish("abort"))
            return
        if len(self._ids) == 1:
            async for output in self._stream(0):
                yield 0, output
            return
        queue: asyncio.Queue[tuple[int, EngineOutput | BaseException | None]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._forward(choice, queue)) for choice in range(len(self._ids))]
        try:
            for _ in tasks:
                while True:
                    choice, item = await queue.get()
                    if item is None:
                        break
                    if isinstance(item, BaseException):
                        raise item
                    yield choice, item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stream(self, choice: int) -> AsyncIterator[EngineOutput]:
        if self._cancelled:
            self._engine.abort(self._ids[choice])
            yield EngineOutput(finish=Finish("abort"))
            return
        self._streaming[choice] = True
        async for output in self._engine.stream(self._ids[choice]):
            yield output

    async def _forward(
        self, choice: int, queue: asyncio.Queue[tuple[int, EngineOutput | BaseException | None]]
    ) -> None:
        try:
            async for output in self._stream(choice):
                queue.put_nowait((choice, output))
            queue.put_nowait((choice, None))
        except Exception as error:  # raised again by whoever reads the queue
            queue.put_nowait((choice, error))

    def _measure(self, choice: int, output: EngineOutput) -> None:
        metrics, now = self._metrics, time.perf_counter()
        prompt = self._choices[choice].prompt
        if prompt not in self._prompts_counted:
            self._prompts_counted.add(prompt)
            self._counts[0] += output.prompt_tokens - output.cached_tokens
            self._counts[1] += output.cached_tokens
            metrics.prompt_tokens.inc(output.prompt_tokens)
            metrics.cached_tokens.inc(output.cached_tokens)
        generated, reasoning = self._seen[choice]
        new = output.generated_tokens - generated
        thought = self._choices[choice].reader.reasoning_tokens
        self._counts[2] += new
        self._counts[3] += thought - reasoning
        self._seen[choice] = (output.generated_tokens, thought)
        if new <= 0:
            return
        metrics.output_tokens.inc(new)
        last = self._last[choice]
        if last is None:
            metrics.first_token.observe(now - self._started)
        else:
            metrics.between_tokens.observe((now - last) / new)
        self._last[choice] = now
