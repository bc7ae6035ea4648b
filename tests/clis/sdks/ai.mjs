// The ai package over @ai-sdk/openai-compatible: a loop of tools as one typed stream, and one that is aborted.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { isStepCount, jsonSchema, streamText, tool } from "ai";

const platform = createOpenAICompatible({
  name: "openglm",
  baseURL: process.env.URL + process.env.BASE,
  apiKey: process.env.KEY,
  includeUsage: true,
});
const model = platform("glm");
const schema = { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } };
const add = tool({
  description: "Adds.",
  inputSchema: jsonSchema(schema),
  execute: async ({ a, b }) => String(a + b),
});

const loop = streamText({ model, prompt: "add", tools: { add }, stopWhen: isStepCount(5), maxRetries: 0 });
const kinds = new Set();
for await (const part of loop.stream) kinds.add(part.type);

const controller = new AbortController();
const endless = streamText({ model, prompt: "talk", abortSignal: controller.signal, maxRetries: 0 });
let seen = 0;
let aborted = false;
for await (const part of endless.stream) {
  if (part.type === "text-delta" && ++seen === 10) controller.abort();
  aborted ||= part.type === "abort";
}

console.log(
  JSON.stringify({
    text: await loop.text,
    reasoning: await loop.reasoningText,
    finish: await loop.finishReason,
    tokens: (await loop.usage).totalTokens,
    steps: (await loop.steps).length,
    errors: kinds.has("error"),
    aborted,
  }),
);
