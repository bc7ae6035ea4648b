/** Projects: folders of conversations with instructions and files. Loaded once, and again when they change. */

import { effect, signal } from "@preact/signals";
import { ApiError, api } from "../app/api";
import { changedElsewhere } from "./list";
import type { AttachmentPart } from "./model";
import { onServer } from "./service";
import { at } from "./server/backend";

export interface Project {
  id: string;
  name: string;
  instructions: string;
  files: (AttachmentPart & { id?: string })[];
  knowledge: string[];
}

export const projects = signal<readonly Project[]>([]);

export async function loadProjects(): Promise<void> {
  try {
    const { items } = await api.get<{ items: Project[] }>(at("projects"));
    projects.value = items;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the list stays as it was; the page of projects tells more
  }
}

export function attachProjects(): void {
  effect(() => {
    if (changedElsewhere.value.what.startsWith("project")) void loadProjects();
  });
  effect(() => {
    projects.value = [];
    if (onServer.value) void loadProjects();
  });
}
