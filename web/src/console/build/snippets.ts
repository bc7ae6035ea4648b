/** The request of the playground as a program: what a reader copies and runs with their own key. */

import { isObject, type Json } from "../../app/json";
import { type Dialect, MANNERS } from "./dialects";

export type Language = "curl" | "openai" | "zai" | "anthropic";

/** The programs that speak a dialect, the most usual one first. */
export const SPOKEN_BY: Record<Dialect, Language[]> = {
  openai: ["curl", "openai"],
  responses: ["curl", "openai"],
  anthropic: ["curl", "anthropic"],
  zhipu: ["curl", "zai"],
};

export function snippet(language: Language, dialect: Dialect, root: string, body: Json): string {
  if (language === "curl") return curl(root + MANNERS[dialect].path, body);
  const given = keywords(body);
  const streams = body["stream"] === true;
  const read = streams ? "for event in answer:\n    print(event)\n" : "print(answer)\n";
  if (language === "openai") {
    const call = dialect === "responses" ? "responses.create" : "chat.completions.create";
    return program("from openai import OpenAI", `OpenAI(base_url="${root}v1", api_key=os.environ["OPENGLM_API_KEY"])`, call, given, read);
  }
  if (language === "zai") {
    return program(
      "from zai import ZhipuAiClient",
      `ZhipuAiClient(base_url="${root}api/paas/v4/", api_key=os.environ["OPENGLM_API_KEY"])`,
      "chat.completions.create",
      given,
      read,
    );
  }
  return program(
    "import anthropic",
    `anthropic.Anthropic(base_url="${root}api/anthropic", api_key=os.environ["OPENGLM_API_KEY"])`,
    "messages.create",
    given,
    read,
  );
}

function curl(url: string, body: Json): string {
  const text = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  return `curl ${url} \\
  -H "Authorization: Bearer $OPENGLM_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '${text}'
`;
}

function program(imported: string, client: string, call: string, given: string, read: string): string {
  return `import os

${imported}

client = ${client}
answer = client.${call}(
${given})
${read}`;
}

function keywords(body: Json): string {
  return Object.entries(body)
    .map(([name, value]) => `    ${name}=${python(value, 1)},\n`)
    .join("");
}

/** A JSON value as Python writes it. */
function python(value: unknown, depth: number): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = "    ".repeat(depth + 1);
  const outer = "    ".repeat(depth);
  const items = isObject(value)
    ? Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, depth + 1)}`)
    : (value as unknown[]).map((each) => python(each, depth + 1));
  const [open, close] = isObject(value) ? "{}" : "[]";
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length < 88 && !short.includes("\n")) return short;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${outer}${close}`;
}
