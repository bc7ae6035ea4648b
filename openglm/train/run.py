"""A whole run: from a recipe to an adapter that can be served, resumable at every step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from openglm import hub
from openglm.errors import InvalidRequest, RecipeError
from openglm.hub import LocalModel
from openglm.model import load_model, open_checkpoint
from openglm.model.config import ModelConfig
from openglm.model.lora import new_adapter
from openglm.tokenizer import load_tokenizer
from openglm.tokenizer.chat import load_chat_format
from openglm.train import checkpoint
from openglm.train.chats import Chats, read_chats
from openglm.train.loop import Trainer
from openglm.train.lora import TrainedLora
from openglm.train.plan import Plan, longest_chat, make_plan
from openglm.train.recipe import Recipe
from openglm.train.run_folder import RunFolder

log = logging.getLogger(__name__)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is read and decided before weights are loaded."""

    local: LocalModel
    config: ModelConfig
    train: Chats
    validation: Chats | None
    plan: Plan
    folder: RunFolder


def prepare(given: Recipe) -> Prepared:
    """Find the model, read the data, derive the plan. Nothing is written."""
    folder = RunFolder(Path(given.run.output))
    given = folder.as_begun(given)
    try:
        local = hub.resolve(given.model.name)
    except InvalidRequest as error:
        raise RecipeError(f"model.name: {error.message}", hint=error.hint) from error
    config, weights, _ = open_checkpoint(local.path)
    weights.close()
    chat_format = load_chat_format(local.path, load_tokenizer(local.path))
    most = longest_chat(given, config)
    train = read_chats(Path(given.data.train), chat_format, most)
    validation = given.data.validation and read_chats(Path(given.data.validation), chat_format, most)
    return Prepared(local, config, train, validation or None, make_plan(given, config, train), folder)


def start(prepared: Prepared) -> Row | None:
    """Claim the output folder. The result of the run that it holds, if that is finished."""
    chats = {"training data": prepared.train, "validation data": prepared.validation}
    inputs = {name: part and part.sha256 for name, part in chats.items()}
    prepared.folder.begin(prepared.plan.recipe, inputs | {"model": _identity(prepared)})
    return prepared.folder.result()


def train(
    prepared: Prepared,
    report: Callable[[Row], None],
    is_stopped: Callable[[], bool],
    say: Callable[[str], None] = log.info,
) -> Row | None:
    """Train to the end, from the newest checkpoint if there is one. None: stopped, and saved."""
    plan, folder = prepared.plan, prepared.folder
    log_every = plan.recipe.run.log_every_steps
    torch.set_num_threads(plan.threads)
    trainer = _load(prepared)
    begun = checkpoint.newest(folder.checkpoints)
    state = {"step": 0, "tokens": 0}
    if begun:
        state = checkpoint.restore(begun, trainer.trained, trainer.optimizer)
        say(f"going on behind step {state['step']} of {plan.steps}")
    folder.rewind(state["step"])
    saved = state["step"]

    for number in range(state["step"] + 1, plan.steps + 1):
        if is_stopped():
            break
        started = time.perf_counter()
        outcome = trainer.step(number - 1)
        seconds = time.perf_counter() - started
        state = {"step": number, "tokens": state["tokens"] + outcome.tokens}
        row = {
            "step": number,
            "total_steps": plan.steps,
            "epoch": round(number / plan.steps_per_epoch, 4),
            "tokens": state["tokens"],
            "loss": outcome.loss,
            "learning_rate": outcome.learning_rate,
            "grad_norm": outcome.grad_norm,
            "tokens_per_second": round(outcome.tokens / seconds, 1),
        }
        last = number == plan.steps
        saves = number % plan.save_every_steps == 0
        validates = prepared.validation is not None and (last or number % plan.validate_every_steps == 0)
        if prepared.validation is not None and validates:
            row["validation_loss"] = trainer.validate(prepared.validation.samples)
        if validates or last or saves or number % log_every == 0:
            folder.log(row, durable=saves)
            report(row)
        if saves:
            checkpoint.save(folder.checkpoints, trainer.trained, trainer.optimizer, state)
            saved = number
    if state["step"] < plan.steps:
        if state["step"] > saved:
            checkpoint.save(folder.checkpoints, trainer.trained, trainer.optimizer, state)
        return None
    return _finish(prepared, trainer, state)


def _load(prepared: Prepared) -> Trainer:
    recipe = prepared.plan.recipe
    torch.manual_seed(recipe.run.seed)
    dtype = getattr(torch, prepared.plan.dtype)
    model = load_model(prepared.local.path, device=prepared.plan.device, dtype=dtype)
    adapter = new_adapter(
        model.config,
        rank=recipe.lora.rank,
        alpha=recipe.lora.alpha,
        targets=recipe.lora.targets,
        dropout=recipe.lora.dropout,
        generator=torch.Generator().manual_seed(recipe.run.seed),
    )
    trained = TrainedLora(model, adapter, prepared.local.name)
    return Trainer(prepared.plan, model, trained, prepared.train.samples)


def _finish(prepared: Prepared, trainer: Trainer, state: Mapping[str, int]) -> Row:
    folder = prepared.folder
    checkpoint.write_folder(folder.adapter, trainer.trained.write)
    last = folder.rows()[-1]
    result = {
        "status": "done",
        "adapter": str(folder.adapter),
        "trained_tokens": state["tokens"],
        "steps": state["step"],
        "loss": last["loss"],
        "validation_loss": last.get("validation_loss"),
    }
    folder.finish(result)
    return result


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What tells this model from another one at the same place: its config and the sizes of its files."""
    path = prepared.local.path
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    config = repr(sorted(prepared.config.to_dict().items()))
    return {
        "config": sha256(config.encode()).hexdigest(),
        "files": {file.name: file.stat().st_size for file in files},
    }
