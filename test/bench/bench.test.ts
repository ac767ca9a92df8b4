import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { end, forked } from '../../bench/child.ts';
import { referenceAnswer } from '../../bench/measure.ts';
import { openLoop, percentile } from '../../bench/open-loop.ts';
import { interleave, spread, summarise, type Round, type Sample } from '../../bench/rounds.ts';
import { bytesPerStream, streamDelay } from '../../bench/stream-delay.ts';
import { resultLines } from '../../bench/table.ts';
import type { Target } from '../../bench/target.ts';
import { cpuMs, machineMs, residentBytes } from '../../bench/usage.ts';
import { CALLS, PATH, STATIC_TOKEN } from '../../bench/wire.ts';
import { wrongWith } from '../../bench/wrk.ts';

const sample = (over: Partial<Sample>): Sample => ({
  callsPerSecond: 100,
  p50: 10,
  p99: 20,
  cpuPerCall: 5,
  others: 0,
  ...over,
});

describe('rounds', () => {
  it('take the targets in turn', async () => {
    const order: string[] = [];
    await interleave(['a', 'b'], 2, async (target) => {
      order.push(target);
      return sample({});
    });
    expect(order).toEqual(['a', 'b', 'a', 'b']);
  });

  it('that neighbours disturbed are run again, and left out', async () => {
    const others = [0.3, 0, 0];
    const { rounds, disturbed, run } = await interleave(['a'], 2, async () => sample({ others: others.shift() ?? 0 }));
    expect({ kept: rounds.map((round) => round['a']?.others), disturbed, run }).toEqual({
      kept: [0, 0],
      disturbed: 0,
      run: 3,
    });
  });

  it('end after twice as many, with the least disturbed ones counted and named', async () => {
    const others = [0.4, 0, 0.2, 0.3];
    const { rounds, disturbed, run } = await interleave(['a'], 2, async () => sample({ others: others.shift() ?? 1 }));
    expect({ kept: rounds.map((round) => round['a']?.others), disturbed, run }).toEqual({
      kept: [0, 0.2],
      disturbed: 1,
      run: 4,
    });
  });

  it('are not repeated when the time is up', async () => {
    const noisy = async (): Promise<Sample> => sample({ others: 1 });
    expect((await interleave(['a'], 2, noisy, () => false)).run).toBe(2);
  });

  it('are compared within themselves', () => {
    const rounds: Round[] = [
      { direct: sample({ p50: 10 }), nginx: sample({}), ours: sample({ callsPerSecond: 90, p50: 40, cpuPerCall: 10 }) },
      {
        direct: sample({ p50: 5 }),
        nginx: sample({ callsPerSecond: 10, cpuPerCall: 1 }),
        ours: sample({ callsPerSecond: 20, p50: 15, cpuPerCall: 4 }),
      },
    ];
    const summary = summarise(rounds, 'ours', 'nginx', 'direct');
    expect(summary.callsRatio).toEqual({ median: 1.45, min: 0.9, max: 2 });
    expect(summary.cpuRatio).toEqual({ median: 3, min: 2, max: 4 });
    expect(summary.addedP50).toEqual({ median: 20, min: 10, max: 30 });
    const scenario = {
      name: 'a',
      title: 'A',
      kind: 'closed',
      size: 'small',
      connections: 1,
      rounds: 2,
      seconds: 1,
    } as const;
    const lines = resultLines({ scenario, rounds, run: 3, disturbed: 1, summaries: { ours: summary } });
    expect(lines.join('\n')).toMatch(
      /2 rounds of 1 s, 3 run, 1 of them disturbed[\s\S]*ours +55 +1\.45 \(0\.90 to 2\.00\)/,
    );
  });

  it('have a middle', () => {
    expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(percentile([1, 2, 3, 4], 0.99)).toBe(4);
  });
});

describe('a burst', () => {
  const burst = {
    requests: 10,
    bytes: 3_000,
    microseconds: 1,
    failures: 0,
    refused: 0,
    p50: 1,
    p90: 1,
    p99: 1,
    max: 1,
  };
  it.each([
    ['nothing was answered', { requests: 0 }, 0, /nothing/],
    ['an answer was no success', { refused: 1 }, 10, /1 answers were no success/],
    ['a connection failed', { failures: 1 }, 10, /1 connections failed/],
    ['an answer did not come from the upstream', {}, 9, /only 9 calls/],
    ['answers are too short', { bytes: 1_999 }, 10, /1999 bytes/],
    ['answers are too long', { bytes: 30_000 }, 10, /30000 bytes/],
  ])('is refused when %s', (_, over, reached, message) => {
    expect(wrongWith({ ...burst, ...over }, reached, 200, 1)).toMatch(message);
  });

  it('counts when every answer is right', () => {
    expect(wrongWith(burst, 11, 200, 1)).toBeUndefined();
  });
});

describe('the machine', () => {
  it('is busy without its interrupts and its idling', () => {
    expect(machineMs('cpu  1 2 3 1000 500 70 80 4 0 0\ncpu0 1')).toEqual({ busy: 100, total: 16_600 });
  });

  it('tells what a process used', () => {
    expect(residentBytes([process.pid])).toBeGreaterThan(10_000_000);
    expect(cpuMs([process.pid])).toBeGreaterThan(0);
  });
});

describe('the upstream', () => {
  let direct: Target;
  beforeAll(async () => {
    const { child, origin } = await forked(join(import.meta.dirname, '../../bench/upstream.ts'), []);
    const pids = [child.pid ?? 0];
    direct = { name: 'direct', url: `${origin}${PATH}`, token: STATIC_TOKEN, pids, close: () => end(child) };
  });
  afterAll(() => direct?.close());

  it('answers 200 bytes and 1 MB', async () => {
    expect(await referenceAnswer(direct, 'small', true)).toHaveLength(200);
    expect(await referenceAnswer(direct, 'large', true)).toHaveLength(1024 * 1024);
  });

  it('is measured at a fixed rate', async () => {
    const { sent, p50, p99 } = await openLoop(direct, 500, 0.1, CALLS.small.answer);
    expect(sent).toBe(50);
    expect(p50).toBeGreaterThan(0);
    expect(p99).toBeGreaterThanOrEqual(p50);
  });

  it('streams events that tell when they were written', async () => {
    const { events, max } = await streamDelay(direct, 2, 0.1);
    expect(events).toBe(18);
    expect(max).toBeGreaterThan(0);
    expect(await bytesPerStream(direct, 4)).toBeLessThan(10_000_000);
  });

  it('takes no other credential, which ends a measurement', async () => {
    const stranger = { ...direct, token: 'another' };
    await expect(referenceAnswer(stranger, 'small', true)).rejects.toThrow(/direct answers 401/);
    await expect(openLoop(stranger, 100, 0.05, CALLS.small.answer)).rejects.toThrow(/answered 401/);
    await expect(streamDelay(stranger, 1, 0.05)).rejects.toThrow(/answered 401/);
    await expect(bytesPerStream(stranger, 1)).rejects.toThrow(/answered 401/);
  });

  it('is missed when an answer is not its own', async () => {
    await expect(openLoop(direct, 100, 0.05, 'something else')).rejects.toThrow(/answered 200/);
  });
});
