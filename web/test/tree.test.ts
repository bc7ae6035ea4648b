import { expect, test } from "vitest";
import { extended } from "../src/chat/browser/answer";
import { wireMessages } from "../src/chat/browser/backend";
import { type Kept, newConversation, parseKept, settled } from "../src/chat/browser/kept";
import { byId, leafBelow, pathTo, withSiblings } from "../src/chat/browser/tree";
import { type Message, newMessage, titleFrom, tokensPerSecond } from "../src/chat/model";

const say = (id: string, parent: string | null, role: Message["role"], text = id): Message =>
  newMessage({ id, parent_id: parent, role, text, created_at: 1 });

/** q1 -> a1 and a2; a1 -> q2 -> a3, a2 -> q3. */
const TREE = [say("q1", null, "user"), say("a1", "q1", "assistant"), say("a2", "q1", "assistant"), say("q2", "a1", "user"), say("a3", "q2", "assistant"), say("q3", "a2", "user")];
const kept: Kept = { format: 2, conversation: newConversation("conv_1", 1), messages: TREE, leaf: "a3" };

test("a path leads from the first message to the leaf, and every message knows who stands beside it", () => {
  const path = withSiblings(TREE, pathTo(byId(TREE), "a3"));
  expect(path.map(({ id }) => id)).toEqual(["q1", "a1", "q2", "a3"]);
  expect(path.map(({ siblings }) => siblings)).toEqual([["q1"], ["a1", "a2"], ["q2"], ["a3"]]);
  expect(leafBelow(TREE, "a2")).toBe("q3");
});

test("the model reads the system prompt and the path, without answers that have no text", () => {
  const path = pathTo(byId([...TREE, say("a4", "q3", "assistant", "")]), "a4");
  expect(wireMessages(path, "Be brief.")).toEqual([
    { role: "system", content: "Be brief." },
    { role: "user", content: "q1" },
    { role: "assistant", content: "a2" },
    { role: "user", content: "q3" },
  ]);
  expect(wireMessages(path, "  ")[0]).toEqual({ role: "user", content: "q1" });
});

test("pieces add up to an answer with its times", () => {
  const usage = { prompt: 9, cached: 4, completion: 5, reasoning: 2 };
  const pieces = [
    [{ reasoning: "Hm" }, 100],
    [{ reasoning: "m." }, 200],
    [{ text: "Yes" }, 300],
    [{ text: "!" }, 500],
    [{ finish: "stop", usage }, 900],
  ] as const;
  const answer = pieces.reduce((before, [piece, ms]) => extended(before, piece, ms), say("a", "q", "assistant", ""));
  expect(answer).toMatchObject({ text: "Yes!", reasoning: "Hmm.", finish: "stop", version: 5 });
  expect(answer.usage).toEqual({ input_uncached: 5, cache_read: 4, output_text: 3, output_reasoning: 2 });
  expect([answer.ttft_ms, answer.reasoning_ms, answer.duration_ms]).toEqual([100, 200, 500]);
  expect(tokensPerSecond(answer)).toBe(10);
});

test("tool calls are put together from their parts, in parallel too", () => {
  const parts = [
    { toolCalls: [{ index: 0, id: "a", name: "f", arguments: "" }] },
    { toolCalls: [{ index: 1, id: "b", name: "g", arguments: "{}" }] },
    { toolCalls: [{ index: 0, arguments: '{"x":' }] },
    { toolCalls: [{ index: 0, arguments: "1}" }] },
  ];
  expect(parts.reduce((answer, piece) => extended(answer, piece, 1), say("a", "q", "assistant", "")).parts).toMatchObject([
    { id: "a", name: "f", arguments: '{"x":1}' },
    { id: "b", name: "g", arguments: "{}" },
  ]);
});

test("what was running when the page went away is interrupted, with its text", () => {
  const half = { ...kept, messages: [...TREE, newMessage({ role: "assistant", parent_id: "q3", text: "Half", state: "running" })] };
  expect(settled(parseKept(JSON.stringify(half))!).messages.at(-1)).toMatchObject({ state: "interrupted", text: "Half" });
  expect(settled(kept)).toBe(kept);
});

test("conversations of the first format become trees, with the answer that was shown", () => {
  const answer = (text: string) => ({ model: "m", state: "done", text, reasoning: "", toolCalls: [], finish: "stop", problem: null, promptTokens: 3, tokens: 4, firstMs: 1, reasonedMs: null, lastMs: 9 });
  const exchanges = [
    { question: "Hello", answers: [answer("Hi"), answer("Good day")], shown: 0 },
    { question: "More", answers: [{ ...answer(""), state: "failed", problem: { status: 500, message: "broken" } }], shown: 0 },
  ];
  const read = parseKept(JSON.stringify({ format: 1, id: "x", title: "Hello", created: 1, updated: 2, exchanges }))!;
  const path = pathTo(byId(read.messages), read.leaf);
  expect(path.map(({ text }) => text)).toEqual(["Hello", "Hi", "More", ""]);
  expect(path[1]).toMatchObject({ model: "m", ttft_ms: 1, duration_ms: 9, usage: { output_text: 4 } });
  expect(path[3]?.error).toEqual({ code: "500", message: "broken", hint: null });
});

test("stored text of another shape is not a conversation", () => {
  expect(parseKept(JSON.stringify(kept))).toEqual(kept);
  for (const bad of ["", "null", "[]", '{"format":1}', JSON.stringify({ ...kept, format: 3 }), JSON.stringify({ ...kept, messages: [{}] })]) {
    expect(parseKept(bad)).toBeNull();
  }
});

test("a title is the first line, cut between letters", () => {
  expect(titleFrom("  One\nTwo")).toBe("One");
  expect(titleFrom("🙂".repeat(80))).toBe("🙂".repeat(59) + "…");
});
