"""What comes of a training: a private model of its organisation, and the file with its figures."""

from __future__ import annotations

import re
from typing import Any

from openglm.errors import InvalidRequest
from openglm.maas.database import Transaction
from openglm.maas.files.files import Files
from openglm.maas.finetuning import events
from openglm.maas.finetuning.folder import Folder, once
from openglm.maas.finetuning.job import Job
from openglm.maas.ids import new_id
from openglm.maas.models import NAME, Model, publish_adapter

MAX_SLUG = 20


def add_model(tx: Transaction, job: Job, folder: Folder, now: int) -> str:
    """Add the model of a job inside a transaction; its name."""
    org = tx.one("SELECT name FROM org WHERE id = :id", id=job.org_id)
    name = model_name(job.base, job.suffix or slug(org["name"] if org else ""), job.id)
    model = Model(name, title=name, owner_org=job.org_id, base=job.base, adapter=folder.adapter)
    publish_adapter(tx, model, now)
    return name


def model_name(base: str, middle: str, job_id: str) -> str:
    """`ft:BASE:SUFFIX:ID`, as OpenAI names them; where there is no suffix, the organisation's name."""
    name = f"ft:{base}:{middle}:{job_id[-8:]}"
    if not NAME.fullmatch(name):
        raise InvalidRequest(f"the model's name would be {name!r}, which is too long", param="suffix")
    return name


def slug(name: str) -> str:
    """An organisation's name as a part of a model's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:MAX_SLUG].strip("-") or "own"


async def write_result(files: Files, job: Job, points: list[dict[str, Any]], now: int) -> str:
    """The figures of all steps as a CSV file of the project; its id."""
    file_id = new_id("file", now)
    text = events.curve_csv(points).encode()
    await files.write(job, file_id, f"{job.id}_steps.csv", "fine-tune-results", once(text))
    return file_id
