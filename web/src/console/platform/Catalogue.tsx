import { useEffect, useState } from "preact/hooks";
import { api } from "../../app/api";
import { language } from "../../app/preferences";
import { Button } from "../../ui/Button";
import { TextField, Toggle } from "../../ui/Field";
import { formatBytes, formatNumber } from "../../ui/format";
import { notify } from "../../ui/notice";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { Section } from "../parts/Page";
import { Pill, type Tone } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { FetchView, startFetch } from "./Fetching";
import { type Fetch, type Known, type Model, modelPath, PLATFORM } from "./models";
import { t } from "./words";

const EVERY_MS = 1000;
const TONES: Record<Known["fits"], Tone> = { yes: "good", busy: "busy", no: "calm" };

/** The models that are known by a short name, with what fits this machine; one click serves one. */
export function Catalogue({ models, onServe }: { models: Model[]; onServe: () => void }) {
  const load = useLoad(() => api.get<Known[]>(`${PLATFORM}/catalogue`), []);
  const fetches = useLoad(() => api.get<Record<string, Fetch>>(`${PLATFORM}/catalogue/fetches`), [], EVERY_MS);
  const fetched = Object.values(fetches.data ?? {}).filter(({ state }) => state === "done").length;
  useEffect(() => void (fetched > 0 && load.again()), [fetched]);
  const [wanted, setWanted] = useState("");
  const [fitting, setFitting] = useState(false);
  const serve = async (known: Known) => {
    const done = () => api.put(modelPath(known.name), { title: known.title, source: known.name });
    if (!(await deed(done))) return;
    notify(t.value.serving(known.title));
    onServe();
  };
  const shown = (known: Known) =>
    (!fitting || known.fits !== "no") && `${known.name} ${known.title} ${known.about} ${known.about_zh}`.toLowerCase().includes(wanted.toLowerCase());
  const fetchOf = (known: Known) => fetches.data?.[known.name];
  return (
    <Section title={t.value.catalogue} hint={t.value.catalogueHint}>
      <div class="controls inline">
        <TextField label={t.value.find} type="search" value={wanted} onInput={setWanted} />
        <Toggle label={t.value.onlyFitting} checked={fitting} onChange={setFitting} />
      </div>
      <Loaded load={load}>
        {(all) => (
          <ul class="cards">
            {all.filter(shown).map((known) => (
              <li key={known.name} class="card">
                <strong>{known.title}</strong>
                <span class="faint mono">{known.name}</span>
                <p class="hint">{language.value === "zh" ? known.about_zh : known.about}</p>
                <span class="faint">
                  {[
                    t.value.parameters(formatNumber(known.parameters_billion)),
                    formatBytes(known.weight_gigabytes * 1e9),
                    t.value.context(`${Math.round(known.context / 1024)}K`),
                    known.languages.map((each) => each.replace(/^(\d+) more$/, (_, count: string) => t.value.moreLanguages(count))).join(" "),
                  ].join(" · ")}
                </span>
                <span class="faint">{known.licence}</span>
                {!known.is_here && fetchOf(known) && <FetchView name={known.name} title={known.title} fetch={fetchOf(known)!} onChange={() => void fetches.again()} />}
                <footer>
                  <Pill tone={TONES[known.fits]}>{known.is_here ? `${t.value.fits[known.fits]} · ${t.value.isHere}` : (t.value.fits[known.fits] ?? known.fits)}</Pill>
                  <span class="grow" />
                  {!known.is_here && !fetchOf(known) && (
                    <Button icon="download" onClick={() => void startFetch(known.name, () => void fetches.again())}>
                      {t.value.fetch}
                    </Button>
                  )}
                  {models.some(({ name, source }) => name === known.name || source === known.name) ? (
                    <span class="tag">{t.value.served}</span>
                  ) : (
                    <Button onClick={() => void serve(known)}>
                      {t.value.serve}
                    </Button>
                  )}
                </footer>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Section>
  );
}
