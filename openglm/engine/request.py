"""What goes into the engine, what comes out, and the state of one sequence in between. No torch.

A request asks for one answer; a caller that wants n answers adds n requests with n seeds, and the
prefix cache makes them share their prompt.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from openglm.messages import Failure, Finish, Grammar, SamplingParams, TokenLogprob

if TYPE_CHECKING:
    from openglm.engine.grammar import GrammarState
    from openglm.engine.stops import StopState


@dataclass(frozen=True, slots=True)
class EngineRequest:
    prompt_ids: Tokens[int]
    sampling: SamplingParams = SamplingParams()  # noqa: RUF009, it is frozen
    grammar: Grammar | None = None
    prompt_logprobs: bool = False  # log-probabilities of the prompt's own tokens (echo)
    cache_salt: str = ""  # requests with different salts never share cached prefixes
    pooling: Literal["mean"] | None = None  # an embedding instead of an answer
    adapter: str | None = None  # the name of a loaded LoRA adapter


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """What one step added to an answer. The last one of a request has `finish` or `failure`.

    `token_ids` never contain a part of a matched stop string; `tail` is the text of the cut token(s) before
    it. An end-of-sequence or stop token that ended the answer is the last of `token_ids`.
    `logprobs` (if asked for) go with `token_ids`, one each, and come from the model's own distribution,
    before temperature, penalties, bias and masks. `prompt_logprobs` come once, in the first output.
    `embedding` is the mean over the prompt of the final hidden states, float32, not normalised.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    failure: Failure | None = None
    tail: str = ""
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    embedding: Any = None  # torch.Tensor (hidden_size,)
    prompt_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens that were read from the prefix cache
    generated_tokens: int = 0  # so far, held-back and cut ones included

    @property
    def done(self) -> bool:
        return self.finish is not None or self.failure is not None

    def then(self, later: EngineOutput) -> EngineOutput:
        """This output and the one after it as one."""
        return replace(
            later,
            token_ids=self.token_ids + later.token_ids,
            logprobs=self.logprobs + later.logprobs,
            prompt_logprobs=later.prompt_logprobs if self.prompt_logprobs is None else self.prompt_logprobs,
        )


@dataclass(frozen=True, slots=True)
class EngineOptions:
    max_batch_tokens: int | None = None  # rows in one step; None: 4096 on CUDA, 256 on the CPU, 64 of prompts
    max_sequences: int = 256  # answers that are worked on at once
    max_waiting: int = 1024  # longer queues are refused as Overloaded
    max_context: int | None = None  # tokens of one sequence; None: what the model was trained for
    block_size: int = 16  # tokens per cache block
    cache_tokens: int | None = None  # room of the paged cache; wins over cache_memory
    cache_memory: int | None = None  # bytes; None: a share of what is free (see cache.count_blocks)
    prefix_cache: bool = True
    speculate: Literal["mtp", "lookup"] | None = None
    num_draft_tokens: int | None = None  # per step; None: 1 for mtp, 6 for lookup
    speculate_up_to: int = 4  # sequences in the batch; with more, rows are better spent on them

    def __post_init__(self) -> None:
        for name in ("max_sequences", "max_waiting", "block_size", "speculate_up_to"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_batch_tokens", "max_context", "cache_tokens", "cache_memory", "num_draft_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}")
        if self.speculate not in (None, "mtp", "lookup"):
            raise ValueError(f"speculate must be 'mtp', 'lookup' or None, got {self.speculate!r}")


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Gauges of now and counters since the start."""

    running: int
    waiting: int
    blocks_total: int
    blocks_free: int  # cached blocks that nobody uses count as free
    blocks_cached: int
    finished: int
    failed: int
    aborted: int
    preemptions: int
    steps: int
    prompt_tokens: int
    cached_tokens: int  # prompt tokens that came from the prefix cache
    generated_tokens: int
    draft_proposed: int
    draft_accepted: int
    step_time_s: float  # all steps together
    last_step_s: float


@dataclass(eq=False, slots=True)
class Sequence:
    """One answer in the making. The scheduler compares what is computed with what is wanted, nothing else.

    `token_ids` = prompt + answer; the first `num_computed` of them are in the cache. `draft_ids` are guesses
    for what follows, verified by the next step.
    """

    id: int
    request: EngineRequest
    token_ids: list[int]
    max_length: int  # prompt and answer together
    seed: int = 0
    adapter: int = 0  # the number of its adapter; 0: none
    # set by prepare(), used by the sampler and the core
    stop_ids: dict[int, str | int | None] = field(default_factory=dict)  # token -> what to report
    stop: StopState | None = None
    grammar: GrammarState | None = None
    # set by the scheduler
    num_computed: int = 0
    blocks: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)  # of the full blocks, chained
    num_registered: int = 0  # leading blocks that the prefix cache knows
    num_preempted: int = 0
    overtaken: int = 0  # times that a later request was admitted first
    cached_tokens: int | None = None  # None: not admitted yet
    # set by the core
    num_prompt: int = 0
    draft_ids: list[int] = field(default_factory=list)
    num_emitted: int = 0  # answer tokens handed out
    logprobs: list[TokenLogprob] = field(default_factory=list)  # of tokens that are not handed out yet
    prompt_logprobs: list[TokenLogprob] | None = None
    pooled: Any = None  # torch.Tensor: sum of hidden states so far

    def __post_init__(self) -> None:
        self.num_prompt = len(self.token_ids)

    @property
    def num_generated(self) -> int:
        return len(self.token_ids) - self.num_prompt

    @property
    def sampling(self) -> SamplingParams:
        return self.request.sampling

    @property
    def reads_cache(self) -> bool:
        """Whether a cached prefix serves: not where the prompt's own hidden states are wanted."""
        return not self.request.prompt_logprobs and self.request.pooling is None

    @property
    def samples(self) -> bool:
        """Whether any token is to be chosen at all."""
        return self.request.pooling is None and self.max_length > self.num_prompt
