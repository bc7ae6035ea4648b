/** Which panels are open. On a narrow screen the side bar is a drawer that starts closed. */

import { signal } from "@preact/signals";
import { preferences, prefer } from "./preferences";

export const NARROW = "(max-width: 860px)"; // the same number stands in style/frame.css

const narrow = matchMedia(NARROW);
export const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => {
  isNarrow.value = narrow.matches;
  drawer.value = false;
});

const drawer = signal(false);

export const sidebarOpen = (): boolean => (isNarrow.value ? drawer.value : preferences.value.sidebar);

export function setSidebar(open: boolean): void {
  if (isNarrow.value) drawer.value = open;
  else prefer({ sidebar: open });
}

export function closeDrawer(): void {
  drawer.value = false;
}
