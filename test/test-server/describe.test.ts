import { describe, expect, it } from 'vitest';
import { describeTestServer } from '../../src/test-server/describe.ts';
import { MODES } from '../../src/test-server/options.ts';
import { createTestServer, printedCredentials, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { startServer } from './practice.ts';

describe('what the practice service prints', () => {
  it.each(MODES)('has all that a person needs in mode %s', async (mode) => {
    const server = await startServer({ mode });
    const { tokens, apiKeys, client } = server.credentials;
    const text = printedCredentials(server);
    expect(text.split('\n')).toEqual(describeTestServer(server));
    expect(text).toContain(server.mcpUrl);
    const values = [...Object.values(tokens), ...Object.values(apiKeys), ...Object.values(client ?? {})];
    expect(values.filter((value) => !text.includes(value))).toEqual([]);
    expect(text.includes('alice / practice')).toBe(['jwt', 'oauth', 'oauth-dcr'].includes(mode));
    expect(text.includes('/auth/register')).toBe(mode === 'oauth-dcr');
    expect([Object.keys(tokens).length > 0, Object.keys(apiKeys).length > 0, client !== undefined]).toEqual([
      mode === 'bearer',
      mode === 'apikey',
      mode === 'oauth',
    ]);
  });
});

describe('the options', () => {
  it.each([
    { options: { mode: 'basic' }, field: 'mode' },
    { options: { mode: 'none', port: 70_000 }, field: 'port' },
    { options: { mode: 'oauth', rotation: 'daily' }, field: 'rotation' },
    { options: { mode: 'oauth', accessTokenTtl: 0 }, field: 'accessTokenTtl' },
    { options: { mode: 'oauth', users: [] }, field: 'users' },
    { options: { mode: 'oauth', accesTokenTtl: 5 }, field: 'accesTokenTtl' },
  ])('are refused naming $field', async ({ options, field }) => {
    await expect(createTestServer(options as TestServerOptions)).rejects.toThrow(field);
  });

  it('say so when the port is taken', async () => {
    const server = await startServer({ mode: 'none' });
    await expect(createTestServer({ mode: 'none', port: server.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  it('set the people and their passwords', async () => {
    const server = await startServer({ mode: 'jwt', users: [{ username: 'carol', password: 'other' }] });
    const login = (username: string, password: string) =>
      fetch(`${server.url}/auth/login`, { method: 'POST', body: new URLSearchParams({ username, password }) });
    expect((await login('carol', 'other')).status).toBe(200);
    expect((await login('alice', 'practice')).status).toBe(401);
  });
});
