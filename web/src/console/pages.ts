/**
 * The console's pages. To add one: a row here, its name in words/en.ts and words/zh.ts under `pages`, and a file
 * whose default export is the page (`PageProps`). Pages are fetched when they are opened.
 */

import type { ComponentType } from "preact";
import { lazy } from "../app/lazy";
import type { IconName } from "../ui/Icon";
import type { Words } from "./words/en";

export interface PageProps {
  /** The organisation that is looked at: what most addresses of api/console begin with. */
  org: string;
  /** The second part of the address: console/requests/req_1. */
  id: string | null;
}

export interface ConsolePage {
  /** Below /console; "" is the start. */
  path: string;
  title: keyof Words["pages"];
  group: keyof Words["groups"];
  icon: IconName;
  /** A permission of identity/roles.py, "operator", or null for every member. */
  permission: string | null;
  view: ComponentType<PageProps>;
}

type Load = () => Promise<{ default: ComponentType<PageProps> }>;
const page = (load: Load) => lazy<PageProps>(load);

export const pages: ConsolePage[] = [
  { path: "", title: "overview", group: "start", icon: "chart", permission: null, view: page(() => import("./Overview")) },
  { path: "playground", title: "playground", group: "build", icon: "play", permission: "keys.own", view: page(() => import("./build/Playground")) },
  { path: "keys", title: "keys", group: "build", icon: "key", permission: "keys.own", view: page(() => import("./build/Keys")) },
  { path: "offers", title: "offers", group: "build", icon: "spark", permission: "org.read", view: page(() => import("./build/Offers")) },
  { path: "files", title: "files", group: "build", icon: "file", permission: "data.write", view: page(() => import("./build/Files")) },
  { path: "batches", title: "batches", group: "build", icon: "list", permission: "data.write", view: page(() => import("./build/Batches")) },
  { path: "fine-tuning", title: "fineTuning", group: "build", icon: "sparkles", permission: "org.read", view: page(() => import("./build/FineTuning")) },
  { path: "knowledge", title: "knowledge", group: "build", icon: "book", permission: "data.write", view: page(() => import("./build/Knowledge")) },
  { path: "usage", title: "usage", group: "money", icon: "chart", permission: "usage.read", view: page(() => import("./money/Usage")) },
  { path: "requests", title: "requests", group: "money", icon: "table", permission: "usage.read", view: page(() => import("./money/Requests")) },
  { path: "wallet", title: "wallet", group: "money", icon: "wallet", permission: "billing.read", view: page(() => import("./money/Wallet")) },
  { path: "invoices", title: "invoices", group: "money", icon: "quote", permission: "billing.read", view: page(() => import("./money/Invoices")) },
  { path: "plans", title: "plans", group: "money", icon: "bolt", permission: "usage.read", view: page(() => import("./money/Plans")) },
  { path: "limits", title: "limits", group: "money", icon: "sliders", permission: "org.read", view: page(() => import("./money/Limits")) },
  { path: "members", title: "members", group: "organisation", icon: "users", permission: "members.read", view: page(() => import("./team/Members")) },
  { path: "projects", title: "projects", group: "organisation", icon: "folder", permission: "org.read", view: page(() => import("./team/Projects")) },
  { path: "audit", title: "audit", group: "organisation", icon: "shield", permission: "audit.read", view: page(() => import("./team/Audit")) },
  { path: "account", title: "account", group: "organisation", icon: "user", permission: null, view: page(() => import("./team/Account")) },
  { path: "models", title: "models", group: "platform", icon: "box", permission: "operator", view: page(() => import("./platform/Models")) },
  { path: "channels", title: "channels", group: "platform", icon: "channel", permission: "operator", view: page(() => import("./platform/Channels")) },
  { path: "pricing", title: "pricing", group: "platform", icon: "sliders", permission: "operator", view: page(() => import("./platform/Pricing")) },
  { path: "people", title: "people", group: "platform", icon: "users", permission: "operator", view: page(() => import("./platform/People")) },
  { path: "health", title: "health", group: "platform", icon: "server", permission: "operator", view: page(() => import("./platform/Health")) },
];
