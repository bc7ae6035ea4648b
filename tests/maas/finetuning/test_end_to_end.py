"""The whole road with the real programs: `glm up` serves a tiny model, trains it, is killed, and goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import psutil
import pytest

from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from tests.maas.finetuning.test_http import PASSWORD, START, until
from tests.maas.money.conftest import audited
from tests.train.conftest import build_model, tiny

__all__ = ["build_model", "tiny"]

ANSWER = "aye aye"
EACH = 10_000  # nano for a trained token


@contextmanager
def up(data: Path, model: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`glm up` as a process, killed at the latest when the block ends."""
    command = [sys.executable, "-m", "openglm.cli", "up", "--data", str(data), "--model", str(model)]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), line
        yield process, line.split()[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def furnish(platform: Platform) -> list[str]:
    """Keys of Ann, who has money, and of Bob."""
    keys = []
    for name in ("ann", "bob"):
        person = await platform.accounts.sign_up(
            f"{name}@example.com", PASSWORD, name, is_founder=name == "ann"
        )
        keys.append((await platform.keys.create(person.org_id, person.project_id, name)).key)
        await platform.wallet.top_up(person.org_id, START, idempotency_key=name)
    await platform.prices.set_per_million("tiny", uncached="1", output="4", training="10")
    return keys


@pytest.mark.slow
def test_a_model_is_trained_through_a_kill_of_the_platform_and_answers_as_it_learnt(tmp_path, tiny):
    platform = Platform(Settings(data=tmp_path / "data"), serves=False)
    ann_key, bob_key = asyncio.run(furnish(platform))
    lines = [
        {
            "messages": [
                {"role": "user", "content": question * (n % 4 + 1)},
                {"role": "assistant", "content": ANSWER},
            ]
        }
        for n, question in enumerate("abcdefghijklmnopqrst")
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()

    def client(url: str, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    with up(platform.settings.data, tiny) as (process, url):
        ann = client(url, ann_key)
        file = ann.files.create(file=("aye.jsonl", content), purpose="fine-tune")
        dials = {"n_epochs": 50, "batch_size": 2, "learning_rate_multiplier": 4}
        job = ann.fine_tuning.jobs.create(
            model="tiny",
            training_file=file.id,
            suffix="aye",
            seed=5,
            method={"type": "supervised", "supervised": {"hyperparameters": dials}},
        )

        def steps() -> list[int]:
            events = ann.fine_tuning.jobs.list_events(job.id, limit=5).data
            return [event.data["step"] for event in events if event.type == "metrics"]

        reached = until(steps)[0]
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=60)
        assert not [child for child in children if child.is_running()], "they end with the platform"
    assert reached < 500

    with up(platform.settings.data, tiny) as (process, url):
        ann, bob = client(url, ann_key), client(url, bob_key)
        # The lease of the killed platform ends some seconds after its last beat.
        done = until(lambda: (found := ann.fine_tuning.jobs.retrieve(job.id)).finished_at and found, 200)
        assert done.status == "succeeded", done.error
        name = done.fine_tuned_model
        assert name.startswith("ft:tiny:aye:")
        told = [event.message for event in ann.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert "the training goes on" in told
        curve = [json.loads(row["data"]) for row in rows(platform, "step IS NOT NULL ORDER BY step")]
        assert [point["step"] for point in curve] == list(range(1, 501))
        assert curve[-1]["train_loss"] < curve[0]["train_loss"] / 4

        def ask(who: openai.OpenAI, model: str) -> str:
            hello = [{"role": "user", "content": "cc"}]
            answer = who.chat.completions.create(model=model, messages=hello, max_tokens=20, temperature=0)
            return answer.choices[0].message.content

        assert ask(ann, name) == ANSWER
        assert ask(ann, "tiny") != ANSWER
        assert [model.id for model in bob.models.list()] == ["tiny"]
        with pytest.raises(openai.NotFoundError):
            ask(bob, name)
        assert ann.models.delete(name).deleted
        with pytest.raises(openai.NotFoundError):
            ask(ann, name)
        until(lambda: not list((platform.settings.data / "finetuning").iterdir()))

    (bill,) = platform.database.read_now(
        "SELECT * FROM usage_event WHERE kind = 'training' AND status = 'ok'"
    )
    assert bill["cost_nano"] == done.trained_tokens * EACH == curve[-1]["tokens"] * EACH
    audited(platform.database)
    asyncio.run(platform.close())


def rows(platform: Platform, which: str) -> list[dict]:
    found = platform.database.read_now(f"SELECT * FROM fine_tuning_event WHERE {which}")
    return [dict(row) for row in found]
