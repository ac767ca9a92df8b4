import { afterAll, beforeAll, expect, it } from 'vitest';
import { required, runSuite, shortcomings } from '../conformance/suite.ts';
import { startConformanceUpstream, type ConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { openHouse, type House } from './house.ts';

/** What no bridge can give, and why. */
const UNBRIDGED: Record<string, string> = {
  'input-required-result-basic-elicitation':
    'wants the name that a 2026 service gives its question; a 2025 service asks without naming it',
  'input-required-result-multiple-input-requests':
    'wants three questions at once; a 2025 service asks them one after the other, each as a request of its own',
};

const cases = [
  { revision: '2026-07-28', only: 'legacy', unbridged: UNBRIDGED, bridged: 35 },
  { revision: '2025-11-25', only: 'modern', unbridged: {}, bridged: 30 },
] as const;

let house: House;
const upstreams: ConformanceUpstream[] = [];

beforeAll(async () => {
  house = await openHouse();
});
afterAll(async () => {
  await house.close();
  for (const upstream of upstreams) await upstream.close();
});

it.each(cases)(
  'passes $bridged scenarios that $revision asks of a server, in front of a service that knows the other era alone',
  { timeout: 90_000 },
  async ({ revision, only, unbridged, bridged }) => {
    const upstream = await startConformanceUpstream({ only });
    upstreams.push(upstream);
    const url = await house.put({ name: `only-${only}`, url: upstream.url });
    const run = await runSuite(['server', '--url', url, '--requirements', revision]);
    const names = required(revision, 'server');
    const expected = names.filter((name) => !(name in unbridged));
    expect(expected).toHaveLength(bridged);
    expect(shortcomings(expected, run.scenarios)).toEqual([]);
    // What begins to pass is no longer excused.
    const excused = names.filter((name) => name in unbridged);
    expect(shortcomings(excused, run.scenarios)).toHaveLength(excused.length);
  },
);
