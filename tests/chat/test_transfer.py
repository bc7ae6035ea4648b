"""Search, shares, export and import."""

from __future__ import annotations

import httpx

from tests.chat.conftest import script


def test_search_finds_words_and_chinese_in_ones_own_messages(home, wait_until):
    conversation = home.begin(title="About cats")
    home.answer(conversation, "Where do the Kittens sleep? 😀 小猫在哪里睡觉", wait_until)
    home.answer(home.begin(), script(words=["Kittens sleep on sofas."]), wait_until)
    hits = home.get("search", params={"q": "kitten sleep"}).json()["items"]
    assert [hit["role"] for hit in hits] == ["assistant", "user", "user"]
    hit = hits[-1]
    assert (hit["conversation_id"], hit["title"]) == (conversation, "About cats")
    units = hit["snippet"].encode("utf-16-le")
    found = [units[2 * start : 2 * end].decode("utf-16-le") for start, end in hit["marks"]]
    assert [word.lower() for word in found] == ["kitten", "sleep"]
    (chinese,) = home.get("search", params={"q": "睡觉"}).json()["items"]
    units = chinese["snippet"].encode("utf-16-le")
    assert [units[2 * start : 2 * end].decode("utf-16-le") for start, end in chinese["marks"]] == ["睡觉"]
    page = home.get("search", params={"q": "kitten", "limit": 2}).json()
    rest = home.get("search", params={"q": "kitten", "limit": 2, "before": page["next"]}).json()
    assert len(page["items"] + rest["items"]) == 3
    assert rest["next"] is None
    home.delete(f"conversations/{conversation}")
    assert home.get("search", params={"q": "小猫"}).json()["items"] == []
    assert home.get("search", params={"q": "!!"}).status_code == 400


def test_what_is_found_of_an_answer_is_shown_without_its_marks(home, wait_until):
    said = (
        "## 😀 Where they live\n\n- **Otters** live in `a*b*c` [rivers](https://example.org/zebra), "
        "**注意：**水獭\n\n| food | kind |\n|---|---|\n| *crabs* | snake_case |\n\n```py\nx = a**b**c\n```\n"
    )
    home.answer(home.begin(), script(words=[said]), wait_until)

    def found(query: str) -> tuple[str, list[str]]:
        hits = home.get("search", params={"q": query}).json()["items"]
        hit = next(one for one in hits if one["role"] == "assistant")
        units = hit["snippet"].encode("utf-16-le")
        return hit["snippet"], [units[2 * a : 2 * b].decode("utf-16-le") for a, b in hit["marks"]]

    shown, marked = found("otter crab")
    assert shown == (
        "😀 Where they live Otters live in a*b*c rivers, 注意：水獭"
        " food · kind crabs · snake_case x = a**b**c"
    )
    assert marked == ["Otter", "crab"]
    assert found("水獭")[1] == ["水獭"]
    shown, marked = found("zebra")  # it stands in an address alone
    assert (marked, "[rivers](https://example.org/zebra)" in shown) == (["zebra"], True)


def test_temporary_conversations_are_not_found(hall, home, wait_until):
    home.answer(home.begin(temporary=True), "a hidden word", wait_until)
    assert home.get("search", params={"q": "hidden"}).json()["items"] == []
    assert hall.rows("SELECT 1 FROM chat_term") == []


def test_a_share_shows_what_was_and_nothing_after_it_is_revoked(hall, ann, wait_until):
    conversation = ann.begin(title="Shared")
    file = ann.post("attachments", files={"file": ("a.txt", b"words")}).json()["id"]
    hall.upstream.plays = lambda body: {"words": ["seen"]}
    first = ann.answer(conversation, "Read it", wait_until, attachments=[file])
    made = ann.post(f"conversations/{conversation}/shares", json={}).json()
    assert made["url"] == f"{hall.url}/share/{made['token']}"
    ann.answer(conversation, script(words=["later"]), wait_until, parent_id=first["id"])
    public = f"{hall.url}/api/chat/shared/{made['token']}"
    shown = httpx.get(public).json()
    assert [one["text"] for one in shown["messages"]][1:] == ["seen"]
    assert shown["title"] == "Shared"
    assert file not in httpx.get(public).text
    (listed,) = ann.get(f"conversations/{conversation}/shares").json()
    assert (listed["id"], listed["token"]) == (made["id"], None)
    assert made["token"] not in str(hall.rows("SELECT * FROM chat_share"))
    assert ann.delete(f"shares/{made['id']}").status_code == 204
    assert httpx.get(public).status_code == 404
    assert httpx.get(f"{hall.url}/api/chat/shared/nothing").status_code == 404


def test_an_export_comes_back_with_its_whole_tree(home, wait_until):
    conversation = home.begin(title="Tree")
    first = home.answer(conversation, script(words=["one"]), wait_until)
    home.post(f"messages/{first['id']}/answers", json={"client_id": "b"})
    second = home.open(conversation)["path"][-1]["id"]
    home.ended(conversation, second, wait_until)
    home.answer(conversation, script(words=["three"]), wait_until, parent_id=second)
    file = home.get(f"conversations/{conversation}/export", params={"as": "json"})
    assert file.headers["content-disposition"].startswith("attachment")
    text = home.get(f"conversations/{conversation}/export", params={"as": "markdown"}).text
    assert text.startswith("# Tree")
    assert "three" in text
    assert home.post("import", content=file.content).json() == {"conversations": 1}
    (copy,) = [one for one in home.get("conversations").json()["items"] if one["id"] != conversation]
    assert copy["title"] == "Tree"
    before, after = home.open(conversation)["path"], home.open(copy["id"])["path"]
    for name in ("role", "text", "model"):
        assert [one[name] for one in after] == [one[name] for one in before]
    assert [len(one["siblings"]) for one in after] == [len(one["siblings"]) for one in before]
    assert len(home.get("search", params={"q": "three"}).json()["items"]) == 4


def test_chatgpts_export_comes_in(home):
    def node(name, parent, role=None, text=None):
        message = None
        if role:
            message = {
                "author": {"role": role},
                "content": {"content_type": "text", "parts": [text]},
                "create_time": 1_700_000_000.5,
                "metadata": {"model_slug": "gpt-4"},
            }
        return {"id": name, "parent": parent, "message": message, "children": []}

    nodes = [
        node("root", None),
        node("sys", "root", "system", ""),
        node("q", "sys", "user", "Hello"),
        node("a1", "q", "assistant", "First"),
        node("a2", "q", "assistant", "Second"),
        node("q2", "a2", "user", "And?"),
    ]
    talk = {"title": "Old", "mapping": {one["id"]: one for one in nodes}, "current_node": "q2"}
    assert home.post("import", json=[talk]).json() == {"conversations": 1}
    (row,) = home.get("conversations").json()["items"]
    path = home.open(row["id"])["path"]
    assert [one["text"] for one in path] == ["Hello", "Second", "And?"]
    assert len(path[1]["siblings"]) == 2
    assert path[1]["created_at"] == 1_700_000_000_500


def test_files_that_are_wrong_are_refused_whole(hall, home):
    ring = {"format": "openglm-chat/1", "title": "x", "messages": [
        {"id": "a", "parent_id": "b", "role": "user", "text": "1"},
        {"id": "b", "parent_id": "a", "role": "assistant", "text": "2"},
    ]}  # fmt: skip
    twice = {**ring, "messages": [ring["messages"][0], ring["messages"][0]]}
    for bad in ("nonsense", "[]", "{}", "[1]", '{"mapping": 1}', '{"format": "openglm-chat/1"}'):
        assert home.post("import", content=bad).status_code == 400, bad
    assert home.post("import", json=twice).status_code == 400
    assert hall.rows("SELECT 1 FROM chat_conversation") == []
    assert home.post("import", json=ring).json() == {"conversations": 1}
    (row,) = home.get("conversations").json()["items"]
    assert len(home.open(row["id"])["path"]) in (1, 2)
