// The openai package: its tool runner over a stream, the same over Responses, and a stream that is aborted.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.URL}/v1`, apiKey: process.env.KEY, maxRetries: 0 });
const schema = { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } };
const question = { role: "user", content: "add" };
const add = ({ a, b }) => String(a + b);

const runner = client.chat.completions.runTools({
  model: "glm",
  stream: true,
  stream_options: { include_usage: true },
  messages: [question],
  tools: [
    { type: "function", function: { name: "add", parse: JSON.parse, parameters: schema, function: add } },
  ],
});
let reasoning = "";
for await (const chunk of runner) reasoning += chunk.choices[0]?.delta?.reasoning_content ?? "";
const chat = { text: await runner.finalContent(), reasoning, tokens: (await runner.totalUsage()).total_tokens };

const input = [question];
let response;
do {
  const tools = [{ type: "function", name: "add", parameters: schema, strict: false }];
  const include = ["reasoning.encrypted_content"];
  const stream = client.responses.stream({ model: "glm", input, tools, include, store: false });
  response = await stream.finalResponse();
  input.push(...response.output);
  for (const call of response.output.filter((item) => item.type === "function_call"))
    input.push({ type: "function_call_output", call_id: call.call_id, output: add(JSON.parse(call.arguments)) });
} while (response.output.some((item) => item.type === "function_call"));

const endless = await client.chat.completions.create({ model: "glm", stream: true, messages: [question] });
let seen = 0;
for await (const _ of endless) if (++seen === 10) endless.controller.abort();

console.log(JSON.stringify({ chat, response: response.output_text, seen }));
