import { signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { isNarrow } from "../../app/layout";
import { preferences, prefer } from "../../app/preferences";
import { Button, IconButton } from "../../ui/Button";
import { GrowingText } from "../../ui/GrowingText";
import { Icon } from "../../ui/Icon";
import { chooseFiles } from "../../ui/saveFile";
import { draftOf, setDraft } from "../drafts";
import { backend, me, model, onServer, server, takesFiles } from "../service";
import { openId, runningIds, send, sending, stopAll, streaming } from "../thread";
import { t } from "../words";
import { AttachmentBar } from "./AttachmentBar";
import { canDictate, Dictation } from "./Dictation";
import { EffortMenu } from "./EffortMenu";
import { BOX } from "./focus";
import { KnowledgeButton } from "./KnowledgeButton";
import { PicturesMenu } from "./PicturesMenu";
import { Slash, slashOf } from "./Slash";
import { attach, isUploading } from "./uploads";

const dropping = signal(false);

export function Composer() {
  const strings = t.value;
  const key = openId.value;
  const draft = draftOf(key);
  const onItsWay = sending.value;
  const shown = onItsWay && draft.text.trim() === onItsWay.text ? "" : draft.text; // else it was typed since
  const attachments = draft.attachments.filter(({ file_id }) => !onItsWay?.attachments.some((each) => each.file_id === file_id));
  const [slashClosed, closeSlash] = useState(false);
  const slashKeys = useRef<((event: KeyboardEvent) => boolean) | null>(null);
  const write = (text: string) => {
    if (!text.startsWith("/")) closeSlash(false);
    setDraft(key, { text });
  };
  const ready = shown.trim() !== "" || attachments.length > 0;
  const submit = () => {
    if (!ready || streaming.value || isUploading.value) return;
    void send(draft.text.trim(), draft.attachments);
  };
  const files = (list: FileList | File[] | null | undefined) => {
    if (!takesFiles.value || !list || list.length === 0) return false;
    void attach(key, [...list]);
    return true;
  };
  const query = onServer.value && !slashClosed ? slashOf(shown) : null;
  return (
    <div
      class="composer-place"
      onDragOver={(event) => {
        if (!takesFiles.value || !event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        dropping.value = true;
      }}
      onDragLeave={() => (dropping.value = false)}
      onDrop={(event) => {
        dropping.value = false;
        if (files(event.dataTransfer?.files)) event.preventDefault();
      }}
    >
      {server.value.state === "down" && <ServerDown />}
      {query !== null && <Slash query={query} fill={write} close={() => closeSlash(true)} keys={slashKeys} />}
      <form
        class={dropping.value ? "composer dropping" : "composer"}
        data-drop={strings.attachDrop}
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
        onPaste={(event) => {
          if (files(event.clipboardData?.files)) event.preventDefault();
        }}
      >
        <AttachmentBar conversation={key} attachments={attachments} />
        <GrowingText
          id={BOX}
          value={shown}
          label={strings.messageLabel}
          placeholder={model.value?.draws ? strings.drawPlaceholder : strings.placeholder}
          onInput={write}
          onSubmit={submit}
          onKey={(event) => slashKeys.current?.(event) ?? false}
          autoFocus={!isNarrow.value}
        />
        <div class="composer-tools">
          {takesFiles.value && (
            <IconButton icon="clip" label={strings.attach} onClick={() => void chooseFiles({ multiple: true }).then(files)} />
          )}
          {model.value?.draws && <PicturesMenu />}
          {model.value?.thinks !== false && <EffortMenu />}
          {me.value?.features.web_search && !model.value?.draws && (
            <IconButton
              icon="globe"
              label={strings.webSearch}
              class="wished"
              pressed={preferences.value.webSearch}
              onClick={() => prefer({ webSearch: !preferences.value.webSearch })}
            />
          )}
          {onServer.value && !model.value?.draws && <KnowledgeButton />}
          <span class="grow" />
          {canDictate && <Dictation text={shown} write={write} />}
          {streaming.value && (runningIds.value.length > 0 || backend.value?.kind === "browser") ? (
            <button key="stop" type="button" class="go" aria-label={strings.stop} title={`${strings.stop} (Esc)`} onClick={() => void stopAll()}>
              <Icon name="stop" />
            </button>
          ) : (
            <button key="send" type="submit" class="go" aria-label={strings.send} title={strings.send} disabled={!ready || isUploading.value || sending.value !== null}>
              <Icon name="up" />
            </button>
          )}
        </div>
      </form>
      <p class="fine-print">
        <span class="keys">{strings.keysHint}</span>
        <span>{strings.caution}</span>
      </p>
    </div>
  );
}

function ServerDown() {
  const strings = t.value;
  return (
    <div class="banner" role="alert">
      <Icon name="warn" />
      <span>
        <strong>{strings.unreachable}</strong> {strings.unreachableHint}
      </span>
      <Button onClick={() => void backend.value?.find()}>{strings.tryAgain}</Button>
    </div>
  );
}
