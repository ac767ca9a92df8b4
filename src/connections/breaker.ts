import type { Clock } from '../clock.ts';
import { backoffMs } from './connection.ts';

/**
 * Keeps an outage from burning attempts. One breaker holds many circuits: an origin of a provider, or a registration.
 * Opens at `threshold` failures in a row or for as long as Retry-After says; then lets one try through at a time.
 */
export type Breaker = {
  /** Milliseconds to wait before the next try; 0: go, and report what came of it. */
  admit(circuit: string): number;
  failed(circuit: string, retryAfterMs?: number | null): void;
  succeeded(circuit: string): void;
};

const TRIAL_MS = 45_000;
const MAX_CIRCUITS = 10_000;

export function createBreaker(options: { clock: Clock; threshold: number; baseMs: number }): Breaker {
  const { clock, threshold, baseMs } = options;
  const circuits = new Map<string, { failures: number; openUntil: number }>();
  return {
    admit(circuit) {
      const state = circuits.get(circuit);
      if (state === undefined) return 0;
      const wait = state.openUntil - clock.now();
      if (wait > 0) return wait;
      if (state.failures >= threshold) state.openUntil = clock.now() + TRIAL_MS;
      return 0;
    },
    failed(circuit, retryAfterMs = null) {
      const state = circuits.get(circuit) ?? { failures: 0, openUntil: 0 };
      state.failures += 1;
      const backoff = state.failures >= threshold ? backoffMs(state.failures - threshold, baseMs, Math.random()) : 0;
      state.openUntil = clock.now() + Math.max(backoff, retryAfterMs ?? 0);
      circuits.delete(circuit);
      circuits.set(circuit, state);
      const [oldest] = circuits.keys();
      if (circuits.size > MAX_CIRCUITS && oldest !== undefined) circuits.delete(oldest);
    },
    succeeded: (circuit) => void circuits.delete(circuit),
  };
}
