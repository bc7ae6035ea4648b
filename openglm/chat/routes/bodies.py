"""What requests bring: settings of answers, and turns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from openglm.maas.console import Body

MESSAGE_BYTES = 4 << 20  # of what a user says
ATTACHMENTS = 20  # of one message
Id = Annotated[str, Field(max_length=80)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Tools(Body):
    """What the model may call."""

    web_search: bool = False
    knowledge: Annotated[list[Id], Field(max_length=20, default_factory=list)]
    mcp: Annotated[list[Id], Field(max_length=16, default_factory=list)]


class Settings(Body):
    """How answers are made. Null is the model's own."""

    thinking: bool | None = None
    effort: Literal["low", "medium", "high"] | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1, le=1 << 20)] = None
    pictures: Annotated[int | None, Field(ge=1, le=4, description="of models that draw")] = None
    tools: Tools | None = None
    system: Annotated[str | None, Field(max_length=20_000)] = None


class Again(Body):
    """Another answer. `models` compares them side by side."""

    client_id: Annotated[
        str, Field(min_length=1, max_length=100, description="the browser's name for the turn")
    ]
    model: Name | None = None
    models: Annotated[list[Name] | None, Field(min_length=2, max_length=4)] = None
    settings: Settings | None = None


class Turn(Again):
    model_config = ConfigDict(extra="forbid", str_max_length=MESSAGE_BYTES)

    text: Annotated[str, Field(max_length=MESSAGE_BYTES)]
    attachments: Annotated[list[Id], Field(max_length=ATTACHMENTS, default_factory=list)]
    parent_id: Id | None = None


class Edit(Again):
    model_config = ConfigDict(extra="forbid", str_max_length=MESSAGE_BYTES)

    text: Annotated[str, Field(max_length=MESSAGE_BYTES)]
    attachments: Annotated[list[Id] | None, Field(max_length=ATTACHMENTS)] = None
