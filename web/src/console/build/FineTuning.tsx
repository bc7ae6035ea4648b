import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { showDialog } from "../../app/dialogs";
import { go } from "../../app/router";
import { may } from "../../app/session";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { formatNumber } from "../../ui/format";
import { Table } from "../../ui/Table";
import { Time } from "../../ui/Time";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath, useNames } from "../parts/names";
import { Intro } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { JobPage } from "./Job";
import { type Job, goesOn, toneOf } from "./jobs";
import { NewJob } from "./NewJob";
import { t } from "./words";

interface Page {
  jobs: Job[];
  next: string | null;
}

const EVERY_MS = 5000;

export default function FineTuning({ org, id }: PageProps) {
  return id === null ? <List org={org} /> : <JobPage org={org} id={id} />;
}

function List({ org }: { org: string }) {
  const nameOf = useNames(org);
  const [live, setLive] = useState(false);
  const [older, setOlder] = useState<Page[]>([]);
  const page = (after?: string) => api.get<Page>(`${orgPath(org)}/fine-tuning`, { after });
  const load = useLoad(
    async () => {
      const first = await page();
      setLive(first.jobs.some(goesOn));
      return first;
    },
    [org],
    live ? EVERY_MS : null,
  );
  const add = () => showDialog((close) => <NewJob org={org} close={close} />);
  return (
    <>
      <Intro hint={t.value.jobsHint}>
        {may("data.write") && (
          <Button kind="primary" icon="plus" onClick={add}>
            {t.value.newJob}
          </Button>
        )}
      </Intro>
      <Loaded load={load}>
        {(first) => {
          const next = (older.at(-1) ?? first).next;
          return (
            <>
              <Table
                label={t.value.jobsHint}
                columns={[
                  {
                    id: "model",
                    title: t.value.newModel,
                    cell: (job: Job) => (
                      <>
                        <strong>{job.fine_tuned_model ?? job.model}</strong>
                        <small class="mono">{job.id}</small>
                      </>
                    ),
                  },
                  { id: "base", title: t.value.baseModel, cell: (job) => job.model, value: (job) => job.model },
                  { id: "project", title: t.value.project, cell: (job) => nameOf(job.project_id), wide: true },
                  { id: "state", title: t.value.state, cell: (job) => <Pill tone={toneOf(job)}>{t.value.jobStates[job.status] ?? job.status}</Pill> },
                  { id: "trained", title: t.value.trained, cell: (job) => formatNumber(job.trained_tokens), value: (job) => job.trained_tokens, numeric: true },
                  { id: "created", title: t.value.created, cell: (job) => <Time at={job.created_at} />, value: (job) => job.created_at },
                ]}
                rows={[first, ...older].flatMap(({ jobs }) => jobs)}
                keyOf={(job) => job.id}
                onOpen={(job) => go(`console/fine-tuning/${job.id}`)}
                empty={<EmptyState title={t.value.noJobs} hint={t.value.noJobsHint} icon="sparkles" />}
              />
              {next && (
                <span class="more-rows">
                  <Button onClick={() => void deed(async () => setOlder([...older, await page(next)]))}>{t.value.more}</Button>
                </span>
              )}
            </>
          );
        }}
      </Loaded>
    </>
  );
}
