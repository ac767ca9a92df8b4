import type { Clock } from '../clock.ts';

export type Rate = {
  /** How many at once. */
  burst: number;
  /** Milliseconds until one of them is forgotten. */
  refillMs: number;
};

const MANY = 10_000;

/** Milliseconds that the caller named by `key` has to wait, 0 when admitted (GCRA, held by this process). */
export function createRate(clock: Clock, rate: Rate): (key: string) => number {
  const due = new Map<string, number>();
  return (key) => {
    const now = clock.now();
    if (due.size > MANY) for (const [name, at] of due) if (at <= now) due.delete(name);
    // Whoever can come from that many addresses is not held up by counting them.
    if (due.size > 2 * MANY) due.clear();
    const at = Math.max(due.get(key) ?? 0, now);
    const wait = at - now - (rate.burst - 1) * rate.refillMs;
    if (wait > 0) return wait;
    due.set(key, at + rate.refillMs);
    return 0;
  };
}
