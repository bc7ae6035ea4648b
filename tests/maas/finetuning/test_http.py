"""Fine-tuning over HTTP: the official client from file to answer, Zhipu's routes, the console, strangers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.models import Model
from openglm.maas.operate.backup import backup, restore
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.maas.console.conftest import Browser
from tests.maas.finetuning.programs import TRAINER, serve
from tests.maas.money.conftest import audited

PASSWORD = "a long and odd passphrase"
START = 10 * 10**9
ZHIPU = "/api/paas/v4"


@dataclass
class Street:
    """Ann and Bob, each with an organisation, a key and money, before one platform with one local model."""

    platform: Platform
    url: str
    ann: str
    bob: str
    ann_org: str
    gate: Path

    def client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def ask(self, method: str, path: str, key: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=60, **more)

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.platform.database.read_now(sql, **values)]

    def open_gate(self, steps: int = 10**9) -> None:
        draft = self.gate.with_suffix(".partial")
        draft.write_text(str(steps))
        draft.rename(self.gate)

    def upload(self, key: str, count: int = 12) -> str:
        lines = [
            {
                "messages": [
                    {"role": "user", "content": f"question {n}"},
                    {"role": "assistant", "content": f"answer {n}"},
                ]
            }
            for n in range(count)
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return self.client(key).files.create(file=("train.jsonl", content), purpose="fine-tune").id


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)
    return found


@pytest.fixture
def street(database_url: str, tmp_path: Path) -> Iterator[Street]:
    settings = Settings(data=tmp_path, database_url=database_url)
    gate = tmp_path / "gate"
    platform = Platform(settings, server=serve, trainer=(*TRAINER, "--gate", str(gate)))

    async def furnish() -> list[str]:
        await platform.models.put(Model("tiny", source="/no/such/model"))
        await platform.prices.set_per_million("tiny", uncached="1", output="4", training="10")
        found = []
        for name in ("ann", "bob"):
            person = await platform.accounts.add(f"{name}@example.com", PASSWORD, name)
            found.append((await platform.keys.create(person.org_id, person.project_id, name)).key)
            await platform.wallet.top_up(person.org_id, START, idempotency_key=name)
            found.append(person.org_id)
        return found

    ann, ann_org, bob, _ = asyncio.run(furnish())
    with Running(create_app(platform)) as url:
        until(lambda: [status.state for status in platform.servers.status()] == ["ready"])
        yield Street(platform, url, ann, bob, ann_org, gate)


def test_the_official_client_goes_from_a_file_to_an_answer_of_the_new_model(street: Street):
    street.open_gate()
    ann = street.client(street.ann)
    job = ann.fine_tuning.jobs.create(
        model="tiny",
        training_file=street.upload(street.ann),
        suffix="kind",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 3}}},
        metadata={"for": "support"},
    )
    assert job.status == "validating_files"
    assert job.method.type == "supervised"
    # Every look is one at which a model may have just been published: it can be called at once.
    done = until(lambda: (found := ann.fine_tuning.jobs.retrieve(job.id)).finished_at and found)
    answer = ann.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.choices[0].message.content == f"{done.fine_tuned_model}|weights of /no/such/model"
    assert answer.model == done.fine_tuned_model
    assert (done.status, done.trained_tokens, done.seed) == ("succeeded", 800, 7)
    assert done.hyperparameters.n_epochs == 2
    assert done.organization_id == street.ann_org
    assert [found.id for found in ann.fine_tuning.jobs.list()] == [job.id]
    events = list(ann.fine_tuning.jobs.list_events(job.id, limit=3))  # pages follow by themselves
    steps = [event.data["step"] for event in events if event.type == "metrics"]
    assert steps == list(range(8, 0, -1))
    assert events[0].message.startswith(f"the model {done.fine_tuned_model} is ready")
    (checkpoint,) = ann.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.step_number, checkpoint.fine_tuned_model_checkpoint) == (8, done.fine_tuned_model)
    assert b"train_loss" in ann.files.content(done.result_files[0]).content
    models = {model.id: model.owned_by for model in ann.models.list()}
    assert models == {"tiny": "openglm", done.fine_tuned_model: street.ann_org}
    until(lambda: not street.rows("SELECT 1 FROM hold WHERE state = 'open'"))
    usage = street.rows("SELECT kind, model, cost_nano FROM usage_event ORDER BY created_at")
    assert [(row["kind"], row["model"]) for row in usage] == [
        ("training", "tiny"),
        ("chat", done.fine_tuned_model),
    ]
    assert usage[0]["cost_nano"] == 800 * 10_000
    assert usage[1]["cost_nano"] == 7 * 1_000 + 3 * 4_000  # as its base, until it has a price of its own
    audited(street.platform.database)


def published(street: Street) -> str:
    street.open_gate()
    ann = street.client(street.ann)
    job = ann.fine_tuning.jobs.create(model="tiny", training_file=street.upload(street.ann))
    done = until(lambda: (found := ann.fine_tuning.jobs.retrieve(job.id)).finished_at and found)
    assert done.status == "succeeded", done.error
    return done.fine_tuned_model


def test_a_fine_tuned_model_is_its_organisations_alone(street: Street):
    name = published(street)
    assert name.startswith("ft:tiny:ann")  # her organisation's name stands for the suffix
    bob = street.client(street.bob)
    assert [model.id for model in bob.models.list()] == ["tiny"]
    hello = [{"role": "user", "content": "hello"}]
    for refused in (
        lambda: bob.chat.completions.create(model=name, messages=hello),
        lambda: bob.models.retrieve(name),
        lambda: bob.models.delete(name),
    ):
        with pytest.raises(openai.NotFoundError) as error:
            refused()
        assert error.value.body["code"] == "model_not_found"
    with pytest.raises(openai.NotFoundError) as error:
        bob.chat.completions.create(model="ft:tiny:ann:00000000", messages=hello)
    assert name not in str(error.value), "what others have is not listed in an error"
    with pytest.raises(openai.PermissionDeniedError):
        street.client(street.ann).models.delete("tiny")


def test_a_deleted_model_is_unloaded_and_nobody_finds_it(street: Street):
    name = published(street)
    ann = street.client(street.ann)
    hello = [{"role": "user", "content": "hello"}]
    ann.chat.completions.create(model=name, messages=hello)
    adapter = street.platform.settings.data / asyncio.run(street.platform.models.get(name)).adapter
    assert ann.models.delete(name).deleted
    for key in (street.ann, street.bob):
        with pytest.raises(openai.NotFoundError):
            street.client(key).chat.completions.create(model=name, messages=hello)
    until(lambda: not adapter.exists())
    log = street.platform.settings.data / "logs" / "local-tiny.log"
    until(lambda: f"unloaded {name}" in log.read_text())
    with pytest.raises(openai.NotFoundError):
        ann.models.delete(name)
    deeds = {row["action"] for row in street.rows("SELECT action FROM audit_log")}
    assert {"finetuning.create", "finetuning.delete_model"} <= deeds


def test_a_server_that_starts_again_starts_with_its_adapters(street: Street):
    name = published(street)
    first = street.platform.servers.status()[0].pid
    os.kill(first, signal.SIGKILL)
    log = street.platform.settings.data / "logs" / "local-tiny.log"
    until(lambda: f"adapters at the start: {name}" in log.read_text())
    until(lambda: street.platform.servers.status()[0].state == "ready")
    answer = street.client(street.ann).chat.completions.create(
        model=name, messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.choices[0].message.content.startswith(name)


def test_a_backup_holds_private_models(street: Street, tmp_path_factory):
    name = published(street)
    adapter = asyncio.run(street.platform.models.get(name)).adapter
    data, elsewhere = street.platform.settings.data, tmp_path_factory.mktemp("elsewhere")
    manifest = backup(street.platform.settings.database, data, elsewhere / "all.tar")
    assert f"{adapter}/adapter_model.safetensors" in manifest.files
    if street.platform.database.kind == "sqlite":
        restore(elsewhere / "all.tar", elsewhere / "data")
        weights = f"{adapter}/adapter_model.safetensors"
        assert (elsewhere / "data" / weights).read_bytes() == (data / weights).read_bytes()


def test_a_model_of_its_own_price_costs_that(street: Street):
    name = published(street)
    asyncio.run(street.platform.prices.set_per_million(name, uncached="2", output="8"))
    street.client(street.ann).chat.completions.create(
        model=name, messages=[{"role": "user", "content": "hello"}]
    )
    (row,) = until(lambda: street.rows("SELECT cost_nano, tariff FROM usage_event WHERE kind = 'chat'"))
    assert row["cost_nano"] == 7 * 2_000 + 3 * 8_000
    assert row["tariff"] == f"{name}#1"


def test_pause_resume_and_cancel_over_http(street: Street):
    street.open_gate(3)
    ann = street.client(street.ann)
    job = ann.fine_tuning.jobs.create(
        model="tiny", training_file=street.upload(street.ann), hyperparameters={"n_epochs": 1}
    )

    def at(tokens: int) -> Callable[[], bool]:
        return lambda: bool(
            street.rows("SELECT 1 FROM fine_tuning_job WHERE trained_tokens = :tokens", tokens=tokens)
        )

    until(at(300))
    assert ann.fine_tuning.jobs.pause(job.id).status == "paused"
    until(lambda: street.rows("SELECT 1 FROM fine_tuning_job WHERE state = 'paused'"))
    assert ann.fine_tuning.jobs.resume(job.id).status == "queued"
    street.open_gate(5)
    until(at(500))
    assert ann.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    done = until(lambda: (found := ann.fine_tuning.jobs.retrieve(job.id)).finished_at and found)
    assert (done.status, done.trained_tokens) == ("cancelled", 500)
    (row,) = street.rows("SELECT cost_nano FROM usage_event WHERE status = 'ok'")
    assert row["cost_nano"] == 500 * 10_000
    with pytest.raises(openai.ConflictError):
        ann.fine_tuning.jobs.resume(job.id)
    audited(street.platform.database)


REFUSED = [
    ({"method": {"type": "dpo"}}, "method.type", "unsupported_value"),
    ({"method": {"type": "reinforcement"}}, "method.type", "unsupported_value"),
    ({"method": {"type": "magic"}}, "method.type", "invalid_value"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "unsupported_value"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
    ({"hyperparameters": {"batch_size": "large"}}, "hyperparameters.batch_size", "invalid_value"),
    ({"suffix": "a:b"}, "suffix", "invalid_value"),
    ({"seed": -1}, "seed", "invalid_value"),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_request"),
    ({"model": "no-such"}, "model", "model_not_available"),
]


def test_what_is_not_offered_is_refused_by_name(street: Street):
    file_id = street.upload(street.ann)
    for change, param, code in REFUSED:
        body = {"model": "tiny", "training_file": file_id, **change}
        answer = street.ask("POST", "/v1/fine_tuning/jobs", street.ann, json=body)
        assert answer.status_code == 400, change
        assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert street.rows("SELECT * FROM fine_tuning_job") == []


def test_explicit_nulls_and_autos_are_as_good_as_nothing(street: Street):
    body = {
        "model": "tiny",
        "training_file": street.upload(street.ann),
        "validation_file": None,
        "suffix": None,
        "seed": None,
        "integrations": None,
        "method": None,
        "hyperparameters": {"n_epochs": "auto", "batch_size": None, "learning_rate_multiplier": "auto"},
    }
    answer = street.ask("POST", "/v1/fine_tuning/jobs", street.ann, json=body)
    assert answer.status_code == 200
    assert answer.json()["hyperparameters"]["n_epochs"] == "auto"


def test_a_key_without_the_scope_may_not_train(street: Street):
    platform = street.platform
    (project,) = street.rows("SELECT id FROM project WHERE org_id = :org", org=street.ann_org)
    key = asyncio.run(
        platform.keys.create(street.ann_org, project["id"], "chat only", endpoints=["chat", "files"])
    ).key
    answer = street.ask("GET", "/v1/fine_tuning/jobs", key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_zhipus_routes_speak_zhipus_shapes(street: Street):
    """As zhipuai 2.1.5 sends it, and with every field that its types need."""
    street.open_gate()
    base = f"{ZHIPU}/fine_tuning/jobs"
    sent = {
        "model": "tiny",
        "training_file": street.upload(street.ann),
        "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        "suffix": "zhi",
        "validation_file": None,
        "request_id": "my-request-1",
    }
    made = street.ask("POST", base, street.ann, json=sent).json()
    assert made["request_id"] == "my-request-1"
    assert (made["object"], made["status"], made["result_files"]) == (
        "fine_tuning.job",
        "validating_files",
        [],
    )
    done = until(
        lambda: (
            (found := street.ask("GET", f"{base}/{made['id']}", street.ann).json())["finished_at"] and found
        )
    )
    assert (done["status"], done["trained_tokens"]) == ("succeeded", 1200)
    assert done["hyperparameters"]["n_epochs"] == 2
    page = street.ask("GET", base, street.ann, params={"limit": 1}).json()
    assert (page["object"], [job["id"] for job in page["data"]], page["has_more"]) == (
        "list",
        [made["id"]],
        False,
    )
    events = street.ask("GET", f"{base}/{made['id']}/events", street.ann, params={"limit": 2}).json()
    assert events["has_more"]
    metric = events["data"][1]["data"]
    assert (metric["current_steps"], metric["total_steps"], metric["trained_tokens"]) == (12, 12, 1200)
    assert metric["loss"] > 0
    assert metric["elapsed_time"].startswith("0:0")
    name = done["fine_tuned_model"]
    stranger = street.ask("GET", f"{base}/{made['id']}", street.bob)
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (404, "404")
    unknown = street.ask("POST", f"{base}/ftjob_{'0' * 26}/cancel", street.ann)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "404")
    over = street.ask("POST", f"{base}/{made['id']}/cancel", street.ann)
    assert (over.status_code, over.json()["error"]["code"]) == (400, "1230")
    assert street.ask("DELETE", f"{base}/{made['id']}", street.ann).json()["id"] == made["id"]
    assert street.ask("GET", f"{base}/{made['id']}", street.ann).status_code == 404
    models = f"{ZHIPU}/fine_tuning/fine_tuned_models"
    assert street.ask("DELETE", f"{models}/{name}", street.bob).json()["error"]["code"] == "404"
    assert street.ask("DELETE", f"{models}/{name}", street.ann).json() == {
        "request_id": name,
        "model_name": name,
        "delete_status": "deleted",
    }


def test_the_console_shows_jobs_with_their_curves_and_can_steer_them(street: Street):
    street.open_gate(4)
    ann = Browser(street.url).login("ann@example.com")
    job_id = (
        street.client(street.ann)
        .fine_tuning.jobs.create(
            model="tiny", training_file=street.upload(street.ann), hyperparameters={"n_epochs": 1}
        )
        .id
    )
    path = f"{ann.org}/fine-tuning/{job_id}"
    until(lambda: len(ann.get(path).json()["points"]) == 4)
    shown = ann.get(path).json()
    assert shown["job"]["status"] == "running"
    assert [point["step"] for point in shown["points"]] == [1, 2, 3, 4]
    assert set(shown["points"][0]) >= {"train_loss", "valid_loss", "learning_rate", "tokens"}
    assert shown["events"][-1]["message"] == "the job was created; its files are checked"
    assert [job["id"] for job in ann.get(f"{ann.org}/fine-tuning").json()["jobs"]] == [job_id]
    assert ann.post(f"{path}/pause").json()["status"] == "paused"
    until(lambda: street.rows("SELECT 1 FROM fine_tuning_job WHERE state = 'paused'"))
    assert ann.post(f"{path}/resume").json()["status"] == "queued"
    until(lambda: ann.get(path).json()["job"]["status"] == "running")
    assert ann.post(f"{path}/cancel").json()["status"] == "cancelled"
    done = until(lambda: (found := ann.get(path).json()["job"])["ended_at"] and found)
    assert (done["status"], done["trained_tokens"]) == ("cancelled", 400)
    bob = Browser(street.url).login("bob@example.com")
    assert bob.get(path).status_code == 404
    assert bob.get(f"{bob.org}/fine-tuning/{job_id}").status_code == 404
    assert bob.get(f"{bob.org}/fine-tuning").json()["jobs"] == []
    actions = [row["action"] for row in ann.get(f"{ann.org}/audit").json()["rows"]]
    assert {"finetuning.create", "finetuning.pause", "finetuning.resume", "finetuning.cancel"} <= set(actions)


def test_the_console_deletes_a_private_model(street: Street):
    name = published(street)
    ann = Browser(street.url).login("ann@example.com")
    offers = {offer["name"]: offer for offer in ann.get(f"{ann.org}/models").json()}
    assert offers[name]["price"]["model"] == "tiny"
    bob = Browser(street.url).login("bob@example.com")
    assert bob.delete(f"{bob.org}/models/{name}").status_code == 404
    assert ann.delete(f"{ann.org}/models/{name}").status_code == 204
    assert name not in {offer["name"] for offer in ann.get(f"{ann.org}/models").json()}
