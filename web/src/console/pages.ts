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

export const pages: ConsolePage[] = [
  {
    path: "",
    title: "overview",
    group: "start",
    icon: "chart",
    permission: null,
    view: lazy<PageProps>(() => import("./Overview")),
  },
];
