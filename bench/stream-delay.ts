import { Pool } from 'undici';
import { percentile } from './open-loop.ts';
import type { Target } from './target.ts';
import { residentBytes } from './usage.ts';
import { headersOf, monotonicNanoseconds, streamCall } from './wire.ts';

export type Delays = { events: number; p50: number; p99: number; max: number };

/**
 * Holds `streams` event streams at once, each with an event every 10 ms, and takes the time from the upstream's write
 * to the client's read, in microseconds.
 * @throws Error when an event is missing
 */
export async function streamDelay(target: Target, streams: number, seconds: number): Promise<Delays> {
  const everyMs = 10;
  const count = Math.round((seconds * 1_000) / everyMs);
  const { origin, pathname } = new URL(target.url);
  const pool = new Pool(origin, { connections: streams, pipelining: 1, bodyTimeout: 0 });
  const delays: number[] = [];

  async function stream(): Promise<void> {
    const { statusCode, body } = await pool.request({
      path: pathname,
      method: 'POST',
      headers: headersOf('ticks', target.token),
      body: streamCall(count, everyMs),
    });
    let left = '';
    let seen = 0;
    let ended = false;
    for await (const chunk of body.setEncoding('utf8')) {
      const now = monotonicNanoseconds();
      const events = `${left}${chunk as string}`.split('\n\n');
      left = events.pop() ?? '';
      for (const event of events) {
        const at = /"message":"(\d+)"/.exec(event)?.[1];
        if (at !== undefined) {
          seen += 1;
          delays.push(Number(now - BigInt(at)) / 1_000);
        } else if (event.includes('"result"')) ended = true;
      }
    }
    if (statusCode !== 200 || seen !== count - 1 || !ended) {
      throw new Error(`${target.name} answered ${statusCode} with ${seen} of ${count - 1} events`);
    }
  }

  try {
    await Promise.all(Array.from({ length: streams }, stream));
  } finally {
    await pool.destroy();
  }
  delays.sort((a, b) => a - b);
  return {
    events: delays.length,
    p50: percentile(delays, 0.5),
    p99: percentile(delays, 0.99),
    max: delays.at(-1) ?? 0,
  };
}

/**
 * Resident memory that a stream held open costs the thing in between, in bytes. These are the silent streams of clients
 * of 2025, which they keep open for as long as they run.
 * @throws Error when a stream is not opened
 */
export async function bytesPerStream(target: Target, streams: number): Promise<number> {
  const { origin, pathname } = new URL(target.url);
  const pool = new Pool(origin, { connections: streams, pipelining: 1, bodyTimeout: 0 });
  const headers = {
    accept: 'text/event-stream',
    authorization: `Bearer ${target.token}`,
    'mcp-protocol-version': '2025-11-25',
  };
  try {
    const before = residentBytes(target.pids);
    const opened = await Promise.all(
      Array.from({ length: streams }, async () => await pool.request({ path: pathname, method: 'GET', headers })),
    );
    const held = residentBytes(target.pids);
    const refused = opened.find(({ statusCode }) => statusCode !== 200);
    if (refused !== undefined) throw new Error(`${target.name} answered ${refused.statusCode}`);
    for (const { body } of opened) body.on('error', () => undefined).destroy();
    return (held - before) / streams;
  } finally {
    await pool.destroy();
  }
}
