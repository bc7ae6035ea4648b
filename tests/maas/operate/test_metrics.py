"""What the gateway counts, as Prometheus would read it."""

from __future__ import annotations

from time import process_time

from prometheus_client.parser import text_string_to_metric_families

from openglm.maas.money import Receipt
from openglm.maas.operate.metrics import MANY_MODELS, GatewayMetrics
from openglm.messages import Usage


def receipt(**changes: object) -> Receipt:
    values = {
        "request_id": "req_1",
        "status": "ok",
        "usage": Usage(10, 20, 0, 30, 5),
        "cost_nano": 1_500_000_000,
        "credits": 0,
        "price_version": "glm-4.5#1",
        "arithmetic": (),
        "balance_nano": 1,
    }
    return Receipt(**(values | changes))  # type: ignore[arg-type]


def samples(metrics: GatewayMetrics) -> dict[tuple[str, ...], float]:
    """Value by name and label values."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_tokens_and_money_of_a_settled_request_are_counted_once_each() -> None:
    metrics = GatewayMetrics()
    metrics.settled("glm-4.5", receipt())
    metrics.settled("glm-4.5", receipt(cost_nano=0, credits=7, estimated=True))
    seen = samples(metrics)
    assert seen["openglm_tokens_total", "input_uncached", "glm-4.5"] == 20
    assert seen["openglm_tokens_total", "cache_read", "glm-4.5"] == 40
    assert seen["openglm_tokens_total", "output_text", "glm-4.5"] == 60
    assert seen["openglm_tokens_total", "output_reasoning", "glm-4.5"] == 10
    assert seen["openglm_cost_total", "glm-4.5"] == 1.5
    assert seen["openglm_plan_credits_total", "glm-4.5"] == 7
    assert seen["openglm_estimated_bills_total", "glm-4.5"] == 1


def test_answers_are_counted_by_surface_model_and_outcome() -> None:
    metrics = GatewayMetrics()
    metrics.gone.inc()
    metrics.answered("openai", "glm-4.5", True, 40)
    metrics.answered("openai", "glm-4.5", False, None)
    seen = samples(metrics)
    assert seen["openglm_clients_gone_total",] == 1
    assert seen["openglm_answers_total", "glm-4.5", "whole", "openai"] == 1
    assert seen["openglm_answers_total", "glm-4.5", "broken", "openai"] == 1
    assert seen["openglm_first_token_seconds_count", "glm-4.5", "openai"] == 1
    assert seen["openglm_first_token_seconds_sum", "glm-4.5", "openai"] == 0.04


def test_strange_model_names_stay_one_label_and_many_models_share_one() -> None:
    metrics = GatewayMetrics()
    metrics.answered("zhipu", 'a"b\nc\\', True, None)
    for number in range(MANY_MODELS + 50):
        metrics.answered("zhipu", f"m{number}", True, None)
    seen = samples(metrics)
    assert seen["openglm_answers_total", 'a"b\nc\\', "whole", "zhipu"] == 1
    assert seen["openglm_answers_total", "other", "whole", "zhipu"] == 51


def test_two_platforms_in_a_process_do_not_mix() -> None:
    one, other = GatewayMetrics(), GatewayMetrics()
    one.gone.inc()
    assert samples(other)["openglm_clients_gone_total",] == 0


def test_counting_a_request_takes_microseconds() -> None:
    metrics, paid = GatewayMetrics(), receipt()
    start = process_time()
    for _ in range(2_000):
        metrics.settled("glm-4.5", paid)
        metrics.answered("openai", "glm-4.5", True, 40)
    assert (process_time() - start) / 2_000 < 200e-6  # measured: about 10; the rest is room for slow machines
