/** Every address of the app. Their first parts stand in openglm/asgi/page.py too. */

import type { ComponentType } from "preact";
import { lazy } from "./lazy";
import { match } from "./router";

type View = ComponentType<Record<string, string>>;

interface Entry {
  pattern: string;
  /** chat: the chat's own frame; console: members only; open: anybody, signed in or not. */
  area: "chat" | "console" | "open";
  view: View;
}

export interface Route extends Entry {
  named: Record<string, string>;
}

const Nothing: View = () => null;
const Console: View = lazy<{ page?: string; id?: string }>(() => import("../console/Console"));
const Shared: View = lazy<{ token?: string }>(() => import("../chat/pages/Shared"));
const SignIn = lazy<Record<string, string>>(() => import("./pages/SignIn"));
const SignUp = lazy<Record<string, string>>(() => import("./pages/SignUp"));
const SetUp = lazy<Record<string, string>>(() => import("./pages/SetUp"));

const ENTRIES: Entry[] = [
  { pattern: "", area: "chat", view: Nothing },
  { pattern: "chat/:id", area: "chat", view: Nothing },
  ...["search", "archive", "projects", "projects/:id", "assistants", "assistants/:id", "prompts", "memory"].map(
    (pattern): Entry => ({ pattern, area: "chat", view: Nothing }), // chat/ChatArea.tsx draws them
  ),
  { pattern: "console", area: "console", view: Console },
  { pattern: "console/:page", area: "console", view: Console },
  { pattern: "console/:page/:id", area: "console", view: Console },
  { pattern: "share/:token", area: "open", view: Shared },
  { pattern: "sign-in", area: "open", view: SignIn },
  { pattern: "sign-up", area: "open", view: SignUp },
  { pattern: "setup", area: "open", view: SetUp },
];

export function routeOf(path: string): Route | null {
  for (const entry of ENTRIES) {
    const named = match(entry.pattern, path);
    if (named) return { ...entry, named };
  }
  return null;
}

export const isOpenToAll = (route: Route) => route.area === "open";
