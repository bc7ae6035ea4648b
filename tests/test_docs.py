"""`make docs` in the tests: what the documents say holds, and what does not hold would be said."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("check_docs", ROOT / "setup" / "check_docs.py")
assert spec is not None
assert spec.loader is not None
check_docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_docs)


def test_every_link_command_target_and_block_of_the_documents_holds():
    assert check_docs.complaints() == []
    assert len(check_docs.DOCUMENTS) > 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a](nowhere.md)", "leads nowhere"),
        ("# One\n[a](#two)", "no heading #two"),
        ("`glm frobnicate`", None),
        ("`glm admin frobnicate`", "frobnicate"),
        ("`glm up --frobnicate`", "--frobnicate"),
        ("`glm serve --until-eof`", None),
        ("```sh\n/opt/x/bin/glm serve\n```", "requires an argument"),
        ("```sh\nprintf x | podman run glm admin backup\n```", "requires an argument"),
        ("`glm admin …` and `make run`", None),
        ("`make frobnicate`", "no make frobnicate"),
        ("```python\nif\n```", "no python"),
        ("```json\n{,}\n```", "no json"),
        ("# One two\n[a](#one-two)\n```toml\na = 1\n```", None),
    ],
)
def test_what_does_not_hold_is_said(tmp_path, text, complaint):
    document = tmp_path / "a.md"
    document.write_text(text + "\n")
    found = list(check_docs.of_document(document))
    if complaint is None:
        assert found == []
    else:
        assert len(found) == 1
        assert complaint in found[0]
