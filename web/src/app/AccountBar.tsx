/** Who is here, at the foot of the side bar, and everything that concerns them. */

import { Icon } from "../ui/Icon";
import { IconButton } from "../ui/Button";
import { Menu, type MenuEntry } from "../ui/Menu";
import { closeDrawer } from "./layout";
import { language, prefer, theme } from "./preferences";
import { address, go } from "./router";
import { chooseOrganisation, organisation, organisations, session, signOut, user } from "./session";
import { showSettings } from "./settings";
import { showShortcuts } from "./ShortcutsDialog";
import { t } from "./words";

export function AccountBar() {
  const strings = t.value;
  const dark = theme.value === "dark";
  return (
    <div class="account-bar">
      {user.value ? (
        <Menu label={strings.account} class="account" entries={entries} above>
          <Avatar name={user.value.name} />
          <span class="who">
            <strong>{user.value.name}</strong>
            <small>{belonging()}</small>
          </span>
        </Menu>
      ) : (
        <button type="button" class="account" aria-label={strings.settings} title={strings.settings} onClick={showSettings}>
          <Icon name="gear" />
          <span class="who">
            <strong>{strings.settings}</strong>
            {session.value.kind === "household" && <small>{strings.noAccountYet}</small>}
          </span>
        </button>
      )}
      <button
        type="button"
        class="quiet word"
        lang={language.value === "zh" ? "en" : "zh-CN"}
        aria-label={strings.toOtherLanguage}
        title={strings.toOtherLanguage}
        onClick={() => prefer({ language: language.value === "zh" ? "en" : "zh" })}
      >
        {language.value === "zh" ? "EN" : "中"}
      </button>
      <IconButton
        icon={dark ? "sun" : "moon"}
        label={dark ? strings.toLight : strings.toDark}
        onClick={() => prefer({ theme: dark ? "light" : "dark" })}
      />
    </div>
  );
}

/** The organisation, unless it is one's own and bears one's name. */
function belonging(): string | undefined {
  const org = organisation.value?.name;
  return org === undefined || org === user.value?.name ? user.value?.email : org;
}

export function Avatar({ name, picture }: { name: string; picture?: string | null }) {
  if (picture) return <img class="avatar" src={picture} alt="" />;
  const letters = Array.from(name.trim());
  return (
    <span class="avatar" aria-hidden="true">
      {letters[0]?.toUpperCase() ?? "·"}
    </span>
  );
}

function entries(): MenuEntry[] {
  const strings = t.value;
  const inConsole = address.value.path.startsWith("console");
  const visit = (to: string) => () => {
    closeDrawer();
    go(to);
  };
  const switches: MenuEntry[] =
    organisations.value.length < 2
      ? []
      : [
          { heading: strings.organisation },
          ...organisations.value.map(({ id, name }) => ({
            label: name,
            checked: id === organisation.value?.id,
            run: () => chooseOrganisation(id),
          })),
          "line",
        ];
  return [
    ...switches,
    inConsole
      ? { label: strings.backToChat, icon: "pen", run: visit("") }
      : { label: strings.console, icon: "chart", run: visit("console") },
    { label: strings.settings, icon: "gear", run: showSettings },
    { label: strings.shortcuts, icon: "list", run: showShortcuts },
    "line",
    { label: strings.signOut, icon: "logout", run: () => void signOut().then(() => go("")) },
  ];
}
