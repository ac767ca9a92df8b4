import { join } from 'node:path';
import { run } from './child.ts';
import type { Target } from './target.ts';
import { CALLS, headersOf, type Size } from './wire.ts';

/** What load.lua prints. */
export type Burst = {
  requests: number;
  bytes: number;
  microseconds: number;
  failures: number;
  refused: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
};

export async function wrkVersion(): Promise<string> {
  const text = await run('/bin/sh', ['-c', 'wrk --version; true']);
  return /wrk\s+(\S+)/.exec(text)?.[1] ?? 'unknown';
}

export async function burst(target: Target, size: Size, connections: number, seconds: number): Promise<Burst> {
  const headers = Object.entries(headersOf(size, target.token)).map(([name, value]) => `${name}: ${value}`);
  const env = { ...process.env, BENCH_BODY: CALLS[size].body, BENCH_HEADERS: headers.join('\n') };
  const script = join(import.meta.dirname, 'load.lua');
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '--latency', '-s', script, target.url];
  const text = await run('wrk', args, env);
  const line = text.split('\n').find((candidate) => candidate.startsWith('{'));
  if (line === undefined) throw new Error(`wrk said nothing that can be read: ${text}`);
  return JSON.parse(line) as Burst;
}

/**
 * Whether every answer of a burst was the one that was asked for. wrk counts answers, their bytes and those that are no
 * success; the upstream counts the calls that reached it with the right credential.
 * @returns what is wrong, or undefined
 */
export function wrongWith(burst: Burst, reached: number, answerBytes: number, connections: number): string | undefined {
  const { requests, bytes, failures, refused } = burst;
  if (requests === 0) return 'nothing was answered';
  if (failures > 0 || refused > 0) return `${failures} connections failed, ${refused} answers were no success`;
  if (reached < requests) return `${requests} answers, but only ${reached} calls reached the upstream as they should`;
  const MAX_HEAD = 2_048;
  const most = (requests + connections) * (answerBytes + MAX_HEAD);
  if (bytes < requests * answerBytes || bytes > most) return `${bytes} bytes for ${requests} answers of ${answerBytes}`;
  return undefined;
}
