import { setTimeout as delay } from 'node:timers/promises';

/** The only place that reads the time. Times are milliseconds since 1970, durations are milliseconds. */
export type Clock = {
  now(): number;
  /** Milliseconds that never run backwards, for measuring durations. */
  monotonic(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Runs `task` every `ms` until the returned function is called; does not hold the process open. */
  every(ms: number, task: () => void): () => void;
};

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? undefined : { signal }),
  every(ms, task) {
    const timer = setInterval(task, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** A clock that runs `offset` ahead of another; the offset can be moved while it runs (drills, skew tests). */
export function movableClock(base: Clock = systemClock): Clock & { move(ms: number): void } {
  let offset = 0;
  return {
    now: () => base.now() + offset,
    monotonic: () => base.monotonic() + offset,
    sleep: (ms, signal) => base.sleep(ms, signal),
    every: (ms, task) => base.every(ms, task),
    move(ms) {
      offset += ms;
    },
  };
}

/** RFC 3339 in UTC, as the admin API writes times; null stays null. */
export function rfc3339(ms: number): string;
export function rfc3339(ms: number | null): string | null;
export function rfc3339(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
