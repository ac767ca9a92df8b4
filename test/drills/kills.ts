import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { movableClock, systemClock } from '../../src/clock.ts';
import { createTestServer, type TestServer, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { judge, type Result } from './judge.ts';
import { startProcess, type GatewayProcess, type Row } from './process.ts';

export type Rotation = 'none' | 'soft' | 'grace' | 'until_used' | 'strict';

/** Steps at which a refresh that succeeds can be cut, and those of a connect. */
export const REFRESH_STEPS = [
  'intent_committed',
  'before_send',
  'answer_received',
  'before_commit',
  'credential_committed',
] as const;
export const CONNECT_STEPS = ['connect_answered', 'connect_staged', 'connect_committed'] as const;

/** A practice service, a data folder, and processes that follow each other on it. */
export async function scene(options: Partial<TestServerOptions> = {}, entry?: URL) {
  const clock = movableClock();
  const service: TestServer = await createTestServer({
    mode: 'oauth-dcr',
    port: 0,
    clock,
    graceSeconds: 3_600,
    accessTokenTtl: 300,
    ...options,
  });
  const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-drill-'));
  const running = new Set<GatewayProcess>();
  let moved = 0;
  return {
    service,
    dataDir,
    /** Opens the store in a process that has been started before, or a new one. */
    async open(given?: Promise<GatewayProcess>, more: { url?: string; instance?: string; sweep?: boolean } = {}) {
      const process = await (given ?? startProcess(entry));
      running.add(process);
      if (moved > 0) await process.tell({ op: 'move', ms: moved });
      await process.tell({ op: 'open', dataDir, sweep: true, ...more });
      return process;
    },
    /** The same time passes for the service and for every process. */
    async move(ms: number): Promise<void> {
      moved += ms;
      clock.move(ms);
      for (const process of running) await process.tell({ op: 'move', ms }).catch(() => running.delete(process));
    },
    async end(): Promise<void> {
      for (const process of running) await process.kill();
      await service.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** Waits until no attempt is open; what is left then is what the gateway came to. */
export async function atRest(process: GatewayProcess, withinMs = 20_000): Promise<Row[]> {
  const until = systemClock.monotonic() + withinMs;
  for (;;) {
    const rows = await process.rows();
    if (!rows.some(({ open }) => open) || systemClock.monotonic() > until) return rows;
    await systemClock.sleep(25);
  }
}

async function within(died: Promise<void>): Promise<void> {
  const late = systemClock.sleep(15_000).then(() => Promise.reject(new Error('the step was never reached')));
  await Promise.race([died, late]);
}

/** Killed at one step of a refresh, then started again; nobody asks for anything. */
export async function killAtStep(step: string, rotation: Rotation, entry?: URL): Promise<Result> {
  const began = systemClock.monotonic();
  const at = await scene({ rotation }, entry);
  try {
    const spare = startProcess(entry);
    const first = await at.open(undefined, { sweep: false });
    await first.tell({ op: 'connect', service: at.service.mcpUrl, count: 1 });
    await first.tell({ op: 'killAt', step });
    await at.move(301_000);
    await first.ask(5).catch(() => undefined);
    await within(first.died);
    const second = await at.open(spare);
    await atRest(second);
    const asked = await second.ask(3);
    const rows = await atRest(second);
    const verdict = judge(at.service, rows, { losses: rotation === 'strict' });
    // A loss is unavoidable only where the answer had left the provider and had not reached the disk.
    const mayLose = rotation === 'strict' && (step === 'answer_received' || step === 'before_commit');
    if (!mayLose && asked.served !== 3) verdict.broken.push(`I2: ${asked.refused} of 3 callers were refused`);
    if (mayLose && verdict.known !== verdict.lost) verdict.broken.push('I2: a loss is not known');
    const note = rows.map(({ status, error }) => (error === null ? status : `${status} (${error})`)).join(', ');
    return { drill: `kill at ${step}, ${rotation}`, verdict, note, ms: systemClock.monotonic() - began };
  } finally {
    await at.end();
  }
}

/** Killed at one step of a connect's callback. */
export async function killAtConnect(step: string): Promise<Result> {
  const began = systemClock.monotonic();
  const at = await scene({ rotation: 'strict' });
  try {
    const spare = startProcess();
    const first = await at.open(undefined, { sweep: false });
    await first.tell({ op: 'killAt', step });
    await first.tell({ op: 'connect', service: at.service.mcpUrl, count: 1 }).catch(() => undefined);
    await within(first.died);
    const second = await at.open(spare);
    // The start settles what was staged.
    const until = systemClock.monotonic() + 10_000;
    let rows = await second.rows();
    const settles = step !== 'connect_answered';
    if (settles) {
      while (rows[0]?.status !== 'connected' && systemClock.monotonic() < until) {
        await systemClock.sleep(25);
        rows = await second.rows();
      }
    }
    const verdict = judge(at.service, rows);
    const wanted = step === 'connect_answered' ? 'refused' : 'served';
    if ((await second.ask(1))[wanted] !== 1) verdict.broken.push(`I2: the caller was not ${wanted}`);
    const note = rows.map(({ status }) => status).join(', ') || 'not connected: to be connected again';
    return { drill: `kill at ${step}`, verdict, note, ms: systemClock.monotonic() - began };
  } finally {
    await at.end();
  }
}

/** Killed at random while callers keep several short-lived credentials in use; a spare process takes over each time. */
export async function randomKills(kills: number, rotation: Rotation, entry?: URL): Promise<Result> {
  const began = systemClock.monotonic();
  const at = await scene({ rotation, accessTokenTtl: 1, clock: systemClock }, entry);
  try {
    const first = await at.open(undefined, { sweep: false });
    await first.tell({ op: 'connect', service: at.service.mcpUrl, count: 4 });
    await first.kill();
    let killed = 0;
    let next = startProcess(entry);
    while (killed < kills) {
      const process = await at.open(next);
      next = startProcess(entry);
      await process.tell({ op: 'load' });
      await systemClock.sleep(Math.random() * 400);
      await process.kill();
      killed += 1;
    }
    const last = await at.open(next);
    await systemClock.sleep(1_100);
    const asked = await last.ask(1);
    const rows = await atRest(last);
    const verdict = judge(at.service, rows, { losses: rotation === 'strict' });
    if (rotation !== 'strict' && asked.served !== 4)
      verdict.broken.push(`I2: ${asked.refused} credentials are refused`);
    const note = `${killed} kills, ${asked.served} of 4 in use at the end`;
    return { drill: `random kills, ${rotation}`, verdict, note, ms: systemClock.monotonic() - began };
  } finally {
    await at.end();
  }
}
