import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { z } from 'zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import type { ConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { startBearerShim } from './bearer-shim.ts';
import { expectedFailures, parseSummary, required, runSuite, shortcomings } from './suite.ts';

describe('the conformance upstream by itself', { timeout: 60_000 }, () => {
  let upstream: ConformanceUpstream;
  beforeAll(async () => {
    upstream = await startConformanceUpstream();
  });
  afterAll(() => upstream.close());

  it.each([
    ['2025-11-25', 30],
    ['2026-07-28', 37],
  ])('meets every server requirement of %s, also behind the shim that adds a token', async (revision, atLeast) => {
    const names = required(revision, 'server');
    expect(names.length).toBeGreaterThanOrEqual(atLeast);
    const shim = await startBearerShim(upstream.url, 'a-token');
    try {
      const run = await runSuite(['server', '--url', shim.url, '--requirements', revision]);
      expect(shortcomings(names, run.scenarios)).toEqual([]);
      expect(run.exitCode).toBe(0);
      expect(upstream.requests.at(-1)?.headers['authorization']).toBe('Bearer a-token');
    } finally {
      await shim.close();
    }
  });
});

describe('the summary of the suite', () => {
  const output = [
    '✓ before-the-summary: 9 passed, 0 failed',
    '=== SUMMARY ===',
    '✓ good: 2 passed, 0 failed',
    '✗ bad: 1 passed, 3 failed',
    '✗ lax: 2 passed, 0 failed, 1 warnings',
    '✓ empty: 0 passed, 0 failed',
  ].join('\n');

  it('names what failed, what warned, what checked nothing and what never ran', () => {
    expect(shortcomings(['good', 'bad', 'lax', 'empty', 'before-the-summary'], parseSummary(output))).toEqual([
      'bad: 1 passed, 3 failed, 0 warnings',
      'lax: 2 passed, 0 failed, 1 warnings',
      'empty: 0 passed, 0 failed, 0 warnings',
      'before-the-summary: did not run',
    ]);
  });

  it('comes with an empty list of excused failures', async () => {
    const excused = z.object({ server: z.array(z.string()).max(0), client: z.array(z.string()).max(0) });
    expect(excused.safeParse(parse(await readFile(expectedFailures, 'utf8'))).success).toBe(true);
  });
});
