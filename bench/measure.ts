import { openLoop } from './open-loop.ts';
import type { Sample } from './rounds.ts';
import type { Scenario } from './scenarios.ts';
import { streamDelay } from './stream-delay.ts';
import type { Target } from './target.ts';
import { cpuMs, machineMs, ownCpuMs } from './usage.ts';
import { CALLS, headersOf, type Size } from './wire.ts';
import { burst, wrongWith } from './wrk.ts';

export type Upstream = { origin: string; pid: number };

/**
 * The answer that `target` gives to a call: its bytes where nothing may be touched on the way.
 * @throws Error when it is not the upstream's
 */
export async function referenceAnswer(target: Target, size: Size, untouched: boolean): Promise<string> {
  const { body, answer } = CALLS[size];
  const response = await fetch(target.url, { method: 'POST', headers: headersOf(size, target.token), body });
  const text = await response.text();
  const complain = (): never => {
    throw new Error(`${target.name} answers ${response.status}, ${text.length} bytes: ${text.slice(0, 300)}`);
  };
  if (response.status !== 200) complain();
  if (untouched && text !== answer) complain();
  const contentOf = (json: string): string => {
    const { result } = JSON.parse(json) as { result?: { content?: unknown } };
    return JSON.stringify(result?.content);
  };
  if (!untouched && contentOf(text.replace(/^(?:event:.*\n|id:.*\n)*data: /, '')) !== contentOf(answer)) complain();
  return text;
}

/** One sample; throws when a single answer in it was wrong. */
export async function measure(
  scenario: Scenario,
  target: Target,
  upstream: Upstream,
  answers: Readonly<Record<Size, string>>,
  seconds = scenario.seconds,
): Promise<Sample> {
  const before = usage(target, upstream);
  const { calls, elapsed, p50, p99 } = await load(scenario, target, upstream, answers, seconds);
  const after = usage(target, upstream);
  const total = after.machine.total - before.machine.total;
  return {
    callsPerSecond: calls / elapsed,
    p50,
    p99,
    cpuPerCall: ((after.between - before.between) * 1_000) / calls,
    others: Math.max(0, after.machine.busy - before.machine.busy - (after.ours - before.ours)) / total,
  };
}

function usage(target: Target, upstream: Upstream) {
  const between = cpuMs(target.pids);
  return { between, ours: between + cpuMs([upstream.pid]) + ownCpuMs(), machine: machineMs() };
}

type Load = { calls: number; elapsed: number; p50: number; p99: number };

async function load(
  scenario: Scenario,
  target: Target,
  upstream: Upstream,
  answers: Readonly<Record<Size, string>>,
  seconds: number,
): Promise<Load> {
  if (scenario.kind === 'open') {
    const { sent, p50, p99 } = await openLoop(target, scenario.rate, seconds, answers.small);
    return { calls: sent, elapsed: seconds, p50, p99 };
  }
  if (scenario.kind === 'stream') {
    const { events, p50, p99 } = await streamDelay(target, scenario.streams, seconds);
    return { calls: events, elapsed: seconds, p50, p99 };
  }
  const { size, connections } = scenario;
  const reachedBefore = await reached(upstream);
  const done = await burst(target, size, connections, seconds);
  const arrived = (await reached(upstream)) - reachedBefore;
  const wrong = wrongWith(done, arrived, Buffer.byteLength(answers[size]), connections);
  if (wrong !== undefined) throw new Error(`${scenario.name}, ${target.name}: ${wrong}`);
  return { calls: done.requests, elapsed: done.microseconds / 1_000_000, p50: done.p50, p99: done.p99 };
}

async function reached({ origin }: Upstream): Promise<number> {
  const response = await fetch(`${origin}/count`);
  return ((await response.json()) as { count: number }).count;
}
