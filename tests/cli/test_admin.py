"""`glm admin` from the first user to the last backup, over one data folder."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import pytest

from openglm.cli import run

PASSWORD = "a long and odd passphrase"


@pytest.fixture
def admin(tmp_path: Path, capsys, monkeypatch):
    """Runs `glm admin …` and gives its JSON, or its exit code and errors where it fails."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    data = tmp_path / "data"

    def call(*words: str, fails: bool = False):
        code = run(["admin", *words, "--data", str(data), *([] if fails else ["--json"])])
        told = capsys.readouterr()
        if fails:
            assert code != 0
            return told.err
        assert code == 0, told.err
        return json.loads(told.out) if told.out.strip() else None

    call.secret = secret
    call.data = data
    return call


def test_a_platform_is_set_up_from_nothing(admin):
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    made = admin("key", "create", "laptop", "--models", "glm*", "--days", "30")
    assert made["key"].startswith("key_")
    (listed,) = admin("key", "list")
    assert listed["name"] == "laptop"
    assert made["key"].split(".")[1] not in json.dumps(listed)
    assert admin("wallet", "top-up", "12.50", "--once", "a")["balance"] == "12.5"
    assert admin("wallet", "top-up", "12.50", "--once", "a")["balance"] == "12.5"
    admin("price", "set", "glm", "--input", "0.60", "--cached", "0.11", "--output", "2.20")
    assert admin("price", "list")[0]["cached"] == "0.11"
    assert {plan["plan"] for plan in admin("plan", "list")} == {"lite", "pro", "max"}
    admin("plan", "subscribe", "lite")
    admin("budget", "set", "5", "--period", "month")
    assert admin("budget", "list")[0]["limit"] == "5"
    admin("limit", "set", "--model", "glm*", "--concurrency", "8")
    assert admin("limit", "list")[0]["concurrency"] == 8
    admin("channel", "add", "east", "https://models.example/v1", "--models", "glm=GLM-4")
    (channel,) = admin("channel", "list")
    assert (channel["address"], channel["models"]) == ("https://models.example", "glm")
    admin("channel", "state", "east", "draining")
    admin("model", "add", "sonnet", "--alias-of", "glm")
    assert admin("model", "list")[0]["alias_of"] == "glm"
    assert admin("usage") == []
    assert admin("verify")["faults"] == 0
    with sqlite3.connect(admin.data / "openglm.db") as database:
        database.execute("UPDATE account SET balance = balance + 5")
    assert "its balance is 12500000005" in admin("verify", fails=True)
    admin("key", "revoke", made["id"])
    assert admin("key", "list")[0]["revoked"]


def test_a_models_folder_is_kept_as_every_later_process_finds_it(admin, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    admin("model", "add", "mine", "--source", "./weights")
    assert admin("model", "list")[0]["source"] == str(tmp_path / "weights")


def test_people_and_organisations_are_looked_after(admin):
    for name in ("ann", "bob"):
        admin("user", "add", f"{name}@example.com", "--password-file", str(admin.secret))
    assert [row["name"] for row in admin("org", "list")] == ["ann", "bob"]
    admin("org", "tier", "bob", "gold")
    admin("org", "disable", "bob")
    assert [(row["tier"], row["is_disabled"]) for row in admin("org", "list")][1] == ("gold", True)
    admin("org", "enable", "bob")
    admin("user", "disable", "bob@example.com")
    admin("user", "enable", "BOB@example.com")
    admin("user", "operator", "bob@example.com", "on")
    assert all(row["is_operator"] and not row["is_disabled"] for row in admin("user", "list"))
    admin("user", "operator", "ann@example.com", "off")
    assert "must keep one operator" in admin("user", "operator", "bob@example.com", "off", fails=True)
    rows = admin("audit", "--limit", "4")
    assert [row["action"] for row in rows] == [
        "user.operator",
        "user.operator",
        "user.enable",
        "user.disable",
    ]
    assert {row["actor"] for row in rows} == {"machine"}
    bobs = admin("audit", "--org", "bob")
    assert [row["action"] for row in bobs[:3]] == ["org.enable", "org.disable", "org.tier"]


def test_budgets_bills_and_subscriptions_are_set_shown_and_ended(admin):
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    assert "--target" in admin("budget", "set", "10", "--scope", "key", fails=True)
    assert "no API key 'nonsense'" in admin(
        "budget", "set", "10", "--scope", "key", "--target", "nonsense", fails=True
    )
    made = admin("plan", "subscribe", "lite")
    assert admin("plan", "subscriptions")[0]["id"] == made["subscription"]
    admin("plan", "end", made["subscription"])
    assert "no running subscription" in admin("plan", "end", made["subscription"], fails=True)
    assert admin("invoice", "show", "2024-01")["invoice"] == "a draft"
    issued = admin("invoice", "issue", "2024-01")
    assert [row["id"] for row in admin("invoice", "list")] == [issued["invoice"]]


def test_a_password_comes_from_standard_input(admin, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    admin("user", "add", "ann@example.com", "--password-file", "-")
    assert [user["email"] for user in admin("user", "list")] == ["ann@example.com"]


def test_what_was_backed_up_comes_back(admin, tmp_path):
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    archive = tmp_path / "monday.tar"
    admin("backup", str(archive))
    again = tmp_path / "again"
    assert run(["admin", "restore", str(archive), "--data", str(again)]) == 0
    users = sqlite3.connect(again / "openglm.db").execute("SELECT email FROM app_user").fetchall()
    assert users == [("ann@example.com",)]


def test_what_cannot_be_done_is_said_in_words(admin):
    for words in (("wallet", "show"), ("verify",), ("backup", str(admin.data / "a.tar")), ("accept-key",)):
        assert "there is no platform in" in admin(*words, fails=True)
    assert not admin.data.exists()
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    assert "already" in admin(
        "user", "add", "ann@example.com", "--password-file", str(admin.secret), fails=True
    )
    assert "no terminal" in admin("user", "add", "bob@example.com", fails=True)
    assert "amount" in admin("wallet", "top-up", "a lot", fails=True)
    between = "amount must be between 0.000000001 and 1000000000, got "
    assert between + "1000000000.5" in admin("wallet", "top-up", "1000000000.5", fails=True)
    assert between + "0" in admin("wallet", "top-up", "0", fails=True)
    assert "no user" in admin("user", "disable", "nobody@example.com", fails=True)
    admin("user", "add", "bob@example.com", "--password-file", str(admin.secret))
    assert "--org" in admin("wallet", "show", fails=True)


def test_quotas_are_set_listed_and_removed(admin):
    admin("user", "add", "ann@example.com", "--password-file", str(admin.secret))
    admin("quota", "set", "file_bytes", "50GiB", "--tier", "gold")
    admin("quota", "set", "files", "none")
    admin("quota", "set", "organisations", "3", "--user", "ann@example.com")
    rows = admin("quota", "list")
    assert {"holder": "gold", "name": "file_bytes", "most": 50 << 30, "what": "bytes in files"} in rows
    assert {"holder": "*", "name": "files", "most": None, "what": "files"} in rows
    mine = {row["name"]: row for row in admin("quota", "list", "--org", "ann")}
    assert (mine["projects"]["used"], mine["projects"]["limit"], mine["files"]["limit"]) == (1, 100, None)
    admin("quota", "remove", "files")
    assert "*" not in {row["holder"] for row in admin("quota", "list")}
    assert "did you mean files?" in admin("quota", "set", "fils", "1", fails=True)
