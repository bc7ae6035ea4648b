import { Button, IconButton } from "../../ui/Button";
import { TextField } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { t } from "../words";
import type { McpServer } from "./assistant";
import "../../style/choose.css";

const MOST = 8; // servers of one assistant

interface HeaderDraft {
  name: string;
  /** null: the value that the server keeps. */
  value: string | null;
}

export interface ServerDraft {
  label: string;
  url: string;
  headers: HeaderDraft[];
  /** Where kept values belong to: they go with neither another label nor another address. */
  kept: { label: string; url: string } | null;
}

export const draftsOf = (servers: readonly McpServer[]): ServerDraft[] =>
  servers.map(({ label, url, header_names = [] }) => ({ label, url, headers: header_names.map((name) => ({ name, value: null })), kept: { label, url } }));

/** As the server takes them. A null value stays what it is; what was typed replaces it. */
export const serversOf = (drafts: readonly ServerDraft[]) =>
  drafts.map(({ label, url, headers }) => ({ label, url, headers: Object.fromEntries(headers.map(({ name, value }) => [name.trim(), value])) }));

/** The MCP servers that an assistant brings along. Values of headers are never seen again. */
export function McpServers({ drafts, onChange }: { drafts: ServerDraft[]; onChange: (drafts: ServerDraft[]) => void }) {
  const strings = t.value;
  const put = (at: number, draft: ServerDraft) => onChange(drafts.with(at, draft));
  return (
    <fieldset class="field mcp">
      <legend>{strings.mcpServers}</legend>
      <p class="hint">{strings.mcpServersHint}</p>
      {drafts.map((draft, at) => (
        <Server key={at} draft={draft} put={(changed) => put(at, changed)} remove={() => onChange(drafts.toSpliced(at, 1))} />
      ))}
      {drafts.length < MOST && (
        <div class="buttons">
          <Button icon="plus" onClick={() => onChange([...drafts, { label: "", url: "", headers: [], kept: null }])}>
            {strings.mcpAdd}
          </Button>
        </div>
      )}
    </fieldset>
  );
}

function Server({ draft, put, remove }: { draft: ServerDraft; put: (draft: ServerDraft) => void; remove: () => void }) {
  const strings = t.value;
  const { label, url, headers, kept } = draft;
  const isWhereItWas = kept?.label === label && kept.url === url;
  const name = label || strings.mcpServer;
  return (
    <fieldset class="mcp-server">
      <legend>{name}</legend>
      <IconButton icon="close" label={strings.detach(name)} onClick={remove} />
      <div class="mcp-address">
        <TextField label={strings.name} required maxLength={64} pattern="[\w.\-]+" placeholder="weather" value={label} onInput={(text) => put({ ...draft, label: text })} />
        <TextField label={strings.mcpUrl} required type="url" pattern="https?://.+" placeholder="https://example.org/mcp" value={url} onInput={(text) => put({ ...draft, url: text.trim() })} />
      </div>
      {headers.map((header, at) => (
        <Header
          key={at}
          header={header}
          kept={isWhereItWas && header.value === null}
          put={(changed) => put({ ...draft, headers: headers.with(at, changed) })}
          remove={() => put({ ...draft, headers: headers.toSpliced(at, 1) })}
        />
      ))}
      <div class="buttons">
        <Button icon="key" onClick={() => put({ ...draft, headers: [...headers, { name: "", value: "" }] })}>
          {strings.mcpAddHeader}
        </Button>
      </div>
    </fieldset>
  );
}

interface HeaderProps {
  header: HeaderDraft;
  kept: boolean;
  put: (header: HeaderDraft) => void;
  remove: () => void;
}

function Header({ header, kept, put, remove }: HeaderProps) {
  const strings = t.value;
  const { name, value } = header;
  return (
    <div class="mcp-header">
      {kept ? (
        <>
          <div class="field">
            <span class="label">{name}</span>
          </div>
          <div class="field">
            <p class="mcp-kept">
              <Icon name="check" />
              {strings.mcpKept}
              <Button onClick={() => put({ name, value: "" })}>{strings.mcpReplace}</Button>
            </p>
          </div>
        </>
      ) : (
        <>
          <TextField label={strings.mcpHeader} required maxLength={64} pattern="[A-Za-z0-9\-]+" placeholder="Authorization" value={name} onInput={(text) => put({ name: text, value: value ?? "" })} />
          <TextField label={strings.mcpValue} required type="password" autoComplete="off" maxLength={8192} value={value ?? ""} onInput={(text) => put({ name, value: text })} />
        </>
      )}
      <IconButton icon="close" label={strings.detach(name || strings.mcpHeader)} onClick={remove} />
    </div>
  );
}
