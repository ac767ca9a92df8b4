import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';
import { startServerEverything } from '../fixtures/server-everything.ts';
import type { ServerEverything } from '../fixtures/server-everything.ts';

describe.each(['streamableHttp', 'sse'] as const)("the project's reference server over %s", (transport) => {
  let upstream: ServerEverything;
  let gateway: TestGateway;
  let alice: Profile;

  beforeAll(async () => {
    upstream = await startServerEverything(transport);
    gateway = await startGateway();
    await gateway.apply({ name: 'everything', kind: 'mcp', url: upstream.url });
    alice = plainProfile(await gateway.invite('Alice'));
  });
  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it('is called, reports progress, and offers its prompts and resources through the gateway', async () => {
    const session = await connectSdkClient({
      url: gateway.mcpUrl('everything'),
      era: 'legacy',
      authorize: (url) => alice.authorize(url),
    });
    const { client } = session;
    const { tools } = await client.listTools();
    expect(tools.map((tool) => tool.name)).toEqual(expect.arrayContaining(['echo', 'get-sum']));
    expect(textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }))).toContain('hello');

    const steps: number[] = [];
    const long = await client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 0.5, steps: 5 } },
      { onprogress: (progress) => steps.push(progress.progress) },
    );
    expect(textOf(long)).toContain('completed');
    expect(steps.length).toBeGreaterThanOrEqual(4);

    const { resources } = await client.listResources();
    expect(resources.length).toBeGreaterThan(0);
    const read = await client.readResource({ uri: resources[0]!.uri });
    expect(read.contents.length).toBeGreaterThan(0);
    const { prompts } = await client.listPrompts();
    expect(prompts.length).toBeGreaterThan(0);
    await session.close();
  });
});
