/** The names behind the ids of projects, keys and people, as far as the reader may see them. */

import { api } from "../../app/api";
import { may } from "../../app/session";
import { useLoad } from "./useLoad";

export interface Project {
  id: string;
  name: string;
  is_archived: boolean;
  body_days: number;
  created_at: number;
}

export interface Key {
  id: string;
  project_id: string;
  user_id: string | null;
  name: string;
  models: string[];
  endpoints: string[];
  cidrs: string[];
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
  created_at: number;
}

export interface Member {
  user_id: string;
  role: string;
  email: string;
  name: string;
  created_at: number;
}

export const orgPath = (org: string) => `api/console/organisations/${org}`;

export const projectsOf = (org: string) => api.get<Project[]>(`${orgPath(org)}/projects`);

export function useProjects(org: string) {
  return useLoad(() => projectsOf(org), [org]);
}

/** A function from an id to its name; ids that are not known stay as they are. */
export function useNames(org: string): (id: string | null) => string {
  const { data } = useLoad(async () => {
    const [projects, keys, members] = await Promise.all([
      projectsOf(org),
      may("keys.own") ? api.get<Key[]>(`${orgPath(org)}/keys`) : [],
      may("members.read") ? api.get<Member[]>(`${orgPath(org)}/members`) : [],
    ]);
    return new Map([
      ...projects.map(({ id, name }) => [id, name] as const),
      ...keys.map(({ id, name }) => [id, name] as const),
      ...members.map(({ user_id, name }) => [user_id, name] as const),
    ]);
  }, [org]);
  return (id) => (id === null ? "—" : (data?.get(id) ?? id));
}
