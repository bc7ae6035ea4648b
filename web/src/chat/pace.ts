/** Run at most once per `ms`, or less often where a run takes long: `later` at the end of the wait, `now` at once. */
export function atMostEvery(ms: number, run: () => void) {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let wait = ms;
  const cancel = () => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
  };
  const now = () => {
    cancel();
    const began = performance.now();
    run();
    wait = Math.max(ms, 3 * (performance.now() - began)); // three quarters of the time are left for the reader
  };
  const later = () => {
    timer ??= setTimeout(now, wait);
  };
  return { now, later, cancel };
}
