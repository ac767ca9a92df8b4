/**
 * `npm run bench`: a call through Valetkey against the direct call and against nginx with a static header, in
 * interleaved rounds on loopback. Prints a table, and writes a JSON file into bench/results.
 *
 *   --quick             about a minute instead of six
 *   --targets a,b       of direct, nginx, valetkey, sdk; direct and nginx are always there
 *   --only NAME,NAME    these scenarios alone
 *   --profile           writes a CPU profile of the gateway beside the JSON file
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { end, forked, run } from './child.ts';
import { measure, referenceAnswer, type Upstream } from './measure.ts';
import { nginxVersion, startNginx } from './nginx.ts';
import { interleave, summarise } from './rounds.ts';
import { planOf, type Scenario } from './scenarios.ts';
import { bytesPerStream } from './stream-delay.ts';
import { memoryLines, resultLines, type Memory, type Result } from './table.ts';
import type { Target } from './target.ts';
import { residentBytes } from './usage.ts';
import { startValetkey, type Valetkey } from './valetkey.ts';
import { PATH, STATIC_TOKEN, type Size } from './wire.ts';
import { wrkVersion } from './wrk.ts';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    targets: { type: 'string', default: 'direct,nginx,valetkey,sdk' },
    only: { type: 'string' },
    profile: { type: 'boolean', default: false },
  },
});

const started = performance.now();
const here = import.meta.dirname;
const results = join(here, 'results');
const folder = mkdtempSync(join(tmpdir(), 'valetkey-bench-'));
const closing: (() => Promise<void>)[] = [];

try {
  await run(join(here, 'bench-deps'), []);
  mkdirSync(results, { recursive: true });
  await bench();
} finally {
  for (const close of closing.toReversed()) await close();
  rmSync(folder, { recursive: true, force: true });
}

async function bench(): Promise<void> {
  const plan = planOf(options.quick);
  const only = options.only?.split(',');
  const { child, origin } = await forked(join(here, 'upstream.ts'), []);
  closing.push(() => end(child));
  const upstream: Upstream = { origin, pid: child.pid ?? 0 };
  const targets = await startTargets(origin);

  const answers = new Map<Target, Record<Size, string>>();
  for (const target of targets) {
    const untouched = target.name !== 'sdk';
    answers.set(target, {
      small: await referenceAnswer(target, 'small', untouched),
      large: await referenceAnswer(target, 'large', untouched),
    });
  }
  const sample = async (scenario: Scenario, name: string, seconds?: number) => {
    const target = targets.find((candidate) => candidate.name === name) as Target;
    return await measure(scenario, target, upstream, answers.get(target) as Record<Size, string>, seconds);
  };

  const measured: Result[] = [];
  for (const scenario of plan.scenarios.filter(({ name }) => only?.includes(name) ?? true)) {
    const withSdk = scenario.kind === 'closed' && scenario.withSdk === true;
    const names = targets.map(({ name }) => name).filter((name) => withSdk || name !== 'sdk');
    if (measured.length === 0) for (const name of names) await sample(scenario, name, plan.warmUpSeconds);
    const mayRepeat = (): boolean => performance.now() - started < plan.budgetSeconds * 1_000;
    const rounds = await interleave(names, scenario.rounds, (name) => sample(scenario, name), mayRepeat);
    const summaries = names.map((name) => [name, summarise(rounds.rounds, name, 'nginx', 'direct')] as const);
    const result: Result = { scenario, ...rounds, summaries: Object.fromEntries(summaries) };
    measured.push(result);
    console.log(resultLines(result).join('\n'));
  }

  const memory: Record<string, Memory> = {};
  for (const target of targets.filter(({ name }) => name === 'nginx' || name === 'valetkey')) {
    const afterLoad = residentBytes(target.pids);
    const { startMs, idleBytes: idle } = target as Partial<Valetkey>;
    memory[target.name] = { startMs, idle, afterLoad, perStream: await bytesPerStream(target, plan.heldStreams) };
  }
  console.log(memoryLines(memory, plan.heldStreams).join('\n'));

  const machine = await machineFacts();
  console.log(
    `\n${Object.entries(machine)
      .map(([name, value]) => `${name} ${value}`)
      .join(' · ')}`,
  );
  const at = new Date().toISOString();
  const file = join(results, `${at.slice(0, 19).replaceAll(':', '')}.json`);
  const seconds = Math.round((performance.now() - started) / 1_000);
  writeFileSync(file, `${JSON.stringify({ at, options, seconds, machine, memory, measured }, null, 2)}\n`);
  console.log(`${seconds} s; written to bench/results/${file.slice(results.length + 1)}`);
}

async function startTargets(upstream: string): Promise<Target[]> {
  const wanted = new Set(options.targets.split(','));
  const unknown = [...wanted].filter((name) => !['direct', 'nginx', 'valetkey', 'sdk'].includes(name));
  if (unknown.length > 0) throw new Error(`--targets: ${unknown.join(', ')} is not known`);
  const url = `${upstream}${PATH}`;
  const targets: Target[] = [{ name: 'direct', url, token: STATIC_TOKEN, pids: [], close: async () => undefined }];
  targets.push(await startNginx(upstream, folder));
  closing.push(...targets.map((target) => () => target.close()));
  if (wanted.has('valetkey')) {
    const profile = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${results}`] : [];
    const valetkey = await startValetkey(upstream, folder, profile);
    closing.push(() => valetkey.close());
    targets.push(valetkey);
  }
  if (wanted.has('sdk')) {
    const { child, origin } = await forked(join(here, 'sdk-gateway.ts'), [url]);
    closing.push(() => end(child));
    const close = (): Promise<void> => end(child);
    targets.push({ name: 'sdk', url: `${origin}${PATH}`, token: 'none', pids: [child.pid ?? 0], close });
  }
  return targets;
}

async function machineFacts(): Promise<Record<string, string>> {
  const [first] = cpus();
  const commit = await run('git', ['-C', here, 'describe', '--always', '--dirty']).catch(() => 'unknown');
  return {
    commit: commit.trim(),
    node: process.version,
    nginx: await nginxVersion(),
    wrk: await wrkVersion(),
    kernel: release(),
    cores: `${cpus().length} × ${first?.model.trim() ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GB`,
  };
}
