/** Projects: folders of conversations with instructions and files. Loaded once, and again when they change. */

import { effect, signal } from "@preact/signals";
import { ApiError, api } from "../app/api";
import { changedElsewhere } from "./list";
import { onServer } from "./service";
import { at } from "./server/backend";

export interface Project {
  id: string;
  name: string;
  instructions: string;
  /** Attachments, by id. */
  files: string[];
  knowledge: string[];
}

export const projects = signal<readonly Project[]>([]);

export async function loadProjects(): Promise<void> {
  try {
    projects.value = await api.get<Project[]>(at("projects"));
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
