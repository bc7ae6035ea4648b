/** What a model made beside what it said: pages, pictures, diagrams and documents, as they look and as they are. */

import { useEffect, useRef, useState } from "preact/hooks";
import { useKeys } from "../app/keys";
import { IconButton } from "../ui/Button";
import { CopyButton } from "../ui/CopyButton";
import { saveFile } from "../ui/saveFile";
import { Tabs } from "../ui/Tabs";
import { type Artifact, type ArtifactKind, artifact, closeArtifact } from "./artifacts";
import { FRAME, type FrameResult, type FrameTask } from "./frame";
import { Diagram } from "./markdown/Diagram";
import { Markdown } from "./markdown/Markdown";
import { placeOf, versions } from "./versions";
import { t } from "./words";
import "../style/artifact.css";

const SETTLE_MS = 400; // a page that is still being written is not begun anew at every letter

const FILES: Record<ArtifactKind, [name: string, type: string]> = {
  html: ["page.html", "text/html"],
  svg: ["picture.svg", "image/svg+xml"],
  mermaid: ["diagram.mmd", "text/plain"],
  markdown: ["document.md", "text/markdown"],
};

export default function ArtifactPanel() {
  const [tab, setTab] = useState("preview");
  useEffect(() => useKeys([{ keys: "escape", label: () => t.value.closeArtifact, run: closeArtifact }]), []);
  const shown = artifact.value;
  if (shown === null) return null;
  const strings = t.value;
  const all = versions.value;
  const at = placeOf(shown, all);
  const current = all[at] ?? shown;
  const turn = (by: number) => {
    const to = all[at + by];
    if (to) artifact.value = to;
  };
  const [name, type] = FILES[current.kind];
  return (
    <aside class="artifact" aria-label={strings.artifact}>
      <header class="header">
        <span class="artifact-name">{name}</span>
        {all.length > 1 && (
          <span class="pager">
            <IconButton icon="left" label={strings.olderVersion} disabled={at === 0} onClick={() => turn(-1)} />
            <span title={strings.artifactVersion(at + 1, all.length)}>{strings.answerOf(at + 1, all.length)}</span>
            <IconButton icon="right" label={strings.newerVersion} disabled={at === all.length - 1} onClick={() => turn(1)} />
          </span>
        )}
        <span class="grow" />
        <CopyButton text={current.code} label={strings.copyCode} />
        <IconButton icon="download" label={strings.download} onClick={() => saveFile(name, type, current.code)} />
        <IconButton icon="close" label={strings.closeArtifact} onClick={closeArtifact} />
      </header>
      <Tabs
        label={strings.artifact}
        tabs={[
          ["preview", strings.artifactPreview],
          ["code", strings.artifactCode],
        ]}
        chosen={tab}
        onChoose={setTab}
      >
        {tab === "preview" ? (
          <Preview shown={current} />
        ) : (
          <pre class="artifact-code" tabIndex={0}>
            {current.code}
          </pre>
        )}
      </Tabs>
    </aside>
  );
}

function Preview({ shown: { kind, code } }: { shown: Artifact }) {
  const settled = useSettled(code);
  if (kind === "markdown") {
    return (
      <div class="artifact-text" tabIndex={0}>
        <Markdown text={code} />
      </div>
    );
  }
  if (kind === "mermaid") {
    return (
      <div class="artifact-text" tabIndex={0}>
        <Diagram source={code} />
      </div>
    );
  }
  return <Framed key={settled} task={{ type: kind, source: settled }} />;
}

function useSettled(text: string): string {
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

/** The page runs in a frame without an origin or a network; nothing that it says is listened to but "ready". */
function Framed({ task }: { task: FrameTask }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let given = false;
    const hear = (event: MessageEvent<FrameResult>) => {
      if (given || event.source !== frame.current?.contentWindow || event.data?.type !== "ready") return;
      given = true;
      frame.current.contentWindow!.postMessage(task, "*"); // it has no origin to name
      setReady(true);
    };
    addEventListener("message", hear);
    frame.current!.src = FRAME();
    return () => removeEventListener("message", hear);
  }, []);
  return (
    <div class="artifact-frame">
      {!ready && <span class="loading" role="status" aria-label={t.value.loading} />}
      <iframe ref={frame} title={t.value.artifact} sandbox="allow-scripts" />
    </div>
  );
}
