"""The one error tree. A message says what, got, expected; `hint` says what to do next.

Each wire dialect turns these into its own shape; nothing here knows HTTP.
"""

from typing import Literal


class OpenGLMError(Exception):
    """Every failure that we explain to a user. `hint` is one sentence: what to do next."""

    def __init__(self, message: str, *, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InvalidRequest(OpenGLMError):
    """The caller's input is wrong. `param` names the field; `code` is a stable word for programs."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_request",
        hint: str | None = None,
    ):
        super().__init__(message, hint=hint)
        self.param = param
        self.code = code


class ModelNotFound(InvalidRequest):
    """A model name that nothing here answers to."""


class PromptTooLong(InvalidRequest):
    """Prompt plus wanted tokens do not fit into the model's context, or can never fit into the cache.

    The counts are those that the model's server told, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_request",
        hint: str | None = None,
        prompt: int | None = None,
        wanted: int | None = None,
        limit: int | None = None,
    ):
        super().__init__(message, param=param, code=code, hint=hint)
        self.prompt = prompt
        self.wanted = wanted
        self.limit = limit


class RequestTooLarge(InvalidRequest):
    """The body is larger than the server reads."""


class CheckpointError(OpenGLMError):
    """A checkpoint that is corrupt, truncated, incomplete, unsafe, or of an unknown kind."""


class RecipeError(OpenGLMError):
    """A training recipe, or the data that it names, is not what it should be."""


class TrainingFailure(OpenGLMError):
    """A run cannot go on: its numbers are no longer finite."""


class DownloadError(OpenGLMError):
    """Weights could not be fetched, or what came is not what was promised."""


class Unauthorized(OpenGLMError):
    """Nobody we know: no key, a garbled one, one that has run out, or one that was refused."""

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["missing", "malformed", "expired", "rejected"] = "rejected",
        hint: str | None = None,
    ):
        super().__init__(message, hint=hint)
        self.reason = reason


class Forbidden(OpenGLMError):
    """Known, but not allowed: the key's scope, the member's role, or the model's owner says no."""


class NotFound(OpenGLMError):
    """An id that the caller has nothing under. What belongs to others is not found either."""


class FineTuneNotFound(NotFound):
    """A fine-tuning job or a fine-tuned model that the caller does not have; Zhipu's wire tells it apart."""


class Conflict(OpenGLMError):
    """The state does not allow it: a name that is taken, a job that has ended, a code that was used."""


class DuplicateRequest(Conflict):
    """A request with the caller's own id was answered already, or still is `running`."""

    def __init__(self, message: str, *, running: bool = False, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.running = running


class NotOffered(OpenGLMError):
    """A documented route or feature that this installation does not offer."""


class UnsafeContent(OpenGLMError):
    """The moderation hook refused the input or the answer."""


class PaymentRequired(OpenGLMError):
    """The wallet does not cover the request. Trying again cannot help."""


class BudgetExhausted(OpenGLMError):
    """A budget somebody set is spent until `resets_at_ms` (None: it never resets)."""

    def __init__(self, message: str, *, resets_at_ms: int | None = None, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.resets_at_ms = resets_at_ms


class PlanRefused(OpenGLMError):
    """The subscription does not cover the request, and the wallet is never spent in its place.

    `reason` is the window that is used up, or what else is wrong with the plan.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["5h", "week", "month", "expired", "none", "model"],
        resets_at_ms: int | None = None,
        hint: str | None = None,
    ):
        super().__init__(message, hint=hint)
        self.reason = reason
        self.resets_at_ms = resets_at_ms


class RateLimited(OpenGLMError):
    """The caller's own limit: answers in flight, requests or tokens a minute. Waiting helps."""

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["concurrency", "requests", "tokens"],
        retry_after_s: float = 1.0,
        hint: str | None = None,
    ):
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after_s = retry_after_s


LATER = "try again later"  # agents look for these words where a dialect's codes tell them nothing


class UpstreamFailure(OpenGLMError):
    """The model's server could not be reached, or answered with what is no answer. Nothing is charged."""


class Overloaded(OpenGLMError):
    """The queue is full or the server is stopping; the same request may succeed later."""


class EngineFailure(OpenGLMError):
    """The engine itself failed; the request is lost through no fault of the caller."""
