import { api } from "../../app/api";
import { session } from "../../app/session";
import { Button, IconButton } from "../../ui/Button";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { Section } from "../parts/Page";
import { useLoad } from "../parts/useLoad";
import { t } from "./words";

interface Signed {
  id: string;
  ip: string | null;
  agent: string;
  seen_at: number;
  expires_at: number;
}

export function SessionList() {
  const load = useLoad(() => api.get<Signed[]>("api/console/sessions"), []);
  const mine = session.value.kind === "member" ? session.value.state.session_id : null;
  const end = (path: string) => void deed(() => api.delete(path)).then(() => load.again());
  return (
    <Section
      title={t.value.sessions}
      action={
        (load.data?.length ?? 0) > 1 && <Button onClick={() => end("api/console/sessions")}>{t.value.endOthers}</Button>
      }
    >
      <Loaded load={load}>
        {(sessions) => (
          <Table
            label={t.value.sessions}
            columns={[
              {
                id: "agent",
                title: t.value.browser,
                cell: (one: Signed) => (
                  <span title={one.agent}>
                    {browserName(one.agent)} {one.id === mine && <span class="tag">{t.value.thisOne}</span>}
                  </span>
                ),
              },
              { id: "ip", title: t.value.from, cell: (one) => one.ip ?? "—" },
              { id: "seen", title: t.value.seen, cell: (one) => <Time at={one.seen_at} />, value: (one) => one.seen_at },
              {
                id: "tools",
                title: "",
                cell: (one) =>
                  one.id === mine ? null : (
                    <span class="row-tools">
                      <IconButton icon="logout" label={`${t.value.endSession}: ${browserName(one.agent)}`} onClick={() => end(`api/console/sessions/${one.id}`)} />
                    </span>
                  ),
              },
            ]}
            rows={sessions}
            keyOf={(one) => one.id}
          />
        )}
      </Loaded>
    </Section>
  );
}

/** "Firefox, Linux": what people know of the long line that browsers send. */
function browserName(agent: string): string {
  const browser = ["Edg", "OPR", "Firefox", "Chrome", "Safari"].find((name) => agent.includes(`${name}/`));
  const names: Record<string, string> = { Edg: "Edge", OPR: "Opera" };
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1]?.replace("Mac OS X", "macOS");
  if (!browser) return agent.split(" ")[0] || t.value.unknownBrowser;
  return [names[browser] ?? browser, system].filter(Boolean).join(", ");
}
