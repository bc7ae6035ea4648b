/**
 * Who is here. Asked once at the start, and again whenever a call finds that it may have changed.
 *
 * single: a server of one model, without accounts. household: a platform that nobody has signed up on yet, asked
 * from its own machine. stranger: a platform that wants to know who you are. member: it does.
 */

import { computed, signal } from "@preact/signals";
import { ApiError, api, onSignedOut, once, setCsrf } from "./api";
import { browserShelf } from "./shelf";

export interface User {
  id: string;
  email: string;
  name: string;
  is_operator: boolean;
  is_verified: boolean;
  has_password: boolean;
}

export interface Organisation {
  id: string;
  name: string;
  role: string;
  permissions: string[];
}

export interface State {
  user: User | null;
  csrf: string | null;
  session_id: string | null;
  organisations: Organisation[];
  currency: string;
  sign_up: "open" | "invitation" | "closed";
  needs_first_account: boolean;
  providers: { name: string; title: string }[];
}

export type Session =
  | { kind: "asking" }
  | { kind: "unreachable" }
  | { kind: "single" }
  | { kind: "household"; state: State }
  | { kind: "stranger"; state: State }
  | { kind: "member"; state: State; user: User };

export const session = signal<Session>({ kind: "asking" });
/** Somebody was signed in and is not any more: ask, over the page, so that nothing typed is lost. */
export const signInAgain = signal(false);

const ORG = "openglm.1.organisation";
const chosenOrg = signal(browserShelf().getItem(ORG));

export const organisations = computed(() => (session.value.kind === "member" ? session.value.state.organisations : []));
export const organisation = computed(
  () => organisations.value.find((each) => each.id === chosenOrg.value) ?? organisations.value[0] ?? null,
);
export const user = computed(() => (session.value.kind === "member" ? session.value.user : null));

export function chooseOrganisation(id: string): void {
  chosenOrg.value = id;
  try {
    browserShelf().setItem(ORG, id);
  } catch {
    // full: the choice holds until the page goes
  }
}

export function may(permission: string): boolean {
  if (permission === "operator") return user.value?.is_operator ?? false;
  return organisation.value?.permissions.includes(permission) ?? false;
}

export async function findSession(): Promise<void> {
  try {
    await settle(await once<State>("GET", "api/console/session"));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) session.value = { kind: "single" };
    else session.value = { kind: "unreachable" };
  }
}

async function settle(state: State): Promise<void> {
  setCsrf(state.csrf);
  if (state.user) session.value = { kind: "member", state, user: state.user };
  else session.value = { kind: (await isHome(state)) ? "household" : "stranger", state };
}

/** Before anybody has signed up, the machine that the platform runs on is served without a question. */
async function isHome(state: State): Promise<boolean> {
  if (!state.needs_first_account) return false;
  return once("GET", "v1/models").then(
    () => true,
    () => false,
  );
}

export interface NewAccount {
  name: string;
  email: string;
  password: string;
  invitation?: string;
  setup?: string;
}

export async function signIn(email: string, password: string): Promise<void> {
  entered(await once<State>("POST", "api/console/login", { email, password }));
}

export async function signUp(account: NewAccount): Promise<void> {
  entered(await once<State>("POST", "api/console/sign-up", account));
}

function entered(state: State): void {
  setCsrf(state.csrf);
  if (state.user) session.value = { kind: "member", state, user: state.user };
  signInAgain.value = false;
  back?.(true);
}

export async function signOut(): Promise<void> {
  await api.post("api/console/logout");
  await findSession();
}

let back: ((isBack: boolean) => void) | null = null;
let waiting: Promise<boolean> | null = null;

/** For calls that were refused: look again who is here, and wait until somebody is. */
async function regainSession(sentWith: string | null): Promise<boolean> {
  const before = session.peek();
  const state = await once<State>("GET", "api/console/session");
  setCsrf(state.csrf);
  if (state.user) {
    session.value = { kind: "member", state, user: state.user };
    return state.csrf !== sentWith; // the same session was refused for another reason: the caller's to tell
  }
  if (before.kind !== "member") {
    await settle(state);
    return false;
  }
  signInAgain.value = true;
  waiting ??= new Promise<boolean>((resolve) => (back = resolve)).finally(() => {
    back = null;
    waiting = null;
  });
  return waiting;
}

/** The reader will not sign in: what waited fails, and the page is a stranger's. */
export function leaveSession(): void {
  signInAgain.value = false;
  back?.(false);
  void findSession();
}

onSignedOut(regainSession);
