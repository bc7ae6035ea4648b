"""Fine-tuning jobs from file to model: states, money to the token, kills and restarts, who may see what."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace

import pytest

from openglm.errors import (
    Conflict,
    FineTuneNotFound,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotOffered,
)
from openglm.maas.finetuning.hyperparameters import Hyperparameters
from openglm.maas.identity import SYSTEM
from openglm.maas.models import Model
from openglm.maas.quotas.quota import QuotaReached
from openglm.maas.quotas.quotas import Limit, Quotas
from tests.maas.finetuning.conftest import EACH, Bench, price_of
from tests.maas.money.conftest import audited

THREE_EPOCHS = Hyperparameters(n_epochs=3, batch_size=4)  # 12 examples: 9 steps


def test_a_job_becomes_a_private_model_and_is_billed_to_the_token(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(
            tuning, hyperparameters=THREE_EPOCHS, suffix="kind", metadata={"for": "support"}
        )
        assert job.wire()["status"] == "validating_files"
        assert job.wire()["trained_tokens"] is None
        await tuning.worker.run_pending()
        wire = (await bench.job(tuning, job)).wire()
        assert wire["status"] == "succeeded"
        assert wire["trained_tokens"] == 9 * EACH
        assert wire["fine_tuned_model"] == f"ft:tiny:kind:{job.id[-8:]}"
        assert wire["hyperparameters"] == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
        assert wire["metadata"] == {"for": "support"}
        assert wire["seed"] == 3
        assert await bench.spent() == price_of(9 * EACH)
        (usage,) = bench.rows("SELECT * FROM usage_event")
        assert (usage["kind"], usage["model"], usage["status"]) == ("training", "tiny", "ok")
        assert usage["arithmetic"] == "900 trained tokens x 10000000 pico = 9000000 nano"
        audited(bench.database)
        model = await bench.models.get(wire["fine_tuned_model"])
        assert (model.owner_org, model.base, model.source) == ("org_a", "tiny", None)
        assert (bench.data / model.adapter / "adapter_config.json").exists()
        # Of the folder, only the adapter is left.
        folder = bench.data / "finetuning" / job.id
        left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert left == {
            "output/adapter/adapter_config.json",
            "output/adapter/adapter_model.safetensors",
        }

    asyncio.run(go())


def test_every_step_is_a_point_of_the_curve_and_a_line_of_the_result_file(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(
            tuning, hyperparameters=THREE_EPOCHS, validation_file=await bench.upload(bench.examples(1))
        )
        await tuning.worker.run_pending()
        job = await bench.job(tuning, job)
        curve = await tuning.curve(job)
        assert [point["step"] for point in curve] == list(range(1, 10))
        assert curve[0]["train_loss"] == 4.0
        assert curve[-1]["valid_loss"] == pytest.approx(1.5 / 9)
        assert curve[-1]["tokens"] == 9 * EACH
        assert "remaining_s" in curve[-1]
        _, stream = await bench.files.content(bench.anne, job.wire()["result_files"][0])
        lines = b"".join([chunk async for chunk in stream]).decode().splitlines()
        assert lines[0] == "step,train_loss,valid_loss,learning_rate,epoch,tokens"
        assert len(lines) == 10
        assert lines[1].startswith("1,4.0,,")
        (checkpoint,) = job.checkpoints(curve[-1])
        assert checkpoint["step_number"] == 9
        assert checkpoint["metrics"]["train_loss"] == pytest.approx(4 / 9)
        found, more = await tuning.event_page(job, limit=3)
        assert more
        assert [event.number for event in found] == sorted((event.number for event in found), reverse=True)
        older, _ = await tuning.event_page(job, limit=100, after=found[-1].id)
        assert older[0].number == found[-1].number - 1
        assert (await bench.told(tuning, job))[:3] == [
            "the job was created; its files are checked",
            "the files are good: 12 examples, 900 tokens to train; queued",
            "the training begins",
        ]

    asyncio.run(go())


def test_the_recipe_says_what_was_asked_for_and_leaves_the_rest_to_the_trainer(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(
            tuning, hyperparameters=Hyperparameters(n_epochs=2, batch_size=5, learning_rate_multiplier=0.5)
        )
        working = asyncio.create_task(tuning.worker.run_pending())
        recipe = bench.data / "finetuning" / job.id / "recipe.toml"
        await bench.until(recipe.exists)
        tables = tomllib.loads(recipe.read_text(encoding="utf-8"))
        folder = recipe.parent
        assert tables == {
            "model": {"name": "/no/such/model"},
            "data": {"train": str(folder / "training.jsonl")},
            "optimizer": {"learning_rate": 1e-4},
            "run": {
                "output": str(folder / "output"),
                "epochs": 2,
                "batch_size": 5,
                "seed": 3,
                "save_every_steps": 1,
                "log_every_steps": 1,
            },
        }
        assert (folder / "training.jsonl").read_bytes() == bench.examples()
        bench.open_gate()
        await working

    asyncio.run(go())


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 10), (12, 9), (50, 3), (1_000, 3), (20_000, 1), (100_000, 1)]
)
def test_auto_trains_small_files_longer(examples, epochs):
    assert Hyperparameters().epochs(examples) == epochs
    assert Hyperparameters(n_epochs=4).epochs(examples) == 4


BAD = [
    (b"", b"{}\n", "messages must be a list of at least one message"),
    (b"", b"no json\n", "line 13: it is not valid JSON"),
    (b"", b'{"prompt": "a", "completion": "b"}\n', "unknown field 'prompt'"),
    (b"", b'{"messages": [{"role": "user", "content": "a"}]}\n', "the last message must be the assistant's"),
    (b"", b'{"messages": [{"role": "poet", "content": "a"}]}\n', "messages[0].role must be one of system"),
    (
        b"",
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}\n',
        "says nothing",
    ),
    (
        b"",
        b'{"messages": [{"role": "tool", "content": "4"}, {"role": "assistant", "content": "a"}]}\n',
        "messages[0] answers a tool call",
    ),
    (
        b"",
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},'
        b' {"role": "assistant", "content": "a"}]}\n',
        "messages[0] holds an image",
    ),
    (
        b"",
        b'{"messages": [{"role": "user", "content": "a"},'
        b' {"role": "assistant", "content": "b", "weight": 0}]}\n',
        "no message is learned",
    ),
    (
        b"",
        b'{"messages": [{"role": "user", "content": "a", "weight": 1},'
        b' {"role": "assistant", "content": "b"}]}\n',
        "messages[0].weight must be left out",
    ),
    (b"\xef\xbb\xbf", b'{"messages": "\xff"}\n', "must be UTF-8"),
]


@pytest.mark.parametrize(("before", "line", "complaint"), BAD)
def test_a_bad_line_is_named_before_anything_is_queued(bench: Bench, before, line, complaint):
    async def go():
        with pytest.raises(InvalidRequest) as refused:
            await bench.create(bench.tuning(), before + bench.examples() + line)
        assert complaint in refused.value.message
        assert "line 13: " in refused.value.message
        assert (refused.value.param, refused.value.code) == ("training_file", "invalid_training_file")
        assert bench.rows("SELECT * FROM fine_tuning_job") == []

    asyncio.run(go())


def test_a_bad_line_deep_in_a_large_file_fails_the_job_and_costs_nothing(bench: Bench):
    async def go():
        tuning = bench.tuning()
        long = b"".join(bench.example("why " * 200, str(n)) for n in range(500))
        job = await bench.create(tuning, long + b'{"messages": 3}\n')
        await tuning.worker.run_pending()
        wire = (await bench.job(tuning, job)).wire()
        assert wire["status"] == "failed"
        assert wire["error"]["code"] == "invalid_training_file"
        assert "line 501: messages must be a list" in wire["error"]["message"]
        assert wire["finished_at"]
        assert await bench.spent() == 0
        assert bench.rows("SELECT * FROM usage_event") == []
        assert not (bench.data / "finetuning" / job.id).exists()

    asyncio.run(go())


def test_what_cannot_be_trained_is_refused_by_name(bench: Bench):
    async def go():
        tuning = bench.tuning()
        with pytest.raises(InvalidRequest, match="at least 10 examples, got 9"):
            await bench.create(tuning, bench.examples(9))
        with pytest.raises(InvalidRequest, match="purpose fine-tune, got purpose batch"):
            await bench.create(tuning, training_file=await bench.upload(bench.examples(), "batch"))
        with pytest.raises(NotFound):
            await bench.create(tuning, training_file="file_" + "0" * 26)
        with pytest.raises(InvalidRequest, match="cannot be fine-tuned here") as refused:
            await bench.create(tuning, model="glm-of-a-channel")
        assert refused.value.code == "model_not_available"
        await bench.models.put(Model("dear", source="/no/such/model"))
        await bench.prices.set("dear", uncached_pico=5)
        with pytest.raises(InvalidRequest, match="no price for training"):
            await bench.create(tuning, model="dear")
        await bench.models.put(Model("hers", source="/no/such/model", owner_org="org_b"))
        with pytest.raises(ModelNotFound):
            await bench.create(tuning, model="hers")
        with pytest.raises(NotOffered):
            await bench.create(bench.tuning(offered=False))
        assert bench.rows("SELECT * FROM fine_tuning_job") == []

    asyncio.run(go())


def test_a_free_model_is_trained_for_nothing(bench: Bench):
    async def go():
        await bench.models.put(Model("gift", source="/no/such/model"))
        await bench.prices.set("gift")
        tuning = bench.tuning()
        job = await bench.create(tuning, model="gift", hyperparameters=THREE_EPOCHS)
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "succeeded"
        assert await bench.spent() == 0

    asyncio.run(go())


def test_a_wallet_that_does_not_cover_the_training_fails_it_before_it_begins(bench: Bench):
    async def go():
        await bench.prices.set("tiny", training_pico=10**14)
        tuning = bench.tuning()
        job = await bench.create(tuning)
        await tuning.worker.run_pending()
        wire = (await bench.job(tuning, job)).wire()
        assert (wire["status"], wire["error"]["code"]) == ("failed", "insufficient_quota")
        assert await bench.spent() == 0

    asyncio.run(go())


def test_a_training_that_finds_no_money_to_go_on_pauses_and_loses_nothing(bench: Bench):
    """What was trained before is not thrown away because the wallet was spent elsewhere meanwhile."""

    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(5)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 5 * EACH)
        await tuning.pause(await bench.job(tuning, job), actor=SYSTEM)
        await working
        await bench.prices.set(
            "tiny", training_pico=10**11
        )  # 0.1 yuan a token: 90 for all, the wallet has 10
        await tuning.resume(await bench.job(tuning, job), actor=SYSTEM)
        await tuning.worker.run_pending()
        paused = await bench.job(tuning, job)
        assert (paused.state, paused.trained_tokens) == ("paused", 5 * EACH)
        assert "the wallet has 10 free" in (await bench.told(tuning, job))[-1]
        await bench.wallet.top_up("org_a", 90 * 10**9, idempotency_key="more")
        bench.open_gate()
        await tuning.resume(paused, actor=SYSTEM)
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "succeeded"
        assert await bench.spent() == 9 * EACH * 10**8 - 90 * 10**9  # less what was added
        audited(bench.database)

    asyncio.run(go())


def test_a_trainer_that_gives_no_plan_is_asked_again_and_given_up_at_last(bench: Bench):
    async def go():
        tuning = bench.tuning("--no-plan", "1")
        job = await bench.create(tuning)
        for _ in range(5):
            await tuning.worker.run_pending()
            bench.now += 60_000
        assert (await bench.job(tuning, job)).wire()["error"]["code"] == "training_failed"
        assert bench.rows("SELECT * FROM usage_event") == []

    asyncio.run(go())


def test_a_cancelled_training_pays_for_what_was_trained_and_leaves_no_model(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(4)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 4 * EACH)
        asked = await tuning.cancel(await bench.job(tuning, job), actor=SYSTEM)
        assert asked.wire()["status"] == "cancelled"
        await working
        wire = (await bench.job(tuning, job)).wire()
        assert (wire["status"], wire["trained_tokens"]) == ("cancelled", 4 * EACH)
        assert wire["fine_tuned_model"] is None
        assert await bench.spent() == price_of(4 * EACH)
        assert not (bench.data / "finetuning" / job.id).exists()
        audited(bench.database)
        again = await tuning.cancel(await bench.job(tuning, job), actor=SYSTEM)
        assert again.state == "cancelled"
        with pytest.raises(Conflict, match="cannot pause a job that is cancelled"):
            await tuning.pause(again, actor=SYSTEM)

    asyncio.run(go())


def test_a_job_that_has_not_begun_is_cancelled_at_once_and_costs_nothing(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(tuning)
        assert (await tuning.cancel(job, actor=SYSTEM)).state == "cancelled"
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).wire()["finished_at"]
        assert await bench.spent() == 0

    asyncio.run(go())


def test_a_paused_training_holds_nothing_and_goes_on_where_it_was(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(5)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 5 * EACH)
        assert (await tuning.pause(await bench.job(tuning, job), actor=SYSTEM)).wire()["status"] == "paused"
        await working
        paused = await bench.job(tuning, job)
        assert paused.state == "paused"
        assert await bench.spent() == 0
        await tuning.resume(paused, actor=SYSTEM)
        bench.open_gate()
        await tuning.worker.run_pending()
        done = await bench.job(tuning, job)
        assert (done.state, done.trained_tokens) == ("succeeded", 9 * EACH)
        assert [point["step"] for point in await tuning.curve(done)] == list(range(1, 10))
        assert await bench.spent() == price_of(9 * EACH)

    asyncio.run(go())


def test_a_training_whose_key_ends_pauses_and_goes_on_for_whoever_resumes_it(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(3)
        await tuning.worker.start()
        await bench.until(lambda: trained(bench, job.id) == 3 * EACH)
        bench.ended_keys.add("key_a")

        async def paused() -> bool:
            return (await bench.job(tuning, job)).state == "paused"

        await bench.until(paused)
        await bench.until(lambda: not bench.rows("SELECT 1 FROM hold WHERE state = 'open'"))
        assert await bench.spent() == 0
        assert "the job is paused and can be resumed: this API key was revoked" in await bench.told(
            tuning, job
        )
        await tuning.resume(await bench.job(tuning, job), actor=SYSTEM)
        await bench.until(paused)  # by whoever has no key of their own, in vain
        other = replace(bench.anne, key_id="key_b")
        bench.open_gate()
        await tuning.resume(await bench.job(tuning, job), caller=other, actor=SYSTEM)

        async def ended() -> bool:
            return (await bench.job(tuning, job)).state == "succeeded"

        await bench.until(ended)
        await tuning.stop()
        (row,) = bench.rows("SELECT key_id, cost_nano FROM usage_event WHERE status = 'ok'")
        assert (row["key_id"], row["cost_nano"]) == ("key_b", price_of(9 * EACH))

    asyncio.run(go())


def test_a_paused_training_that_is_cancelled_pays_once_there_is_money(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(5)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 5 * EACH)
        await tuning.pause(await bench.job(tuning, job), actor=SYSTEM)
        await working
        await bench.prices.set("tiny", training_pico=10**14)
        await tuning.cancel(await bench.job(tuning, job), actor=SYSTEM)
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "cancelling"
        await bench.prices.set("tiny", training_pico=10**7)
        bench.now += 100_000
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "cancelled"
        assert await bench.spent() == price_of(5 * EACH)

    asyncio.run(go())


def test_a_trainer_that_cannot_read_the_data_fails_the_job_with_its_words_and_no_path(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(tuning, bench.examples() + bench.example("UNREADABLE", "x"))
        await tuning.worker.run_pending()
        error = (await bench.job(tuning, job)).wire()["error"]
        assert error["message"] == "error: training.jsonl line 13: cannot be rendered"
        assert error["param"] == "training_file"
        assert await bench.spent() == 0

    asyncio.run(go())


def test_a_trainer_that_keeps_failing_is_given_up_and_nothing_is_charged(bench: Bench):
    async def go():
        tuning = bench.tuning("--fail", "3", "1")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        for _ in range(5):
            await tuning.worker.run_pending()
            bench.now += 60_000
        found = await bench.job(tuning, job)
        assert found.wire()["error"]["code"] == "training_failed"
        told = await bench.told(tuning, job)
        assert (
            told.count("the trainer ended with 1; it is tried again") == 4
        )  # one step more, then three times
        assert not any("memory" in message for message in told)
        assert await bench.spent() == 0
        assert found.fine_tuned_model is None
        audited(bench.database)

    asyncio.run(go())


def test_a_trainer_that_fails_once_goes_on_from_its_checkpoint(bench: Bench):
    async def go():
        tuning = bench.tuning("--fail", "3", "1")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "queued"
        (bench.data / "finetuning" / job.id / "output" / "mended").touch()
        bench.now += 60_000
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "succeeded"
        assert await bench.spent() == price_of(9 * EACH)

    asyncio.run(go())


def test_a_deaf_trainer_is_killed_and_its_job_still_cancelled(bench: Bench):
    async def go():
        tuning = bench.gated("--deaf", stop_s=0.2)
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(2)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 2 * EACH)
        await tuning.cancel(await bench.job(tuning, job), actor=SYSTEM)
        await working
        assert (await bench.job(tuning, job)).state == "cancelled"
        assert await bench.spent() == price_of(2 * EACH)

    asyncio.run(go())


def test_a_job_waits_for_memory_and_idle_models_give_way(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.free = -1
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).wire()["status"] == "queued"
        bench.now += 60_000
        await tuning.worker.run_pending()
        told = await bench.told(tuning, job)
        assert [message for message in told if "needs" in message] == [told[-1]]
        assert told[-1].startswith("the job waits: the training ftjob_")
        bench.free, bench.now = 1 << 40, bench.now + 60_000
        bench.open_gate(1)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == EACH)
        bench.open_gate()
        await working
        assert (await bench.job(tuning, job)).state == "succeeded"
        (row,) = bench.rows("SELECT memory_bytes FROM fine_tuning_job")
        assert row["memory_bytes"] > 1 << 20  # seen, for the next training's sake

    asyncio.run(go())


def test_tenants_take_turns(bench: Bench):
    """Anne's second job waits behind Bob's first, though it came earlier."""

    async def go():
        await bench.wallet.top_up("org_b", 10**10, idempotency_key="b")
        tuning = bench.tuning()
        anne = [await bench.create(tuning, hyperparameters=THREE_EPOCHS) for _ in range(2)]
        file_id = await bench.upload(bench.examples())
        await bench.database.write(
            lambda tx: tx.run(
                "UPDATE file SET org_id = 'org_b', project_id = 'proj_b' WHERE id = :id", id=file_id
            )
        )
        from openglm.maas.finetuning.wanted import Wanted

        bob = await tuning.create(bench.bob, Wanted("tiny", file_id), actor=SYSTEM)
        await tuning.worker.run_pending()
        rows = bench.rows("SELECT id FROM fine_tuning_job ORDER BY started_at")
        assert [row["id"] for row in rows] == [anne[0].id, bob.id, anne[1].id]

    asyncio.run(go())


def test_an_organisation_has_so_many_open_jobs_and_no_more(bench: Bench):
    async def go():
        tuning = bench.tuning()
        await Quotas(bench.database).set(Limit("*", "open_fine_tuning_jobs", 2))
        jobs = [await bench.create(tuning) for _ in range(2)]
        with pytest.raises(QuotaReached, match="2 fine-tuning jobs that have not ended"):
            await bench.create(tuning)
        await tuning.cancel(jobs[0], actor=SYSTEM)
        await bench.create(tuning)

    asyncio.run(go())


def test_others_find_neither_job_nor_model(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        await tuning.worker.run_pending()
        with pytest.raises(FineTuneNotFound):
            await tuning.get("org_b", job.id)
        with pytest.raises(FineTuneNotFound):
            await tuning.get("org_a", job.id, "another project")
        assert (await tuning.list("org_b")).jobs == []
        assert [found.id for found in (await tuning.list("org_a", "proj_a")).jobs] == [job.id]
        name = (await bench.job(tuning, job)).fine_tuned_model
        with pytest.raises(ModelNotFound):
            bench.models.check(bench.bob, name)
        bench.models.check(bench.anne, name)
        with pytest.raises(FineTuneNotFound):
            await tuning.delete_model(bench.bob, name, actor=SYSTEM)
        with pytest.raises(Forbidden, match="not yours to delete"):
            await tuning.delete_model(bench.anne, "tiny", actor=SYSTEM)
        with pytest.raises(InvalidRequest, match="fine-tuned already"):
            await bench.create(tuning, model=name)

    asyncio.run(go())


def test_a_deleted_model_takes_its_files_along_and_its_deleted_job_everything(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        with pytest.raises(Conflict, match="cannot be deleted"):
            await tuning.delete(job, actor=SYSTEM)
        await tuning.worker.run_pending()
        job = await bench.job(tuning, job)
        await tuning.delete(job, actor=SYSTEM)
        await tuning.worker.run_pending()
        with pytest.raises(FineTuneNotFound):
            await bench.job(tuning, job)
        model = await bench.models.get(job.fine_tuned_model)
        assert (bench.data / model.adapter).exists()  # the model outlives its job
        await tuning.delete_model(bench.anne, model.name, actor=SYSTEM)
        await tuning.worker.run_pending()
        assert not (bench.data / "finetuning" / job.id).exists()
        assert not bench.models.knows(model.name)
        assert bench.rows("SELECT * FROM fine_tuning_job") == []
        assert bench.rows("SELECT * FROM fine_tuning_event") == []
        deeds = [
            row["action"]
            for row in bench.rows("SELECT action FROM audit_log WHERE action LIKE 'finetuning.%' ORDER BY at")
        ]
        assert deeds == ["finetuning.create", "finetuning.delete", "finetuning.delete_model"]

    asyncio.run(go())


def test_files_that_a_job_reads_are_kept_until_it_ends(bench: Bench):
    async def go():
        tuning = bench.tuning()
        job = await bench.create(tuning, validation_file=await bench.upload(bench.examples(2)))
        for file_id in (job.training_file, job.validation_file):
            with pytest.raises(Conflict, match="still reads this file"):
                await bench.files.delete(bench.anne, file_id)
        await tuning.cancel(job, actor=SYSTEM)
        await bench.files.delete(bench.anne, job.training_file)

    asyncio.run(go())


def trained(bench: Bench, job_id: str) -> int:
    (row,) = bench.rows("SELECT trained_tokens FROM fine_tuning_job WHERE id = :id", id=job_id)
    return row["trained_tokens"]
