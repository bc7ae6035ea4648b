"""The whole tables of zai-sdk and zhipuai."""

from __future__ import annotations

from tests.sdk import (  # noqa: F401  # they fill the tables
    zhipu_chat,
    zhipu_data,
    zhipu_errors,
    zhipu_services,
    zhipu_tuning,
)
from tests.sdk.zhipu import both, zai, zhipuai

TABLES = {"zai": both | zai, "zhipuai": both | zhipuai}
