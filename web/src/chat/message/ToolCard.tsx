import { Icon, type IconName } from "../../ui/Icon";
import type { ToolCallPart } from "../model";
import { onServer } from "../service";
import { t } from "../words";

const ICONS: Record<string, IconName> = { web_search: "globe", read_page: "file", knowledge: "book", remember: "brain" };

const OURS = "openglm"; // tools of the platform itself

/** A tool that was called: what it was asked, and what it answered. */
export function ToolCard({ call, live }: { call: ToolCallPart; live: boolean }) {
  const strings = t.value;
  const known = strings.toolNames[call.name];
  const state = call.error || call.state === "failed" ? "failed" : call.state === "running" ? "running" : call.output ? "done" : null;
  const said = { failed: strings.toolFailed, running: strings.toolRunning, done: strings.toolDone };
  return (
    <details class={`tool-call ${state ?? ""}`} open={!onServer.value || undefined}>
      <summary>
        <Icon name={ICONS[call.name] ?? "tool"} />
        <span>
          {known ?? (
            <>
              {strings.toolCall} <code>{call.name}</code>
            </>
          )}
          {call.server && call.server !== OURS && <small> {call.server}</small>}
        </span>
        <span class="grow" />
        {state && <span class="tool-state">{said[state]}</span>}
        <Icon name="right" />
      </summary>
      {call.arguments && (
        <>
          <h4>{strings.toolArguments}</h4>
          <pre tabIndex={0}>{prettyJson(call.arguments)}</pre>
        </>
      )}
      {(call.output || call.error) && (
        <>
          <h4>{strings.toolOutput}</h4>
          <pre tabIndex={0}>{call.error ?? prettyJson(call.output ?? "")}</pre>
        </>
      )}
      {state === null && !live && <p>{strings.toolNotRun}</p>}
    </details>
  );
}

function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // still streaming, or not JSON: show what was written
  }
}
