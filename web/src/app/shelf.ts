/** The browser's storage, or one that lives as long as the page where the browser has none. */

/** The part of window.localStorage that is used, so that tests can bring their own. */
export type Shelf = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

let opened: Shelf | null = null;

export function browserShelf(): Shelf {
  opened ??= openShelf();
  return opened;
}

function openShelf(): Shelf {
  try {
    const probe = "openglm.probe";
    localStorage.setItem(probe, probe);
    localStorage.removeItem(probe);
    return localStorage;
  } catch {
    return new MemoryShelf();
  }
}

export class MemoryShelf implements Shelf {
  private readonly items = new Map<string, string>();
  get length(): number {
    return this.items.size;
  }
  key(index: number): string | null {
    return [...this.items.keys()][index] ?? null;
  }
  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.items.set(key, value);
  }
  removeItem(key: string): void {
    this.items.delete(key);
  }
}
