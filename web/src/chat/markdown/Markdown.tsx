/**
 * Markdown as elements. No HTML of the model is ever parsed: tags it writes are shown as the text they are,
 * links open only http(s) and mailto, images are links. So there is nothing to sanitise afterwards.
 */

import type { MarkedToken, Token, Tokens, TokensList } from "marked";
import { Component, type ComponentChildren, createContext, type JSX } from "preact";
import { useContext, useRef } from "preact/hooks";
import { Lazy } from "../../ui/Lazy";
import { type Block, BlockReader, decodeReferences, safeHref, tokensOf } from "./blocks";
import { CodeBlock, Growing } from "./CodeBlock";
import { Formula } from "./Formula";
import type { MathToken } from "./math";
import { mended } from "./mend";

const GROUP = 40; // blocks; in a longer text those that are far away are not in the page
const LONGEST_BLOCK = 50_000; // characters; marks in a longer one are not read

/** `live`: the text still grows, its last block is drawn as it will most likely look. */
export function Markdown({ text, live = false }: { text: string; live?: boolean }) {
  const reader = useRef<BlockReader | null>(null);
  reader.current ??= new BlockReader();
  const { blocks, links, definitions } = reader.current.read(text);
  const view = (block: Block, index: number) => (
    <Growing.Provider key={index} value={live && index === blocks.length - 1}>
      <BlockView raw={live && index === blocks.length - 1 ? mended(block.raw) : block.raw} type={block.type} links={links} definitions={definitions} />
    </Growing.Provider>
  );
  if (blocks.length <= 2 * GROUP) return <div class="markdown">{blocks.map(view)}</div>;
  const groups = Array.from({ length: Math.ceil(blocks.length / GROUP) }, (_, at) => at * GROUP);
  return (
    <div class="markdown">
      {groups.map((from) => (
        <Lazy key={from} class="markdown-group" guess={GROUP * 60} pinned={live && from + 2 * GROUP > blocks.length}>
          {() => blocks.slice(from, from + GROUP).map((block, index) => view(block, from + index))}
        </Lazy>
      ))}
    </div>
  );
}

interface BlockProps {
  raw: string;
  type: string;
  links: TokensList["links"];
  definitions: number;
}

/** Draws again only when its own text changed, so a long answer streams in at the cost of its last block. */
class BlockView extends Component<BlockProps> {
  override shouldComponentUpdate(next: BlockProps): boolean {
    return next.raw !== this.props.raw || next.definitions !== this.props.definitions;
  }
  override render({ raw, type, links }: BlockProps) {
    if (type !== "code" && raw.length > LONGEST_BLOCK) return <LongText text={raw} />;
    return <>{children(tokensOf(raw, links))}</>;
  }
}

const PIECE = 10_000; // characters

/** A block too long to be read for marks: its words, in pieces that the browser lays out when they are near. */
function LongText({ text }: { text: string }) {
  const pieces = Array.from({ length: Math.ceil(text.length / PIECE) }, (_, at) => text.slice(at * PIECE, (at + 1) * PIECE));
  return (
    <div class="long-text">
      {pieces.map((piece, at) => (
        <span key={at}>{piece}</span>
      ))}
    </div>
  );
}

function children(tokens: Token[] | undefined): ComponentChildren {
  return tokens?.map((token, index) => element(token, index));
}

function element(any: Token, key: number): ComponentChildren {
  if (any.type === "math" || any.type === "inlineMath") return <Formula key={key} token={any as unknown as MathToken} />;
  const token = any as MarkedToken;
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return heading(token, key);
    case "paragraph":
      return <p key={key}>{children(token.tokens)}</p>;
    case "blockquote":
      return <blockquote key={key}>{children(token.tokens)}</blockquote>;
    case "code":
      return <CodeBlock key={key} code={token.text} language={token.lang?.split(/\s/, 1)[0] ?? ""} />;
    case "hr":
      return <hr key={key} />;
    case "list":
      return list(token, key);
    case "table":
      return table(token, key);
    case "html":
      return html(token, key);
    case "strong":
      return <strong key={key}>{children(token.tokens)}</strong>;
    case "em":
      return <em key={key}>{children(token.tokens)}</em>;
    case "del":
      return <del key={key}>{children(token.tokens)}</del>;
    case "codespan":
      return <code key={key}>{token.text}</code>;
    case "br":
      return <br key={key} />;
    case "link":
      return link(token.href, token.title, children(token.tokens), key);
    case "image":
      return link(token.href, token.title, token.text || token.href, key);
    case "checkbox":
      return <input key={key} type="checkbox" checked={token.checked} disabled />;
    case "escape":
      return token.text;
    case "text":
      return "tokens" in token && token.tokens ? children(token.tokens) : marked(decodeReferences(token.text), key);
    default:
      return any.raw; // a kind of token that we do not know is still the model's text
  }
}

/** Opens what stands behind a mark such as [1]; null: the text has no such mark. */
export const Marks = createContext<(mark: string) => (() => void) | null>(() => null);

const marked = (text: string, key: number) => (/\[\d/.test(text) ? <Marked key={key} text={text} /> : text);

function Marked({ text }: { text: string }) {
  const find = useContext(Marks);
  return (
    <>
      {text.split(/(\[\d{1,3}\])/).map((part, index) => {
        const open = index % 2 ? find(part.slice(1, -1)) : null;
        if (!open) return part;
        return (
          <button key={index} type="button" class="cite" onClick={open}>
            {part}
          </button>
        );
      })}
    </>
  );
}

function heading(token: Tokens.Heading, key: number) {
  const Level = `h${Math.min(6, token.depth + 2)}` as "h3" | "h4" | "h5" | "h6"; // the page has h1 and h2
  return (
    <Level key={key} class={`depth-${token.depth}`}>
      {children(token.tokens)}
    </Level>
  );
}

function list(token: Tokens.List, key: number) {
  const items = token.items.map((item, index) => (
    <li key={index} class={item.task ? "task" : undefined}>
      {children(item.tokens)}
    </li>
  ));
  if (!token.ordered) return <ul key={key}>{items}</ul>;
  return (
    <ol key={key} start={typeof token.start === "number" ? token.start : 1}>
      {items}
    </ol>
  );
}

function table(token: Tokens.Table, key: number) {
  const cell = (Cell: "td" | "th", content: Tokens.TableCell, index: number): JSX.Element => (
    <Cell key={index} class={content.align ? `to-${content.align}` : undefined}>
      {children(content.tokens)}
    </Cell>
  );
  return (
    <div key={key} class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>{token.header.map((content, index) => cell("th", content, index))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row, index) => (
            <tr key={index}>{row.map((content, column) => cell("td", content, column))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function html(token: Tokens.HTML | Tokens.Tag, key: number): ComponentChildren {
  if (/^<br\s*\/?>$/i.test(token.raw.trim())) return <br key={key} />;
  return token.block ? <p key={key} class="raw">{token.raw.trimEnd()}</p> : token.raw;
}

function link(href: string, title: string | null | undefined, label: ComponentChildren, key: number) {
  const safe = safeHref(href);
  if (safe === null) return label;
  return (
    <a key={key} href={safe} title={title ?? undefined} target="_blank" rel="noopener noreferrer">
      {label}
    </a>
  );
}
