import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import { textOf, type Era } from '../clients/sdk-client.ts';
import { startConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { startServerEverything } from '../fixtures/server-everything.ts';
import { openHouse, type House } from './house.ts';

let house: House;
const closing: (() => Promise<unknown>)[] = [];
const clients: Client[] = [];

beforeAll(async () => {
  house = await openHouse();
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
});
afterAll(async () => {
  await house.close();
  for (const close of closing) await close();
});

async function connect(url: string, era: Era, capabilities = {}): Promise<Client> {
  const client = new Client(
    { name: 'client', version: '1' },
    { capabilities, versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } },
  );
  clients.push(client);
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

const eras = ['legacy', 'modern'] as const;

describe.each(['streamableHttp', 'sse'] as const)('the reference server over %s', (transport) => {
  let url = '';
  beforeAll(async () => {
    const upstream = await startServerEverything(transport);
    closing.push(() => upstream.close());
    url = await house.put({ name: `everything-${transport.toLowerCase()}`, url: upstream.url });
  });

  it.each(eras)('is listed, called, watched and read by a client that knows the %s era alone', async (era) => {
    const client = await connect(url, era);
    const { tools } = await client.listTools();
    expect(tools.map((tool) => tool.name)).toEqual(expect.arrayContaining(['echo', 'get-sum']));
    expect(textOf(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }))).toContain('hello');

    const steps: number[] = [];
    const long = await client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 0.2, steps: 4 } },
      { onprogress: ({ progress }) => steps.push(progress) },
    );
    expect(textOf(long)).toContain('completed');
    expect(steps.length).toBeGreaterThanOrEqual(3);

    const { resources } = await client.listResources();
    const read = await client.readResource({ uri: resources[0]!.uri });
    expect(read.contents.length).toBeGreaterThan(0);
    const { prompts } = await client.listPrompts();
    const prompt = await client.getPrompt({ name: prompts[0]!.name });
    expect(prompt.messages.length).toBeGreaterThan(0);
  });

  it.each(eras)('asks the person behind a client of the %s era, and goes on with the answer', async (era) => {
    const client = await connect(url, era, { elicitation: { form: {} } });
    let asked = '';
    client.setRequestHandler('elicitation/create', (request) => {
      asked = request.params.message;
      return { action: 'accept', content: { name: 'Alice' } };
    });
    const answered = await client.callTool({ name: 'trigger-elicitation-request', arguments: {} });
    expect(asked).not.toBe('');
    expect(textOf(answered)).toContain('Alice');
  });
});

describe.each(['legacy', 'modern', undefined] as const)('a service that knows the era: %s', (only) => {
  let url = '';
  beforeAll(async () => {
    const upstream = await startConformanceUpstream(only === undefined ? {} : { only });
    closing.push(() => upstream.close());
    url = await house.put({ name: `era-${only ?? 'both'}`, url: upstream.url });
  });

  it.each(eras)('asks the person behind a client of the %s era', async (era) => {
    const client = await connect(url, era, { elicitation: { form: {} } });
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { name: 'Alice' } }));
    const name = 'test_input_required_result_elicitation';
    expect(textOf(await client.callTool({ name, arguments: {} }))).toBe('Hello, Alice!');
  });

  it.each(eras)('tells a client of the %s era that its tools are others', async (era) => {
    const client = await connect(url, era);
    let heard = 0;
    client.setNotificationHandler('notifications/tools/list_changed', () => void heard++);
    if (era === 'modern') await client.listen({ toolsListChanged: true });
    await vi.waitFor(async () => {
      await client.callTool({ name: 'test_trigger_tool_change', arguments: {} });
      expect(heard).toBeGreaterThan(0);
    });
  });

  it.each(eras)('fails a call in band, with its error, for a client of the %s era', async (era) => {
    const client = await connect(url, era);
    await expect(client.callTool({ name: 'no-such-tool', arguments: {} })).rejects.toMatchObject({ code: -32602 });
    const failed = await client.callTool({ name: 'test_error_handling', arguments: {} });
    expect(failed.isError).toBe(true);
  });
});

describe('the practice service', () => {
  it.each(eras)('is called by a client of the %s era', async (era) => {
    const service = await createTestServer({ mode: 'none', port: 0 });
    closing.push(() => service.close());
    const client = await connect(await house.put({ name: `practice-${era}`, url: service.mcpUrl }), era);
    expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('whoami');
  });
});
