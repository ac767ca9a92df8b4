import { Pool } from 'undici';
import type { Target } from './target.ts';
import { CALLS, headersOf } from './wire.ts';

export type Latencies = { sent: number; p50: number; p99: number; max: number };

/** @returns the value below which `share` of them lie */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * Sends `rate` small calls a second whatever became of the ones before, and reads every answer. Latencies are in
 * microseconds, from the moment of sending.
 * @throws Error on the first answer that is not the one asked for
 */
export async function openLoop(target: Target, rate: number, seconds: number, expected: string): Promise<Latencies> {
  const { origin, pathname } = new URL(target.url);
  const pool = new Pool(origin, { connections: 128, pipelining: 1 });
  const headers = headersOf('small', target.token);
  const latencies: number[] = [];
  const calls: Promise<void>[] = [];
  const failures: unknown[] = [];
  const total = Math.floor(rate * seconds);

  async function call(): Promise<void> {
    const from = performance.now();
    const { statusCode, body } = await pool.request({
      path: pathname,
      method: 'POST',
      headers,
      body: CALLS.small.body,
    });
    const text = await body.text();
    latencies.push((performance.now() - from) * 1_000);
    if (statusCode !== 200 || text !== expected) {
      throw new Error(`${target.name} answered ${statusCode}: ${text.slice(0, 300)}`);
    }
  }

  const begin = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(total, Math.floor(((performance.now() - begin) / 1_000) * rate));
      while (calls.length < due) calls.push(call().catch((error: unknown) => void failures.push(error)));
      if (calls.length < total && failures.length === 0) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
  await Promise.all(calls);
  await pool.destroy();
  if (failures.length > 0) throw failures[0];
  latencies.sort((a, b) => a - b);
  return { sent: total, p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99), max: latencies.at(-1) ?? 0 };
}
