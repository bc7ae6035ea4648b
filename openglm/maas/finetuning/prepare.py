"""What a training comes to, said by the trainer itself before anything is queued or held.

The files are copied into the job's folder, and `glm train RECIPE --plan --json` reads them with the model's
own tokenizer and prompt format: exact tokens, steps, memory. What it cannot read, it names by its line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from openglm.errors import OpenGLMError
from openglm.maas.finetuning.folder import Folder, once
from openglm.maas.finetuning.hyperparameters import Hyperparameters
from openglm.maas.finetuning.job import Job
from openglm.maas.finetuning.recipe import recipe_text
from openglm.maas.finetuning.trainer import Trainer

if TYPE_CHECKING:
    from openglm.maas.finetuning.attempt import Means
    from openglm.maas.models import Model

BAD_INPUT = 2  # the exit code of a trainer that cannot read its recipe or its data
RUNTIME_BYTES = 600 << 20  # of a trainer's libraries, which it does not count


class Plan(msgspec.Struct, frozen=True):
    """As the trainer prints it. `tokens` are those of all epochs together."""

    tokens: int
    steps: int
    batch_size: int
    learning_rate: float  # at its peak, as derived from the model's size
    weights_bytes: int = 0
    training_bytes: int = 0
    activation_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        return self.weights_bytes + self.training_bytes + self.activation_bytes + RUNTIME_BYTES


class Refused(OpenGLMError):
    """The trainer's own words on why it cannot train on this. Trying again cannot help."""

    def __init__(self, words: str, *, of_data: bool):
        super().__init__(words)
        self.of_data = of_data


async def prepare(means: Means, job: Job, folder: Folder, model: Model, lock: int) -> Plan:
    """Files, recipe and plan, written once: the plan comes last, and where it is, everything is."""
    if folder.plan.exists():
        return msgspec.json.decode(folder.plan.read_bytes(), type=Plan)
    files = [(job.training_file, folder.training), (job.validation_file, folder.validation)]
    for file_id, target in files:
        if file_id:
            _, chunks = await means.files.content(job, file_id)
            await folder.write(target, chunks)
    dials = msgspec.json.decode(job.hyperparameters, type=Hyperparameters)
    await folder.write(folder.draft, once(_recipe(job, folder, model, dials, None)))
    plan = await _ask(means, folder, lock)
    await folder.write(folder.recipe, once(_recipe(job, folder, model, dials, plan)))
    await folder.write(folder.plan, once(msgspec.json.encode(plan)))
    return plan


async def _ask(means: Means, folder: Folder, lock: int) -> Plan:
    trainer = Trainer(means.trainer, folder.draft, ("--plan",), stop_s=means.stop_s)
    life = await trainer.live(lock)
    if life.code == BAD_INPUT:
        raise refused(life.last_words(), folder)
    try:
        return msgspec.convert(life.answer, type=Plan)
    except msgspec.ValidationError as error:
        raise OpenGLMError(
            f"the trainer gave no plan: {error}; it ended with {life.code}: {life.last_words()}"
        ) from error


def refused(words: str, folder: Folder) -> Refused:
    """A trainer's complaint as its user may read it: about their files, not about our folders."""
    of_data = any(file.name in words for file in (folder.training, folder.validation))
    return Refused(words.replace(f"{folder.path}/", ""), of_data=of_data)


def _recipe(job: Job, folder: Folder, model: Model, dials: Hyperparameters, plan: Plan | None) -> bytes:
    validation: Path | None = folder.validation if job.validation_file else None
    return recipe_text(
        model=model.source or "",
        train=folder.training,
        validation=validation,
        output=folder.output,
        seed=job.seed,
        epochs=dials.epochs(job.examples),
        batch_size=plan.batch_size if plan else dials.asked_batch_size,
        learning_rate=plan.learning_rate * dials.multiplier if plan else None,
        steps=plan.steps if plan else None,
    ).encode()
