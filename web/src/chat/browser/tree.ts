/** A conversation's messages as a tree: pure questions about it, answered from one list in order of arrival. */

import type { Message } from "../model";

export type ById = ReadonlyMap<string, Message>;

export const byId = (messages: readonly Message[]): ById => new Map(messages.map((each) => [each.id, each]));

/** From the first message to `leaf`, oldest first. */
export function pathTo(messages: ById, leaf: string | null): Message[] {
  const path: Message[] = [];
  for (let at = leaf; at !== null; ) {
    const message = messages.get(at);
    if (!message) break;
    path.push(message);
    at = message.parent_id;
  }
  return path.reverse();
}

export function childrenOf(messages: readonly Message[], parent: string | null): string[] {
  return messages.filter(({ parent_id }) => parent_id === parent).map(({ id }) => id);
}

/** The newest leaf below a message: where a reader who turns to it goes on. */
export function leafBelow(messages: readonly Message[], id: string): string {
  const next = childrenOf(messages, id).at(-1);
  return next === undefined ? id : leafBelow(messages, next);
}

export function withSiblings(messages: readonly Message[], path: Message[]): Message[] {
  return path.map((message) => ({ ...message, siblings: childrenOf(messages, message.parent_id) }));
}
