// The @anthropic-ai/sdk package: its tool runner over streams, token counts, and a stream that is aborted.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: `${process.env.URL}/api/anthropic`,
  apiKey: process.env.KEY,
  maxRetries: 0,
});
const add = {
  type: "custom",
  name: "add",
  description: "Adds.",
  input_schema: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } },
  parse: (input) => input,
  run: ({ a, b }) => String(a + b),
};
const messages = [{ role: "user", content: "add" }];
const asked = { model: "glm", max_tokens: 20000, messages };

const runner = client.beta.messages.toolRunner({
  ...asked,
  tools: [add],
  stream: true,
  thinking: { type: "adaptive" },
});
let tokens = 0;
let last;
for await (const stream of runner) {
  last = await stream.finalMessage();
  const usage = last.usage;
  tokens += usage.input_tokens + usage.cache_read_input_tokens + usage.output_tokens;
}
const loop = {
  kinds: last.content.map((block) => block.type),
  text: last.content.at(-1).text,
  stop: last.stop_reason,
  tokens,
};

const counted = (await client.messages.countTokens({ model: "glm", messages })).input_tokens;

const endless = client.messages.stream(asked);
let seen = 0;
endless.on("text", () => ++seen === 10 && endless.abort());
await endless.done().catch(() => {});

console.log(JSON.stringify({ loop, counted, aborted: endless.aborted, seen }));
