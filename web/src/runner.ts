/**
 * The worker inside frame.html in which JavaScript of an answer runs: no document, no origin, no network. Its console
 * goes to the page as text. It has ended when the code has, and every timer that it set.
 */

/** The worker's own script, as text: it becomes a blob, for a page without an origin loads no worker by address. */
function worker(): void {
  const send = postMessage.bind(globalThis);
  const LONGEST = 10_000; // characters of a line
  const shown = (value: unknown, depth: number): string => {
    if (typeof value === "string") return depth > 0 ? JSON.stringify(value) : value;
    if (typeof value === "function") return `[function ${value.name}]`;
    if (typeof value === "bigint") return `${value}n`;
    if (value === null || typeof value !== "object") return String(value);
    if (value instanceof Error) return value.stack?.startsWith(String(value)) ? String(value) : `${value.name}: ${value.message}`;
    if (value instanceof Date || value instanceof RegExp) return String(value);
    if (depth > 3) return "…";
    const each = (items: unknown[]) => items.slice(0, 100).map((item) => shown(item, depth + 1)).join(", ") + (items.length > 100 ? ", …" : "");
    if (Array.isArray(value)) return `[${each(value)}]`;
    if (ArrayBuffer.isView(value)) return `${value.constructor.name} [${each(Array.from(value as unknown as ArrayLike<unknown>))}]`;
    if (value instanceof Set) return `Set { ${each([...value])} }`;
    const pairs = value instanceof Map ? [...value].map(([key, item]) => `${shown(key, depth + 1)} => ${shown(item, depth + 1)}`) : Object.keys(value).slice(0, 100).map((key) => `${key}: ${shown((value as Record<string, unknown>)[key], depth + 1)}`);
    const name = value.constructor?.name;
    return `${name && name !== "Object" ? `${name} ` : ""}{${pairs.length > 0 ? ` ${pairs.join(", ")} ` : ""}}`;
  };
  const line = (level: string, values: unknown[]) => {
    let text: string;
    try {
      text = values.map((value) => shown(value, 0)).join(" ");
    } catch (error) {
      text = `(cannot be shown: ${String(error)})`;
    }
    send({ type: "said", level, text: text.slice(0, LONGEST) });
  };
  for (const [name, level] of Object.entries({ log: "log", info: "log", debug: "log", dir: "log", table: "log", trace: "log", warn: "warn", error: "error" })) {
    (console as unknown as Record<string, unknown>)[name] = (...values: unknown[]) => line(level, values);
  }
  console.assert = (holds?: boolean, ...values: unknown[]) => void (holds || line("error", ["Assertion failed:", ...values]));
  const waiting = new Set<number>();
  let running = true;
  const rest = () => {
    if (!running && waiting.size === 0) send({ type: "ran", error: null });
  };
  const fail = (error: unknown) => send({ type: "ran", error: shown(error, 0).slice(0, LONGEST) });
  const { setTimeout: later, clearTimeout: forget, setInterval: again, clearInterval: end } = globalThis;
  const scope = globalThis as unknown as Record<string, unknown>;
  scope["setTimeout"] = (deed: unknown, ms?: number, ...given: unknown[]) => {
    const id = later(() => {
      waiting.delete(id);
      if (typeof deed === "function") deed(...given);
      queueMicrotask(rest);
    }, ms) as unknown as number;
    waiting.add(id);
    return id;
  };
  scope["setInterval"] = (deed: unknown, ms?: number, ...given: unknown[]) => {
    const id = again(() => typeof deed === "function" && deed(...given), ms) as unknown as number;
    waiting.add(id);
    return id;
  };
  scope["clearTimeout"] = scope["clearInterval"] = (id: number) => {
    forget(id);
    end(id);
    waiting.delete(id);
    later(rest); // not in the middle of what goes on
  };
  addEventListener("unhandledrejection", (event) => fail((event as PromiseRejectionEvent).reason));
  addEventListener("error", (event) => fail((event as ErrorEvent).error ?? (event as ErrorEvent).message));
  addEventListener(
    "message",
    (event) => {
      const Made = (async () => undefined).constructor as new (source: string) => () => Promise<unknown>;
      const done = () => {
        running = false;
        rest();
      };
      try {
        new Made((event as MessageEvent<string>).data)().then(done, fail);
      } catch (error) {
        fail(error);
      }
    },
    { once: true },
  );
}

type Told = { type: "said"; level: string; text: string } | { type: "ran"; error: string | null };

const MOST = 600; // messages of one run; the page has stopped it long before

export function run(source: string, tell: (told: Told) => void): void {
  const address = URL.createObjectURL(new Blob([`(${worker})()`], { type: "text/javascript" }));
  const made = new Worker(address);
  let heard = 0;
  made.addEventListener("message", ({ data }: MessageEvent<Partial<Told> | null>) => {
    if (++heard > MOST) return made.terminate();
    if (data?.type === "said") tell({ type: "said", level: String(data.level), text: String(data.text) });
    else if (data?.type === "ran") {
      made.terminate();
      tell({ type: "ran", error: typeof data.error === "string" ? data.error : null });
    }
  });
  made.addEventListener("error", (event) => {
    made.terminate();
    tell({ type: "ran", error: event.message || "the code could not be run" });
  });
  made.postMessage(source);
}
