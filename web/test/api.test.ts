import { expect, test } from "vitest";
import { ApiError, refusalOf } from "../src/app/api";
import { chatBody, parseChunk } from "../src/chat/browser/wire";

const OPTIONS = { model: "m", messages: [], temperature: null, maxTokens: null, thinking: null };

test("settings at the model's own are not sent", () => {
  expect(Object.keys(chatBody(OPTIONS))).toEqual(["model", "messages", "stream", "stream_options"]);
  expect(chatBody({ ...OPTIONS, temperature: 0, maxTokens: 5, thinking: false })).toMatchObject({
    temperature: 0,
    max_tokens: 5,
    thinking: { type: "disabled" },
  });
});

test("a chunk becomes a piece, nulls and absent fields alike", () => {
  const chunk = (delta: object, more: object = {}) => JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null }], ...more });
  expect(parseChunk(chunk({ role: "assistant", content: "" }), 200)).toEqual({});
  expect(parseChunk(chunk({ content: "a", reasoning_content: null }), 200)).toEqual({ text: "a" });
  expect(parseChunk(chunk({ reasoning_content: "b" }), 200)).toEqual({ reasoning: "b" });
  const usage = { prompt_tokens: 3, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 2 }, completion_tokens_details: { reasoning_tokens: 1 } };
  expect(parseChunk(JSON.stringify({ choices: [], usage }), 200)).toEqual({ usage: { prompt: 3, cached: 2, completion: 4, reasoning: 1 } });
});

test("an error inside the stream, or no JSON at all, is a refusal with its words", () => {
  expect(() => parseChunk('{"error":{"message":"out of memory"}}', 200)).toThrow(new ApiError(200, "out of memory"));
  expect(() => parseChunk("<html>", 200)).toThrow(ApiError);
});

test("an error of our servers is what happened and, apart from it, what to do", () => {
  const body = JSON.stringify({ error: { message: "the session has expired (hint: sign in again)", code: "expired", param: null } });
  expect(refusalOf(401, body)).toMatchObject({ status: 401, what: "the session has expired", hint: "sign in again", code: "expired" });
  expect(refusalOf(502, "<html>")).toMatchObject({ status: 502, what: "", hint: null });
  expect(refusalOf(400, '{"detail":"no"}')).toMatchObject({ what: "no" });
});
