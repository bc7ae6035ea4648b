import { api } from "../../app/api";
import { session } from "../../app/session";
import { Button } from "../../ui/Button";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Linked {
  provider: string | null;
  title: string;
  issuer: string;
}

export function Identities() {
  const load = useLoad(() => api.get<Linked[]>("api/console/me/identities"), []);
  const providers = session.value.kind === "member" ? session.value.state.providers : [];
  const link = (name: string) =>
    void deed(async () => {
      const { url } = await api.post<{ url: string }>(`api/console/me/identities/${encodeURIComponent(name)}`);
      location.assign(url);
    });
  const unlink = (name: string) => void deed(() => api.delete(`api/console/me/identities/${encodeURIComponent(name)}`)).then(() => load.again());
  return (
    <div class="box">
      <h2>{t.value.identities}</h2>
      <p class="hint">{providers.length ? t.value.identitiesHint : t.value.noProviders}</p>
      <Loaded load={load}>
        {(linked) => (
          <>
            {linked.length === 0 && providers.length > 0 && <p>{t.value.noIdentities}</p>}
            <ul class="plain-list">
              {linked.map((one) => (
                <li key={one.issuer}>
                  <span>{one.title}</span>
                  {one.provider !== null && <Button onClick={() => unlink(one.provider ?? "")}>{t.value.unlink}</Button>}
                </li>
              ))}
            </ul>
            <div class="buttons">
              {providers
                .filter(({ name }) => !linked.some(({ provider }) => provider === name))
                .map(({ name, title }) => (
                  <Button key={name} icon="link" onClick={() => link(name)}>
                    {t.value.link(title)}
                  </Button>
                ))}
            </div>
          </>
        )}
      </Loaded>
    </div>
  );
}
