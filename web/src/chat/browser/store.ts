/**
 * Conversations in the browser's storage, one key each, so that saving one never rewrites the others.
 *
 * Bounded: when the budget or the browser's quota is reached, the conversations that were touched longest
 * ago go, never the one being saved. What this page cannot read (a newer format) is left alone.
 */

import type { Shelf } from "../../app/shelf";
import { type Kept, parseKept } from "./kept";

const PREFIX = "openglm.1.conversation.";
export const BUDGET = 4_000_000; // UTF-16 units; browsers give an origin about 5 million

export interface Saved {
  /** false: the browser refused, the conversation lives in this page only. */
  kept: boolean;
  /** Ids of conversations that had to go to make room. */
  dropped: string[];
}

export class ConversationStore {
  constructor(
    private readonly shelf: Shelf,
    private readonly budget: number = BUDGET,
  ) {}

  /** All readable conversations, last touched first. */
  all(): Kept[] {
    return this.keys()
      .map((key) => parseKept(this.shelf.getItem(key) ?? ""))
      .filter((kept) => kept !== null)
      .sort((a, b) => b.conversation.updated_at - a.conversation.updated_at);
  }

  save(kept: Kept): Saved {
    const key = PREFIX + kept.conversation.id;
    const text = JSON.stringify(kept);
    const dropped: string[] = [];
    if (this.sizeWithout(key) + text.length > this.budget) dropped.push(...this.makeRoom(key, text.length));
    for (;;) {
      if (this.put(key, text)) return { kept: true, dropped };
      const oldest = this.oldestExcept(key);
      if (oldest === null) return { kept: false, dropped };
      this.remove(oldest);
      dropped.push(oldest);
    }
  }

  remove(id: string): void {
    this.shelf.removeItem(PREFIX + id);
  }

  /** The id that a storage key stands for; null for keys that are not conversations. */
  static idOf(key: string | null): string | null {
    return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : null;
  }

  private keys(): string[] {
    const keys: string[] = [];
    for (let i = 0; i < this.shelf.length; i++) {
      const key = this.shelf.key(i);
      if (key?.startsWith(PREFIX)) keys.push(key);
    }
    return keys;
  }

  private sizeWithout(key: string): number {
    return this.keys()
      .filter((other) => other !== key)
      .reduce((sum, other) => sum + (this.shelf.getItem(other)?.length ?? 0), 0);
  }

  private makeRoom(key: string, wanted: number): string[] {
    const dropped: string[] = [];
    for (let oldest = this.oldestExcept(key); oldest !== null; oldest = this.oldestExcept(key)) {
      if (this.sizeWithout(key) + wanted <= this.budget) break;
      this.remove(oldest);
      dropped.push(oldest);
    }
    return dropped;
  }

  private oldestExcept(key: string): string | null {
    return this.all().findLast(({ conversation }) => PREFIX + conversation.id !== key)?.conversation.id ?? null;
  }

  private put(key: string, text: string): boolean {
    try {
      this.shelf.setItem(key, text);
      return true;
    } catch {
      return false; // over quota, or storage is switched off
    }
  }
}
