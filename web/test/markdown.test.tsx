import { render } from "preact-render-to-string";
import { expect, test } from "vitest";
import { highlight } from "../src/chat/markdown/languages";
import { safeHref } from "../src/chat/markdown/blocks";
import { Markdown } from "../src/chat/markdown/Markdown";

const html = (text: string) => render(<Markdown text={text} />).replace(/^<div class="markdown">|<\/div>$/g, "");

test("the usual markdown", () => {
  expect(html("# A\n\nb **c** *d* `e&lt;`\nf")).toBe(
    '<h3 class="depth-1">A</h3><p>b <strong>c</strong> <em>d</em> <code>e&amp;lt;</code><br/>f</p>',
  );
  expect(html("3. a\n4. b")).toBe('<ol start="3"><li>a</li><li>b</li></ol>');
  expect(html("|a|b|\n|-|-:|\n|1|2|")).toContain('<td class="to-right">2</td>');
  expect(html("- [x] a")).toContain('type="checkbox"');
});

test("HTML that a model writes is text", () => {
  const evil = ['<img src=x onerror="alert(1)">', "<script>alert(1)</script>", "a <b onclick=x>b</b>", "<svg/onload=alert(1)>", "<iframe src=javascript:alert(1)>"];
  for (const text of evil) expect(html(text)).not.toMatch(/<(img|script|b|svg|iframe)/);
  expect(html("&lt;img src=x&gt;")).toBe("<p>&lt;img src=x></p>");
  expect(html("a<br>b")).toBe("<p>a<br/>b</p>");
});

test("links open pages and mail only, images are links", () => {
  for (const bad of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "\u0001javascript:x", "data:text/html,x", "file:///etc", "vbscript:x", "/relative"]) {
    expect(safeHref(bad)).toBeNull();
  }
  expect(html("[a](javascript:alert(1))")).toBe("<p>a</p>");
  expect(html("[a](https://example.org)")).toContain('href="https://example.org/"');
  expect(html("![a](https://example.org/p.png)")).not.toContain("<img");
});

test("bold closes after Chinese punctuation", () => {
  expect(html("**注意：**请看")).toBe("<p><strong>注意：</strong>请看</p>");
  expect(html("这是**“引用”**吗")).toBe("<p>这是<strong>“引用”</strong>吗</p>");
  expect(html("2 ** 3 ** 4")).toBe("<p>2 ** 3 ** 4</p>");
});

test("no prefix of an answer throws, and its words are all there at the end", () => {
  const text = "## T\n\n> q\n\n1. a\n   - b\n\n```py\nx = '<b>'\n```\n\n|a|\n|-|\n|b|\n\n[x](https://e.org) <i>y</i> **z";
  for (let end = 0; end <= text.length; end++) html(text.slice(0, end));
  for (const word of ["T", "q", "a", "b", "x = '&lt;b>'", "y", "**z"]) expect(html(text)).toContain(word);
});

test("highlighting keeps every character and names its scopes", () => {
  const code = 'def f(x: str) -> "a<b":\n    return f"{x}"  # end';
  const words = (node: { children: unknown[] }): string =>
    node.children.map((child) => (typeof child === "string" ? child : words(child as { children: unknown[] }))).join("");
  const tree = highlight(code, "python")!;
  expect(words(tree)).toBe(code);
  expect(JSON.stringify(tree)).toContain('"scope":"keyword"');
  expect(highlight(code, "no such language")).toBeNull();
});
