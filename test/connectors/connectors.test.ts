import { expect, it } from 'vitest';
import { createAudit } from '../../src/audit/audit.ts';
import { systemClock } from '../../src/clock.ts';
import { mayUse } from '../../src/connectors/connector.ts';
import { createConnectors, type Connectors } from '../../src/connectors/connectors.ts';
import { loadProviders } from '../../src/connectors/provider.ts';
import type { Database } from '../../src/database/database.ts';
import { createEgress } from '../../src/egress/egress.ts';
import type { TenantId } from '../../src/ids.ts';
import { createLog } from '../../src/log.ts';
import { Secret } from '../../src/secret.ts';
import { fileKeySource } from '../../src/vault/key-source.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import { describeStores } from '../database/stores.ts';

const tenant = 'default' as TenantId;
const log = createLog({ level: 'silent' });
const egress = createEgress({ allow: ['loopback'] });
const document = (extra: Record<string, unknown> = {}) => ({
  name: 'files',
  url: 'https://files.example/mcp',
  ...extra,
});
const oauth = (extra: Record<string, unknown> = {}) => ({
  type: 'oauth2',
  clientId: 'app',
  clientSecret: 'canary-secret',
  authorizationUrl: 'https://idp.example/authorize',
  tokenUrl: 'https://idp.example/token',
  ...extra,
});

describeStores('connectors', (open, store) => {
  async function build(database?: Database): Promise<{ connectors: Connectors; vault: Vault }> {
    const db = database ?? (await open());
    const vault = await createVault({
      database: db,
      clock: systemClock,
      keySource: fileKeySource({ dataDir: await store.dataDir() }),
    });
    const connectors = await createConnectors({
      database: db,
      vault,
      clock: systemClock,
      audit: createAudit({ database: db, clock: systemClock }),
      log,
      providers: loadProviders(),
      checkUrl: (url) => egress.check(url),
    });
    return { connectors, vault };
  }

  it('finds a connector as soon as it was written, and after a restart', async () => {
    const { connectors } = await build();
    const made = await connectors.create(tenant, document({ title: 'Files' }), 'user:usr_1');
    expect(made).toMatchObject({ name: 'files', revision: 1, source: 'api', oauth: null });
    expect(connectors.find(tenant, 'files')).toBe(made);
    expect(connectors.find('other' as TenantId, 'files')).toBeUndefined();
    expect(connectors.byId('other' as TenantId, made.id)).toBeUndefined();
    const { query } = await open();
    expect(await query.selectFrom('audit_events').select(['action', 'actor', 'object']).execute()).toEqual([
      { action: 'connector.created', actor: 'user:usr_1', object: `connector:${made.id}` },
    ]);
    const again = await build(await store.restart());
    expect(again.connectors.find(tenant, 'files')?.document).toEqual(made.document);
  });

  it('takes a name once, and counts revisions so that a late writer is told', async () => {
    const { connectors } = await build();
    await connectors.create(tenant, document(), 'a');
    await expect(connectors.create(tenant, document(), 'a')).rejects.toMatchObject({ code: 'connector_exists' });
    const { connector } = await connectors.put(tenant, 'files', document({ title: 'Two' }), 'a', 1);
    expect(connector.revision).toBe(2);
    await expect(connectors.put(tenant, 'files', document(), 'a', 1)).rejects.toMatchObject({ code: 'conflict' });
    await expect(connectors.patch(tenant, 'files', { title: 'x' }, 'a', 1)).rejects.toMatchObject({ code: 'conflict' });
    await expect(connectors.remove(tenant, 'files', 'a', 1)).rejects.toMatchObject({ code: 'conflict' });
    expect(connectors.find(tenant, 'files')?.document.title).toBe('Two');
  });

  it('lets one of many concurrent writers of a revision win', async () => {
    const { connectors } = await build();
    await connectors.create(tenant, document(), 'a');
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => connectors.patch(tenant, 'files', { title: `t${index}` }, 'a', 1)),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(connectors.find(tenant, 'files')?.revision).toBe(2);
  });

  it('stores a plain secret sealed, gives it to no reader, and keeps it over a change', async () => {
    const { connectors } = await build();
    const made = await connectors.create(tenant, document({ auth: oauth() }), 'a');
    expect(JSON.stringify(made)).not.toContain('canary');
    const database = await open();
    expect(JSON.stringify(await database.query.selectFrom('connectors').selectAll().execute())).not.toContain('canary');
    expect((await connectors.clientSecret(made))?.unwrap()).toBe('canary-secret');
    const patched = await connectors.patch(tenant, 'files', { title: 'New' }, 'a');
    expect((await connectors.clientSecret(patched))?.unwrap()).toBe('canary-secret');
    await connectors.put(tenant, 'files', patched.document, 'a');
    expect((await connectors.clientSecret(patched))?.unwrap()).toBe('canary-secret');
    const restarted = await build(await store.restart());
    expect((await restarted.connectors.clientSecret(patched))?.unwrap()).toBe('canary-secret');
  });

  it('asks for a stored secret again when it would go to another address', async () => {
    const { connectors } = await build();
    await connectors.create(tenant, document({ auth: oauth() }), 'a');
    const moves: [unknown, string][] = [
      [{ auth: { tokenUrl: 'https://evil.example/token' } }, 'auth.tokenUrl'],
      [{ auth: { issuer: 'https://evil.example' } }, 'auth.issuer'],
      [{ auth: { revocationUrl: 'https://evil.example/revoke' } }, 'auth.revocationUrl'],
      [{ auth: { registrationUrl: 'https://evil.example/register' } }, 'auth.registrationUrl'],
      [{ url: 'https://evil.example/mcp' }, 'url'],
    ];
    for (const [change, moved] of moves) {
      await expect(connectors.patch(tenant, 'files', change, 'a')).rejects.toMatchObject({
        code: 'secret_required',
        message: expect.stringContaining(`${moved} changes`),
      });
    }
    expect(connectors.find(tenant, 'files')?.revision).toBe(1);
    const change = { auth: { tokenUrl: 'https://new.example/token', clientSecret: 'second' } };
    const moved = await connectors.patch(tenant, 'files', change, 'a');
    expect((await connectors.clientSecret(moved))?.unwrap()).toBe('second');
    await connectors.patch(tenant, 'files', { url: 'https://files.example/other', auth: { scopes: 'a' } }, 'a');
  });

  it('asks again for a static token when the host of the service changes', async () => {
    const { connectors } = await build();
    await connectors.create(tenant, document({ auth: { type: 'bearer', token: 'canary' } }), 'a');
    await expect(connectors.patch(tenant, 'files', { url: 'https://evil.example/' }, 'a')).rejects.toMatchObject({
      code: 'secret_required',
    });
  });

  it('refuses "***" where nothing is stored', async () => {
    const { connectors } = await build();
    const input = document({ auth: { type: 'bearer', token: '***' } });
    await expect(connectors.create(tenant, input, 'a')).rejects.toMatchObject({ code: 'connector_invalid' });
    expect(connectors.find(tenant, 'files')).toBeUndefined();
  });

  it('another type of auth starts afresh and drops what was sealed', async () => {
    const { connectors } = await build();
    await connectors.create(tenant, document({ auth: oauth() }), 'a');
    const changed = await connectors.patch(tenant, 'files', { auth: { type: 'bearer', token: 'b' } }, 'a');
    expect(changed.document.auth).toEqual({ type: 'bearer', token: '***' });
    expect((await connectors.staticCredential(changed))?.fields['token']?.unwrap()).toBe('b');
    const back = connectors.patch(tenant, 'files', { auth: oauth({ clientSecret: '***' }) }, 'a');
    await expect(back).rejects.toMatchObject({ code: 'connector_invalid' });
  });

  it('builds the credential of each static type', async () => {
    const { connectors, vault } = await build();
    await vault.secrets.put(tenant, 'FILES', new Secret('named'));
    const cases: [Record<string, unknown>, Record<string, string>][] = [
      [
        { type: 'bearer', token: { secret: 'FILES' } },
        { token: 'named', access_token: 'named' },
      ],
      [{ type: 'api-key', header: 'X-Key', value: 'v' }, { value: 'v' }],
      [
        { type: 'basic', username: 'u', password: 'p' },
        { username: 'u', password: 'p', basic: 'dTpw' },
      ],
      [
        { type: 'headers', headers: { 'X-A': 'a', 'X-B': { secret: 'FILES' } } },
        { 'X-A': 'a', 'X-B': 'named' },
      ],
    ];
    for (const [auth, fields] of cases) {
      const { connector } = await connectors.put(tenant, 'files', document({ auth }), 'a');
      const credential = await connectors.staticCredential(connector);
      const opened = Object.entries(credential?.fields ?? {}).map(([name, value]) => [name, value.unwrap()]);
      expect(Object.fromEntries(opened)).toEqual(fields);
      expect(credential?.key).toBe(`static:${connector.id}`);
    }
  });

  it('a connector without its secret is there, says what is missing, and works once it comes', async () => {
    const { connectors, vault } = await build();
    const made = await connectors.create(
      tenant,
      document({ auth: { type: 'bearer', token: { secret: 'LATER' } } }),
      'a',
    );
    expect(await connectors.staticCredential(made)).toBeNull();
    expect(await connectors.missing(made)).toMatchObject([{ field: 'auth.token' }]);
    await vault.secrets.put(tenant, 'LATER', new Secret('one'));
    const first = await connectors.staticCredential(made);
    expect(first?.fields['token']?.unwrap()).toBe('one');
    expect(await connectors.staticCredential(made)).toBe(first);
    await vault.secrets.put(tenant, 'LATER', new Secret('two'));
    const second = await connectors.staticCredential(made);
    expect(second?.fields['token']?.unwrap()).toBe('two');
    expect(second?.generation).toBeGreaterThan(first?.generation ?? 0);
    expect(await connectors.missing(made)).toEqual([]);
    for (const auth of [{ type: 'bearer' }, { type: 'api-key' }, { type: 'oauth2', registration: 'static' }]) {
      const { connector } = await connectors.put(tenant, 'files', document({ auth }), 'a');
      expect(await connectors.missing(connector)).toHaveLength(1);
    }
  });

  it('makes declared connectors what the file says, and a second start changes nothing', async () => {
    const { connectors } = await build();
    const files = document({ auth: { type: 'bearer', token: 'from-file' } });
    await connectors.declare(tenant, [files, document({ name: 'mail' })]);
    await connectors.declare(tenant, [files, document({ name: 'mail' })]);
    expect(connectors.list(tenant).map(({ name, revision, source }) => [name, revision, source])).toEqual([
      ['files', 1, 'file'],
      ['mail', 1, 'file'],
    ]);
    await connectors.declare(tenant, [
      document({ auth: { type: 'bearer', token: 'rotated' } }),
      document({ name: 'mail' }),
    ]);
    const found = connectors.list(tenant).filter(({ name }) => name === 'files');
    expect(found.map(({ revision }) => revision)).toEqual([2]);
    const [credential] = await Promise.all(found.map((one) => connectors.staticCredential(one)));
    expect(credential?.fields['token']?.unwrap()).toBe('rotated');
    const changes = [
      () => connectors.put(tenant, 'files', files, 'a'),
      () => connectors.patch(tenant, 'files', { title: 'x' }, 'a'),
      () => connectors.remove(tenant, 'files', 'a'),
    ];
    for (const change of changes) await expect(change()).rejects.toMatchObject({ code: 'connector_declared' });
  });

  it('writes no declared connector when one of them is wrong', async () => {
    const { connectors } = await build();
    const wrong = [document(), document({ name: 'mail', titel: 'x' })];
    await expect(connectors.declare(tenant, wrong)).rejects.toThrow(/^connectors\[1\]: titel /);
    await expect(connectors.declare(tenant, [document(), document()])).rejects.toThrow(/declared twice/);
    expect(connectors.list(tenant)).toEqual([]);
  });

  it('switches off what is no longer declared and leaves it to the API', async () => {
    const { connectors } = await build();
    await connectors.declare(tenant, [document({ auth: { type: 'bearer', token: 'kept' } })]);
    await connectors.declare(tenant, []);
    expect(connectors.find(tenant, 'files')).toMatchObject({ source: 'api', document: { active: false } });
    const back = await connectors.patch(tenant, 'files', { active: true }, 'a');
    expect((await connectors.staticCredential(back))?.fields['token']?.unwrap()).toBe('kept');
    await connectors.remove(tenant, 'files', 'a');
    expect(connectors.find(tenant, 'files')).toBeUndefined();
  });

  it('fills in the row of the provider, and the document wins over it', async () => {
    const { connectors } = await build();
    const auth = { type: 'oauth2', provider: 'google', additionalParams: { prompt: 'select_account' }, parameters: {} };
    const made = await connectors.create(tenant, document({ auth }), 'a');
    expect(made.oauth).toMatchObject({
      tokenUrl: 'https://oauth2.googleapis.com/token',
      additionalParams: { access_type: 'offline', prompt: 'select_account' },
      pkce: true,
    });
    expect(made.document.auth).not.toHaveProperty('tokenUrl');
    const wrong = connectors.patch(tenant, 'files', { auth: { provider: 'gogle' } }, 'a');
    await expect(wrong).rejects.toMatchObject({ code: 'connector_invalid', hint: 'Did you mean google?' });
  });

  it('takes URL parameters that fit into their place only', async () => {
    const { connectors } = await build();
    const auth = (parameters: Record<string, string>, tokenUrl = 'https://login.example/{tenantId}/token') =>
      document({
        auth: { type: 'oauth2', authorizationUrl: 'https://login.example/{tenantId}/authorize', tokenUrl, parameters },
      });
    const { connector } = await connectors.put(tenant, 'files', auth({ tenantId: 'contoso.example' }), 'a');
    expect(connector.oauth?.tokenUrl).toBe('https://login.example/contoso.example/token');
    for (const value of ['../x', 'a/b', 'a?b', 'a#b', 'a@b', 'a:1', '', 'a\nb']) {
      await expect(connectors.put(tenant, 'files', auth({ tenantId: value }), 'a')).rejects.toMatchObject({
        code: 'connector_invalid',
      });
    }
    await expect(connectors.put(tenant, 'files', auth({}), 'a')).rejects.toThrow(/tenantId is missing/);
    const host = '{instanceUrl}/token';
    for (const value of [
      'http://a.example',
      'https://a.example/x',
      'https://u@a.example',
      'https://127.0.0.2:x',
      'x',
    ]) {
      const input = auth({ tenantId: 't', instanceUrl: value }, host);
      await expect(connectors.put(tenant, 'files', input, 'a')).rejects.toMatchObject({
        code: 'connector_invalid',
      });
    }
    await expect(
      connectors.put(tenant, 'files', auth({ tenantId: 't', instanceUrl: 'https://10.0.0.1' }, host), 'a'),
    ).rejects.toThrow(/auth.tokenUrl: /);
    await expect(connectors.put(tenant, 'files', auth({ tenantId: 't', other: 'x' }), 'a')).rejects.toThrow(/other/);
  });

  it('is for the people it allows, for owners, and never for another tenant', async () => {
    const { connectors } = await build();
    const allow = { users: ['Ada@Example.com', 'usr_2'] };
    const made = await connectors.create(tenant, document({ access: { allow } }), 'a');
    const person = { tenant, user: 'usr_1', email: 'eve@example.com', role: 'member' as const };
    expect(mayUse(made, person)).toBe(false);
    expect(mayUse(made, { ...person, email: 'ada@example.com' })).toBe(true);
    expect(mayUse(made, { ...person, user: 'usr_2' })).toBe(true);
    expect(mayUse(made, { ...person, role: 'owner' })).toBe(true);
    expect(mayUse(made, { ...person, role: 'owner', tenant: 'other' as TenantId })).toBe(false);
  });

  it('has no per-user connection for callers whom nobody signed in', async () => {
    const { connectors } = await build();
    const input = document({ access: { mode: 'public' }, auth: oauth() });
    await expect(connectors.create(tenant, input, 'a')).rejects.toThrow(/^access.mode: public/);
    await connectors.create(tenant, { ...input, auth: oauth({ owner: 'tenant' }) }, 'a');
  });

  it('tells listeners what changed, and keeps what one user saw from another', async () => {
    const { connectors } = await build();
    const seen: string[] = [];
    connectors.onChanged((id, connector) => seen.push(`${id} ${connector?.revision ?? 'removed'}`));
    const made = await connectors.create(tenant, document(), 'a');
    await connectors.catalogue.record(made, 'usr_1', [{ name: 'private' }]);
    expect(await connectors.catalogue.tools(made, 'usr_2')).toBeUndefined();
    await connectors.catalogue.record(made, 'anonymous', [{ name: 'open' }]);
    expect(await connectors.catalogue.tools(made, 'usr_2')).toMatchObject({
      audience: 'anonymous',
      tools: [{ name: 'open' }],
    });
    expect(await connectors.catalogue.tools(made, 'usr_1')).toMatchObject({ tools: [{ name: 'private' }] });
    expect(await connectors.catalogue.record(made, 'usr_1', [{ name: 'x'.repeat(5_000_000) }])).toBe(false);
    await connectors.remove(tenant, 'files', 'a');
    expect(seen).toEqual([`${made.id} 1`, `${made.id} removed`]);
    const remade = await connectors.create(tenant, document(), 'a');
    expect(await connectors.catalogue.tools(remade, 'usr_1')).toBeUndefined();
  });

  it('replicas that start together declare the same once', { skip: store.kind === 'sqlite' }, async () => {
    const replicas = [await build(), await build(await store.replica()), await build(await store.replica())];
    const declared = Array.from({ length: 5 }, (_, index) =>
      document({ name: `files-${index}`, auth: { type: 'bearer', token: `t${index}` } }),
    );
    await Promise.all(replicas.map(({ connectors }) => connectors.declare(tenant, declared)));
    const { query } = await open();
    const rows = await query.selectFrom('connectors').select(['name', 'source']).orderBy('name').execute();
    expect(rows).toEqual(declared.map(({ name }) => ({ name, source: 'file' })));
  });

  it('another process sees the change', { skip: store.kind === 'sqlite' }, async () => {
    const here = await build();
    const there = await build(await store.replica());
    const heard = new Promise<number | undefined>((resolve) =>
      there.connectors.onChanged((_, connector) => resolve(connector?.revision)),
    );
    await here.connectors.create(tenant, document(), 'a');
    expect(await heard).toBe(1);
    expect(there.connectors.find(tenant, 'files')?.document.url).toBe('https://files.example/mcp');
  });
});
