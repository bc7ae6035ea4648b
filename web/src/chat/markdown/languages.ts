/** highlight.js with the languages that conversations are made of. */

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import type { CodeNode } from "./highlight";
import { isObject } from "../../app/json";

const LANGUAGES = {
  bash, c, cpp, css, diff, go, ini, java, javascript, json, kotlin, markdown, python, rust, sql, swift,
  typescript, xml, yaml,
}; // prettier-ignore
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

const LONGEST = 60_000; // characters; past this the colouring would be felt while streaming

export function highlight(code: string, language: string): CodeNode | null {
  if (code.length > LONGEST || hljs.getLanguage(language) === undefined) return null;
  const emitter: unknown = hljs.highlight(code, { language, ignoreIllegals: true })._emitter;
  const root = isObject(emitter) ? emitter["rootNode"] : undefined; // pinned in package.json; languages.test.ts holds it
  return isObject(root) ? treeOf(root) : null;
}

function treeOf(node: Record<string, unknown>): CodeNode {
  const children = Array.isArray(node["children"]) ? (node["children"] as unknown[]) : [];
  return {
    scope: typeof node["scope"] === "string" ? node["scope"] : null,
    children: children.map((child) => (isObject(child) ? treeOf(child) : String(child))),
  };
}
