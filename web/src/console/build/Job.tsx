import { useState } from "preact/hooks";
import { api } from "../../app/api";
import { confirmed } from "../../app/dialogs";
import { may } from "../../app/session";
import { Button, Link } from "../../ui/Button";
import { Chart } from "../../ui/Chart";
import { EmptyState } from "../../ui/EmptyState";
import { FailureNote } from "../../ui/FailureNote";
import { formatAge, formatNumber, formatRate, formatTime, locale } from "../../ui/format";
import { Meter } from "../../ui/Meter";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { orgPath } from "../parts/names";
import { BackTo, Facts, Section } from "../parts/Page";
import { Pill } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { goesOn, type Job, type Point, toneOf, type WholeJob } from "./jobs";
import { t } from "./words";

const EVERY_MS = 2000;
const MINUTE_MS = 60_000;

/** One job: its curve grows while it trains. */
export function JobPage({ org, id }: { org: string; id: string }) {
  const path = `${orgPath(org)}/fine-tuning/${encodeURIComponent(id)}`;
  const [live, setLive] = useState(true);
  const load = useLoad(
    async () => {
      const whole = await api.get<WholeJob>(path);
      setLive(goesOn(whole.job));
      return whole;
    },
    [path],
    live ? EVERY_MS : null,
  );
  const steer = (word: string) => void deed(() => api.post(`${path}/${word}`)).then(() => load.again());
  return (
    <>
      <BackTo to="console/fine-tuning">{t.value.allJobs}</BackTo>
      <Loaded load={load}>
        {({ job, points, events }) => (
          <>
            <div class="page-head">
              <h2>{job.fine_tuned_model ?? job.model}</h2>
              {may("data.write") && <Steering job={job} steer={steer} />}
            </div>
            {job.error && <FailureNote failure={{ what: job.error, hint: null, param: null }} />}
            <Progress job={job} points={points} />
            <Curve points={points} />
            <Details job={job} points={points} />
            <Section title={t.value.messages}>
              <ul class="plain-list">
                {events.map((event) => (
                  <li key={`${event.at} ${event.message}`}>
                    <span>{event.message}</span>
                    <span class="faint">{formatTime(event.at)}</span>
                  </li>
                ))}
              </ul>
            </Section>
          </>
        )}
      </Loaded>
    </>
  );
}

function Steering({ job, steer }: { job: Job; steer: (word: string) => void }) {
  const cancel = async () => {
    if (await confirmed({ title: t.value.cancelJob, text: t.value.cancelJobText, action: t.value.cancelJob, danger: true })) steer("cancel");
  };
  return (
    <div class="buttons">
      {job.fine_tuned_model && job.status === "succeeded" && (
        <Link class="button primary" to={`console/playground?model=${encodeURIComponent(job.fine_tuned_model)}`}>
          {t.value.tryIt}
        </Link>
      )}
      {(job.status === "running" || job.status === "queued") && <Button onClick={() => steer("pause")}>{t.value.pause}</Button>}
      {job.status === "paused" && <Button onClick={() => steer("resume")}>{t.value.resume}</Button>}
      {goesOn(job) && <Button onClick={() => void cancel()}>{t.value.cancelJob}</Button>}
    </div>
  );
}

function Progress({ job, points }: { job: Job; points: Point[] }) {
  const last = points.at(-1);
  if (!goesOn(job) || !last) return null;
  return (
    <Meter
      label={t.value.jobStates[job.status] ?? job.status}
      used={last.step}
      limit={last.total_steps + 1} // full only when it is done
      text={t.value.step(last.step, last.total_steps)}
      {...((job.expected_end_at ?? 0) > Date.now() + MINUTE_MS && { hint: t.value.expectedEnd(formatAge(job.expected_end_at ?? 0)) })}
    />
  );
}

const SHOWN = 200; // points of a curve; a longer one is thinned

function Curve({ points }: { points: Point[] }) {
  if (points.length === 0) return <EmptyState title={t.value.noCurve} icon="chart" />;
  const every = Math.ceil(points.length / SHOWN);
  const shown = points.filter((_, at) => at % every === 0 || at === points.length - 1);
  const checked = shown.some((point) => point.valid_loss !== null);
  let valid = shown.find((point) => point.valid_loss !== null)?.valid_loss ?? 0;
  const validLine = shown.map((point) => (valid = point.valid_loss ?? valid)); // measured now and then: it holds until the next
  return (
    <Chart
      title={t.value.loss}
      kind="lines"
      labels={shown.map(({ step }) => String(step))}
      series={[
        { name: t.value.trainLoss, values: shown.map((point) => point.train_loss) },
        ...(checked ? [{ name: t.value.validLoss, values: validLine }] : []),
      ]}
      format={(value) => new Intl.NumberFormat(locale(), { maximumSignificantDigits: 4 }).format(value)}
    />
  );
}

function Details({ job, points }: { job: Job; points: Point[] }) {
  const last = points.at(-1);
  const parameters = Object.entries(job.hyperparameters).map(([name, value]) => `${name} ${String(value)}`);
  return (
    <Facts
      rows={[
        [t.value.state, <Pill tone={toneOf(job)}>{t.value.jobStates[job.status] ?? job.status}</Pill>],
        [t.value.baseModel, job.model],
        [t.value.examples, formatNumber(job.examples)],
        [t.value.trained, `${formatNumber(job.trained_tokens)} / ${formatNumber(job.expected_tokens)}`],
        ...(last?.tokens_per_second ? [[t.value.speed, t.value.tokensPerSecond(formatRate(last.tokens_per_second))] as const] : []),
        ...(last?.learning_rate ? [[t.value.learningRate, last.learning_rate.toExponential(2)] as const] : []),
        [t.value.hyperparameters, <span class="mono">{parameters.join(", ")}</span>],
        [t.value.trainingFile, <span class="mono">{job.training_file}</span>],
        [t.value.created, formatTime(job.created_at)],
      ]}
    />
  );
}
