/** Keeps a lease alive while work goes on. */

/** Runs `beat` each `everyMs`, one at a time, until it is stopped. Does not keep the process alive. */
export function startHeartbeat(everyMs: number, beat: () => Promise<unknown>): { stop(): void } {
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    void beat().finally(() => (busy = false));
  }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
