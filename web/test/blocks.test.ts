import { expect, test } from "vitest";
import { BlockReader } from "../src/chat/markdown/blocks";

const PART = "## Part\n\nSome **words**, and more.\n\n- one\n- two\n\n```ts\nconst a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n";

test("a long text has the same blocks read at once, in pieces, and as it grows", () => {
  const text = PART.repeat(1000) + "```\n" + "long code\n".repeat(8000) + "```\n\n" + PART;
  const whole = new BlockReader().read(text).blocks;
  expect(whole.length).toBe(1001 * 5 + 1);
  const growing = new BlockReader();
  for (let end = 0; end < text.length; end += 9973) growing.read(text.slice(0, end));
  expect(growing.read(text).blocks).toEqual(whole);
});

test("five megabytes are read in seconds: in the time that their length takes, not its square", { timeout: 60_000 }, () => {
  const text = PART.repeat(Math.ceil(5_000_000 / PART.length));
  const began = performance.now();
  new BlockReader().read(text);
  expect(performance.now() - began).toBeLessThan(20_000); // two on a machine that does nothing else, minutes by the square
});

test("a definition that is cut while it comes means in the end what it says", () => {
  const text = "See [a].\n\n[a]: https://example.com/path\n\nEnd.";
  const growing = new BlockReader();
  for (let end = 1; end < text.length; end++) growing.read(text.slice(0, end));
  expect(growing.read(text).links["a"]?.href).toBe("https://example.com/path");
});
