import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plainProfile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';
import { openDesk } from './desk.ts';
import type { Assignment } from './desk.ts';
import { required, runSuite, shortcomings } from './suite.ts';

const adapter = join(import.meta.dirname, 'adapter.mjs');

/** The only client metadata document that the suite's `auth/basic-cimd` accepts; nobody fetches it. */
const clientMetadataUrl = 'https://conformance-test.local/client-metadata.json';

/** A gateway of its own for one scenario: signs a person in, connects them to the fake service, calls its tool. */
async function play(assignment: Assignment): Promise<void> {
  const gateway = await startGateway({ clientMetadataUrl });
  try {
    const { client_id: clientId, client_secret: clientSecret } = assignment.context;
    await gateway.apply({
      name: 'scenario',
      kind: 'mcp',
      url: assignment.serverUrl,
      auth: {
        type: 'oauth2',
        ...(clientId !== undefined && { registration: 'static', clientId, clientSecret }),
      },
    });
    await callThrough(gateway, assignment);
  } finally {
    await gateway.close();
  }
}

async function callThrough(gateway: TestGateway, assignment: Assignment): Promise<void> {
  const person = plainProfile(await gateway.invite('Person'));
  const session = await connectSdkClient({
    url: gateway.mcpUrl('scenario'),
    era: assignment.protocolVersion === '2026-07-28' ? 'modern' : 'legacy',
    authorize: (url) => person.authorize(url),
  });
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await session.client.listTools();
      const result = await session.client.callTool({ name: 'test-tool', arguments: {} });
      const link = /https?:\/\/\S+\/connect\/\S+/.exec(textOf(result))?.[0];
      if (result.isError !== true) return;
      if (link === undefined) throw new Error(`The tool failed without a link: ${textOf(result)}`);
      await person.visit(link, { until: (view) => /connected/i.test(view.title) });
    }
    throw new Error('The connect link came back three times');
  } finally {
    await session.close();
  }
}

describe('the official conformance suite, with the gateway as the client of its fake services', () => {
  it.each([
    ['2025-11-25', 14],
    ['2026-07-28', 25],
  ])('finds every authorization requirement of %s met', { timeout: 120_000 }, async (revision, atLeast) => {
    const names = required(revision, 'client').filter((name) => name.startsWith('auth/'));
    expect(names.length).toBeGreaterThanOrEqual(atLeast);
    const desk = await openDesk(async (assignment) => {
      // Those of `not_scored` are extensions; those without `auth/` are about relaying, which has its own proof.
      if (!names.includes(assignment.scenario)) throw new Error('left out');
      await play(assignment);
    });
    try {
      const run = await runSuite(
        ['client', '--command', `${process.execPath} ${adapter}`, '--requirements', revision, '--timeout', '60000'],
        { env: { CONFORMANCE_DESK: desk.url }, timeoutMs: 110_000 },
      );
      const lacking = shortcomings(names, run.scenarios);
      const stories = lacking.map((line) => `${line}\n${desk.journal.get(line.split(':')[0]!) ?? 'never called'}`);
      expect(stories).toEqual([]);
    } finally {
      await desk.close();
    }
  });
});
