import { preferences, prefer } from "../../app/preferences";
import { Icon } from "../../ui/Icon";
import { Menu, type MenuEntry } from "../../ui/Menu";
import { t } from "../words";

/** How much the model thinks before it answers. */
export function EffortMenu() {
  const { thinking, effort } = preferences.value;
  const strings = t.value;
  const words = { low: strings.effortLow, medium: strings.effortMedium, high: strings.effortHigh };
  const shown = thinking === false ? strings.off : effort ? words[effort] : null;
  return (
    <Menu label={strings.thinking} class={shown ? "quiet word wished on" : "quiet"} entries={entries} above>
      <Icon name="brain" />
      {shown && <span>{shown}</span>}
    </Menu>
  );
}

function entries(): MenuEntry[] {
  const { thinking, effort } = preferences.value;
  const strings = t.value;
  const levels = { low: strings.effortLow, medium: strings.effortMedium, high: strings.effortHigh } as const;
  return [
    { heading: strings.thinking },
    { label: strings.thinkingAuto, checked: thinking === null && effort === null, run: () => prefer({ thinking: null, effort: null }) },
    ...(Object.keys(levels) as (keyof typeof levels)[]).map((level): MenuEntry => ({
      label: levels[level],
      checked: thinking !== false && effort === level,
      run: () => prefer({ thinking: true, effort: level }),
    })),
    { label: strings.thinkingOff, checked: thinking === false, run: () => prefer({ thinking: false, effort: null }) },
  ];
}
