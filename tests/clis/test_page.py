"""docs/clients.md names the versions that are tested here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clis.agents import PAGE

pytestmark = pytest.mark.clis

PINS = json.loads(Path(__file__).with_name("package.json").read_text(encoding="utf-8"))["dependencies"]


@pytest.mark.parametrize("package", PINS)
def test_the_page_names_the_version(package: str):
    assert PINS[package] in PAGE.read_text(encoding="utf-8")
