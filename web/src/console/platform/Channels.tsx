import { api } from "../../app/api";
import { confirmed, showDialog } from "../../app/dialogs";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { notify } from "../../ui/notice";
import { Table } from "../../ui/Table";
import type { PageProps } from "../pages";
import { deed } from "../parts/deed";
import { Loaded } from "../parts/Loaded";
import { Intro } from "../parts/Page";
import { Pill, type Tone } from "../parts/Pill";
import { useLoad } from "../parts/useLoad";
import { ChannelForm } from "./ChannelForm";
import { type Channel, channelPath, CHANNELS } from "./channels";
import { t } from "./words";

const EVERY_MS = 3000;

export default function Channels(_: PageProps) {
  const load = useLoad(() => api.get<Channel[]>(CHANNELS), [], EVERY_MS);
  const again = () => void load.again();
  const open = (known: Channel | null) => showDialog((close) => <ChannelForm known={known} close={close} onDone={again} />);
  return (
    <>
      <Intro hint={t.value.channelsHint}>
        <Button kind="primary" icon="plus" onClick={() => open(null)}>
          {t.value.newChannel}
        </Button>
      </Intro>
      <Loaded load={load}>{(channels) => <ChannelTable channels={channels} open={open} onChange={again} />}</Loaded>
    </>
  );
}

function ChannelTable({ channels, open, onChange }: { channels: Channel[]; open: (channel: Channel) => void; onChange: () => void }) {
  return (
    <Table
      label={t.value.channelsHint}
      columns={[
        {
          id: "id",
          title: t.value.id,
          cell: (channel: Channel) => (
            <>
              <strong>{channel.id}</strong>
              <small class="mono">{channel.base_url}</small>
            </>
          ),
          value: (channel) => channel.id,
        },
        { id: "models", title: t.value.channelModels, cell: ({ models }) => Object.keys(models).join(", ") },
        { id: "weight", title: t.value.weight, cell: ({ weight, priority }) => t.value.weightShort(weight, priority), wide: true },
        { id: "state", title: t.value.state, cell: (channel) => <Pill tone={toneOf(channel)}>{stateOf(channel)}</Pill> },
        { id: "traffic", title: t.value.traffic, cell: (channel) => t.value.trafficText(channel.in_flight, channel.waiting), wide: true },
        {
          id: "tools",
          title: "",
          cell: (channel) => (
            <span class="row-tools">
              <Button onClick={() => void deed(() => test(channel))}>{t.value.test}</Button>
              <Menu label={t.value.more(channel.id)} entries={() => entries(channel, () => open(channel), onChange)} end>
                <Icon name="more" />
              </Menu>
            </span>
          ),
        },
      ]}
      rows={channels}
      keyOf={(channel) => channel.id}
      empty={<EmptyState title={t.value.noChannel} hint={t.value.noChannelHint} icon="channel" />}
    />
  );
}

async function test({ id }: Channel): Promise<void> {
  const { healthy, ms } = await api.post<{ healthy: boolean; ms: number }>(`${channelPath(id)}/test`);
  notify(healthy ? t.value.testWell(id, ms) : t.value.testIll(id));
}

function entries(channel: Channel, change: () => void, onChange: () => void): MenuEntry[] {
  const turn = (state: string) => () => void deed(() => api.patch(channelPath(channel.id), { state })).then(onChange);
  const remove = async () => {
    const sure = await confirmed({ title: `${t.value.remove}: ${channel.id}`, text: t.value.removeChannelText, action: t.value.remove, danger: true });
    if (sure && (await deed(() => api.delete(channelPath(channel.id))))) onChange();
  };
  return [
    { label: t.value.change, icon: "edit", run: change },
    ...(channel.state === "active"
      ? [{ label: t.value.drain, detail: t.value.drainHint, icon: "down" as const, run: turn("draining") }]
      : [{ label: t.value.activate, icon: "up" as const, run: turn("active") }]),
    ...(channel.state === "disabled" ? [] : [{ label: t.value.disable, icon: "stop" as const, run: turn("disabled") }]),
    "line",
    { label: t.value.remove, icon: "trash", danger: true, run: () => void remove() },
  ];
}

function toneOf(channel: Channel): Tone {
  if (channel.state !== "active") return channel.state === "draining" ? "busy" : "calm";
  return channel.healthy === false ? "bad" : "good";
}

function stateOf(channel: Channel): string {
  if (channel.state === "active" && channel.healthy === false) return t.value.ill;
  return t.value.channelStates[channel.state] ?? channel.state;
}
