import { api } from "../../app/api";
import { Button } from "../../ui/Button";
import { formatBytes } from "../../ui/format";
import { deed } from "../parts/deed";
import { type Fetch, PLATFORM } from "./models";
import { t } from "./words";

const path = (name: string) => `${PLATFORM}/catalogue/${encodeURIComponent(name)}/fetch`;

interface Props {
  name: string;
  title: string;
  fetch: Fetch;
  onChange: () => void;
}

export async function startFetch(name: string, onChange: () => void): Promise<void> {
  if (await deed(() => api.post(path(name)))) onChange();
}

/** How far a model is that is being fetched; what has arrived is kept, whatever ends it. */
export function FetchView({ name, title, fetch, onChange }: Props) {
  const strings = t.value;
  if (fetch.state === "done") return null;
  const again = <Button icon="retry" onClick={() => void startFetch(name, onChange)}>{fetch.done > 0 ? strings.fetchGoOn : strings.fetchAgain}</Button>;
  if (fetch.state === "failed") {
    return (
      <div class="fetch failed" role="alert">
        <strong>{strings.fetchFailed}</strong>
        <p>{[fetch.error, fetch.hint].filter(Boolean).join(" · ")}</p>
        {again}
      </div>
    );
  }
  const text = [
    fetch.total === null ? fetch.done > 0 ? formatBytes(fetch.done) : strings.fetchBegins : strings.fetchOf(formatBytes(fetch.done), formatBytes(fetch.total)),
    fetch.rate !== null && strings.fetchRate(formatBytes(fetch.rate)),
    fetch.left_s !== null && strings.fetchLeft(span(fetch.left_s)),
  ]
    .filter(Boolean)
    .join(" · ");
  const stop = async () => {
    if (await deed(() => api.delete(path(name)))) onChange();
  };
  return (
    <div class="fetch meter">
      <progress aria-label={strings.fetchOfModel(title)} {...(fetch.total !== null && { max: fetch.total, value: fetch.done })} />
      <span class="faint">{fetch.state === "stopped" ? `${strings.fetchStopped} · ${text}` : text}</span>
      {fetch.state === "stopped" ? again : <Button icon="stop" onClick={() => void stop()}>{strings.fetchCancel}</Button>}
    </div>
  );
}

/** Minutes and seconds, or hours and minutes: 4:05. */
function span(seconds: number): string {
  const [big, small] = seconds >= 3600 ? [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)] : [Math.floor(seconds / 60), seconds % 60];
  return seconds >= 3600 ? t.value.fetchHours(`${big}:${String(small).padStart(2, "0")}`) : `${big}:${String(small).padStart(2, "0")}`;
}
