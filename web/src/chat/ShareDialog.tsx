import { useEffect, useState } from "preact/hooks";
import { ApiError, api } from "../app/api";
import { hrefOf } from "../app/router";
import { failureOf, useSend } from "../app/useSend";
import { Button } from "../ui/Button";
import { CopyButton } from "../ui/CopyButton";
import { Dialog } from "../ui/Dialog";
import { FailureNote } from "../ui/FailureNote";
import { Choice } from "../ui/Field";
import { formatTime } from "../ui/format";
import { notify } from "../ui/notice";
import { Time } from "../ui/Time";
import { at } from "./server/backend";
import { hasPictures, leaf } from "./thread";
import { t } from "./words";

interface Share {
  id: string;
  created_at: number;
  expires_at: number | null;
}

interface Made extends Share {
  token: string;
}

const DAY_MS = 86_400_000;
const SPANS = { never: null, day: DAY_MS, week: 7 * DAY_MS, month: 30 * DAY_MS } as const;
type Span = keyof typeof SPANS;

export function ShareDialog({ conversation, close }: { conversation: string; close: () => void }) {
  const strings = t.value;
  const [span, setSpan] = useState<Span>("never");
  const [link, setLink] = useState<string | null>(null);
  const [shares, setShares] = useState<Share[]>([]);
  const path = at(`conversations/${conversation}/shares`);
  const load = () =>
    api.get<Share[]>(path).then(setShares, (error: unknown) => notify(failureOf(error).what));
  useEffect(() => void load(), []);
  const { busy, failure, send } = useSend(async () => {
    const ms = SPANS[span];
    const made = await api.post<Made>(path, { leaf_id: leaf.value?.id ?? null, expires_at: ms === null ? null : Date.now() + ms });
    setLink(location.origin + hrefOf(`share/${made.token}`));
    await load();
  });
  const revoke = async (id: string) => {
    try {
      await api.delete(at(`shares/${id}`));
      notify(strings.shareRevoked);
      await load();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      notify(failureOf(error).what);
    }
  };
  return (
    <Dialog title={strings.shareTitle} onClose={close}>
      <p>{strings.shareText}</p>
      {hasPictures.value && <p class="hint">{strings.shareNoPictures}</p>}
      <FailureNote failure={failure} />
      {link ? (
        <div class="made-link">
          <input readOnly value={link} aria-label={strings.shareLink} ref={(field) => field?.select()} />
          <CopyButton text={link} label={strings.copy} />
          <p class="hint">{strings.shareOnce}</p>
        </div>
      ) : (
        <>
          <Choice
            label={strings.shareExpires}
            value={span}
            options={[
              ["never", strings.shareNever],
              ["day", strings.shareDay],
              ["week", strings.shareWeek],
              ["month", strings.shareMonth],
            ]}
            onChange={(value) => setSpan(value as Span)}
          />
          <Button kind="primary" icon="link" busy={busy} onClick={() => void send()}>
            {strings.shareMake}
          </Button>
        </>
      )}
      {shares.length > 0 && (
        <section>
          <h3>{strings.shareList}</h3>
          <ul class="plain-list">
            {shares.map(({ id, created_at, expires_at }) => (
              <li key={id}>
                <span>
                  <Time at={created_at} />
                  {expires_at && <small> · {`${strings.shareExpires} ${formatTime(expires_at)}`}</small>}
                </span>
                <Button onClick={() => void revoke(id)}>{strings.shareRevoke}</Button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </Dialog>
  );
}
