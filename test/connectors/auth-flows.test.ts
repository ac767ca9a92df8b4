import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { boundOf, connectionSettings } from '../../src/connectors/connection-settings.ts';
import { parseDocument } from '../../src/connectors/document.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createAddressGuard } from '../../src/egress/address-guard.ts';
import { ValetkeyError } from '../../src/errors.ts';

const guard = createAddressGuard(['loopback']);
const url = 'https://files.example/mcp';
const tokenUrl = 'https://login.example/token';

function parse(auth: Record<string, unknown>) {
  return parseDocument({ name: 'files', url, auth }, (address) => guard.checkUrl(new URL(address)));
}

function refusal(auth: Record<string, unknown>): string {
  try {
    parse(auth);
  } catch (error) {
    if (error instanceof ValetkeyError) return error.message;
    throw error;
  }
  throw new Error('the document was taken');
}

const oauth = (flow: string, more: Record<string, unknown> = {}) => ({ type: 'oauth2', flow, tokenUrl, ...more });

describe('a flow without a browser', () => {
  it.each(['client_credentials', 'token_exchange', 'jwt_bearer', 'type: login', 'owner: user'])(
    'is taken as docs/connectors.md shows it: %s',
    (kind) => {
      const docs = readFileSync(new URL('../../docs/connectors.md', import.meta.url), 'utf8');
      const blocks = [...docs.matchAll(/```yaml\n(auth:\n[\s\S]*?)```/g)].map(([, text = '']) => text);
      const block = blocks.find((text) => text.includes(kind));
      const { auth } = parseYaml(block ?? '') as { auth: Record<string, unknown> };
      expect(parse(auth).document.auth).toMatchObject({ type: auth['type'] });
    },
  );

  it.each([
    [oauth('client_credentials', { owner: 'user' }), 'auth.owner: must be tenant'],
    [oauth('client_credentials', { registration: 'dynamic' }), 'auth.registration: must be static'],
    [oauth('token_exchange'), 'auth.subjectToken: is needed'],
    [oauth('jwt_bearer', { privateKey: 'x' }), 'auth.assertion: is needed'],
    [oauth('client_credentials', { privateKey: 'x' }), 'auth.privateKey: belongs to flow jwt_bearer'],
    [oauth('jwt_bearer', { assertion: { claims: { exp: 1 } } }), 'auth.assertion.claims.exp: has a field of its own'],
    [oauth('jwt_bearer', { assertion: { subject: '{email}' }, owner: 'tenant' }), 'auth.owner: must be user'],
    [oauth('jwt_bearer', { assertion: { lifetime: 86_400 } }), 'auth.assertion.lifetime: '],
    [oauth('jwt_bearer', { assertion: { algorithm: 'none' } }), 'auth.assertion.algorithm: '],
    [oauth('client_credentials', { additionalParams: { assertion: 'x' } }), 'auth.additionalParams.assertion: '],
    [oauth('client_credentials', { tokenUrl: 'https://10.0.0.1/token' }), 'auth.tokenUrl: '],
    [oauth('client_credentials', { clientId: 'a', clientSecret: ['a', 'b', 'c', 'd'] }), 'auth.clientSecret: '],
    [{ type: 'login', loginUrl: 'https://169.254.169.254/login' }, 'auth.loginUrl: '],
    [{ type: 'login', loginUrl: tokenUrl, refreshUrl: 'https://10.0.0.1/' }, 'auth.refreshUrl: '],
    [{ type: 'login', loginUrl: tokenUrl, tokenPath: 'a..b' }, 'auth.tokenPath: '],
    [{ type: 'login', loginUrl: tokenUrl, owner: 'user', password: 'x' }, 'auth.password: must be left out'],
    [{ type: 'basic', owner: 'user', username: 'x' }, 'auth.username: must be left out'],
  ])('is refused at the path of what is wrong: %j', (auth, message) => {
    expect(refusal(auth)).toContain(message);
  });

  it.each([
    [oauth('client_credentials'), 'tenant'],
    [oauth('token_exchange', { subjectToken: { secret: 'S' } }), 'tenant'],
    [oauth('token_exchange', { subjectToken: { connector: 'other' } }), 'user'],
    [oauth('jwt_bearer', { assertion: {} }), 'tenant'],
    [oauth('jwt_bearer', { assertion: { subject: 'user-{user}' } }), 'user'],
    [{ type: 'oauth2' }, 'user'],
  ])('belongs to whom its token is for: %j', (auth, owner) => {
    expect(connectionSettings(parse(auth).document.auth)?.owner).toBe(owner);
  });

  it('leaves no secret in the document', () => {
    const given = oauth('jwt_bearer', {
      privateKey: 'key-text',
      assertion: {},
      clientId: 'a',
      clientSecret: ['one', 'two'],
    });
    const { document, plain } = parse(given);
    expect(JSON.stringify(document)).not.toMatch(/key-text|one|two/);
    expect([...plain].map(([path, secret]) => [path, secret.unwrap()])).toEqual([
      ['auth.clientSecret.0', 'one'],
      ['auth.clientSecret.1', 'two'],
      ['auth.privateKey', 'key-text'],
    ]);
  });
});

describe('what a person enters', () => {
  it('is bound to the addresses that it is sent to', () => {
    const bound = (auth: Record<string, unknown>, at = url) => {
      const { document } = parseDocument({ name: 'files', url: at, auth }, () => undefined);
      return boundOf({ document, connection: connectionSettings(document.auth) } as unknown as Connector);
    };
    const entered = { type: 'bearer', owner: 'user' };
    expect(bound(entered)).toBe(bound(entered, `${url}/v2`));
    expect(bound(entered)).not.toBe(bound(entered, 'https://other.example/mcp'));
    const login = { type: 'login', owner: 'user', loginUrl: tokenUrl };
    expect(bound(login)).not.toBe(bound({ ...login, loginUrl: 'https://other.example/token' }));
    expect(bound(login)).not.toBe(bound({ ...login, refreshUrl: 'https://other.example/refresh' }));
    expect(bound({ type: 'bearer', token: 'x' })).toBeUndefined();
  });
});
