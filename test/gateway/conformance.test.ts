import { afterAll, beforeAll, expect, it } from 'vitest';
import { required, runSuite, shortcomings } from '../conformance/suite.ts';
import { startConformanceUpstream, type ConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { openHouse, type House } from './house.ts';

let upstream: ConformanceUpstream;
let house: House;

beforeAll(async () => {
  upstream = await startConformanceUpstream();
  house = await openHouse();
});
afterAll(async () => {
  await house.close();
  await upstream.close();
});

for (const revision of ['2025-11-25', '2026-07-28']) {
  it(`passes everything that the ${revision} suite asks of a server, through the relay`, async () => {
    const url = await house.put({ name: 'suite', url: upstream.url });
    const run = await runSuite(['server', '--url', url, '--requirements', revision]);
    expect(shortcomings(required(revision, 'server'), run.scenarios)).toEqual([]);
  });
}
