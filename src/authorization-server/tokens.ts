import { createHash, timingSafeEqual } from 'node:crypto';
import { errors, type Client, type KoaContextWithOIDC, type Provider } from 'oidc-provider';
import type { Clock } from '../clock.ts';
import { hashToken, newToken } from '../ids.ts';
import { toRecord } from './adapter.ts';
import { belongsTo, claimedGrant, mintRefreshToken } from './chain.ts';
import { DEVICE_GRANT, type DevicePayload } from './device-code.ts';
import type { Targets } from './resources.ts';
import { openBy, sealBy } from './self-sealed.ts';
import type { Store, StoredRecord } from './store.ts';

export const CODE_SECONDS = 60;
export const GRANT_SECONDS = 180 * 24 * 3_600;
const REFRESH_IDLE_SECONDS = 60 * 24 * 3_600;
/** Within it every use of a refresh token gets the answer that the first one got. */
const SUCCESSOR_WINDOW_MS = 30_000;
/** How long what was spent is kept. Replays of codes are told by it; those of refresh tokens at any time. */
const SPENT_MS = 3_600_000;

type Source = {
  model: 'AuthorizationCode' | 'RefreshToken' | 'DeviceCode';
  bearer: string;
  grant: string;
  account: string;
  resource: string;
  scope: string;
  /** When the chain began, in seconds. */
  began: number;
};

type Answer = { access_token: string; refresh_token?: string; token_type: 'Bearer'; expires_in: number; scope: string };

export type TokenOptions = {
  store: Store;
  clock: Clock;
  targets: Targets;
  accessTokenTtlSeconds: number;
  /** Whether the person behind an account may still act. */
  isActive(account: string): Promise<boolean>;
  revokeGrant(grant: string, reason: string): Promise<void>;
};

function refuse(detail: string): errors.InvalidGrant {
  return new errors.InvalidGrant(detail);
}

/**
 * The grants of the token endpoint in place of the engine's own: everything is validated before anything is
 * consumed, and what is consumed and what is issued for it are one transaction. A process that dies in between, or two
 * that race, leave either the old token usable or one successor, never neither.
 */
export function registerGrants(provider: Provider, options: TokenOptions): void {
  const { store, clock, targets } = options;
  const seconds = (): number => Math.floor(clock.now() / 1_000);

  function issue(
    source: Source,
    clientId: string,
    chainKey: string | undefined,
  ): { answer: Answer; records: StoredRecord[] } {
    const now = seconds();
    const shared = { iat: now, accountId: source.account, clientId, grantId: source.grant, scope: source.scope };
    const accessToken = newToken(32);
    const access = {
      ...shared,
      kind: 'AccessToken',
      aud: source.resource,
      gty: 'authorization_code',
      exp: now + options.accessTokenTtlSeconds,
    };
    const records = [toRecord('AccessToken', accessToken, access, access.exp * 1_000)];
    const answer: Answer = {
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: options.accessTokenTtlSeconds,
      scope: source.scope,
    };
    if (chainKey !== undefined) {
      answer.refresh_token = mintRefreshToken(source.grant, chainKey);
      const refresh = {
        ...shared,
        kind: 'RefreshToken',
        gty: 'authorization_code',
        resource: source.resource,
        iiat: source.began,
        exp: Math.min(now + REFRESH_IDLE_SECONDS, source.began + GRANT_SECONDS),
      };
      records.push(toRecord('RefreshToken', answer.refresh_token, refresh, refresh.exp * 1_000));
    }
    return { answer, records };
  }

  /** RFC 8707 §2.2: a later request may name the granted resource or none. */
  function checkResource(ctx: KoaContextWithOIDC, granted: string): void {
    if (targets.find(granted) === undefined) throw new errors.InvalidTarget('the connector is not there any more');
    const presented = ctx.oidc.params?.['resource'];
    if (presented === undefined) return;
    const target = typeof presented === 'string' ? targets.named(presented) : undefined;
    if (target?.kind === 'absent') return;
    if (target?.kind !== 'resource' || target.resource.uri !== granted) {
      throw new errors.InvalidTarget('the resource is not the one that was granted');
    }
  }

  /** What is asked for beyond the grant is dropped (RFC 6749 §6); the answer says what is left. */
  function narrow(ctx: KoaContextWithOIDC, granted: string): string {
    const presented = ctx.oidc.params?.['scope'];
    if (typeof presented !== 'string' || presented === '') return granted;
    const had = new Set(granted.split(' '));
    const kept = presented.split(' ').filter((scope) => had.has(scope));
    return kept.length === 0 ? granted : [...new Set(kept)].join(' ');
  }

  /** Answers the key of the chain. */
  async function checkGrant(source: Source, clientId: string): Promise<string> {
    const record = await store.find('Grant', hashToken(source.grant), clock.now());
    if (record === undefined) throw refuse('the grant was revoked or has expired');
    if (record.client_id !== clientId || record.account !== source.account) throw refuse('the grant is another one');
    if (!(await options.isActive(source.account))) throw refuse('the user may not sign in any more');
    return (JSON.parse(record.payload) as { chainKey: string }).chainKey;
  }

  async function authorizationCode(ctx: KoaContextWithOIDC): Promise<void> {
    const { client, params = {} } = ctx.oidc;
    const { code: bearer, redirect_uri: redirectUri, code_verifier: verifier } = params;
    if (client === undefined) throw new errors.InvalidRequest('no client');
    if (typeof bearer !== 'string') throw new errors.InvalidRequest("missing required parameter 'code'");
    if (typeof redirectUri !== 'string') throw new errors.InvalidRequest("missing required parameter 'redirect_uri'");

    // The engine judges expiry by a clock of its own, the store by ours: what has expired is not found.
    const code = await provider.AuthorizationCode.find(bearer, { ignoreExpiration: true });
    if (code === undefined || code.clientId !== client.clientId) throw refuse('authorization code not found');
    if (code.redirectUri !== redirectUri)
      throw refuse('redirect_uri differs from the one of the authorization request');
    if (!proves(verifier, code.codeChallenge)) throw refuse('code_verifier does not match');
    const source: Source = {
      model: 'AuthorizationCode',
      bearer,
      grant: code.grantId ?? '',
      account: code.accountId ?? '',
      resource: String(code.resource),
      scope: code.scope ?? '',
      began: seconds(),
    };
    if ((code as { consumed?: unknown }).consumed !== undefined) {
      await options.revokeGrant(source.grant, 'authorization code used twice');
      throw refuse('the authorization code was used before');
    }
    checkResource(ctx, source.resource);
    const chainKey = await checkGrant(source, client.clientId);

    ctx.body = await redeem(source, client, chainKey);
  }

  /** What a person's answer is worth, once. */
  async function redeem(source: Source, client: Client, chainKey: string): Promise<Answer> {
    const refreshable = client.grantTypeAllowed('refresh_token');
    const { answer, records } = issue(source, client.clientId, refreshable ? chainKey : undefined);
    const now = clock.now();
    const spent = { model: source.model, idHash: hashToken(source.bearer), now, keepUntil: now + SPENT_MS };
    if (await store.exchange({ ...spent, successor: null }, records)) return answer;
    await options.revokeGrant(source.grant, `${source.model} used twice`);
    throw refuse('the code was used before');
  }

  /** RFC 8628 §3.4. */
  async function deviceCode(ctx: KoaContextWithOIDC): Promise<void> {
    const { client, params = {} } = ctx.oidc;
    const bearer = params['device_code'];
    if (client === undefined) throw new errors.InvalidRequest('no client');
    if (typeof bearer !== 'string') throw new errors.InvalidRequest("missing required parameter 'device_code'");
    const record = await store.find('DeviceCode', hashToken(bearer), clock.now());
    if (record === undefined) throw new errors.ExpiredToken('the device code is not known or has expired');
    if (record.client_id !== client.clientId) throw refuse('device code not found');
    const { params: request, error } = JSON.parse(record.payload) as DevicePayload;
    if (error !== undefined) throw new errors.AccessDenied('the person did not allow it');
    if (record.grant_id === null) throw new errors.AuthorizationPending();
    const source: Source = {
      model: 'DeviceCode',
      bearer,
      grant: record.grant_id,
      account: record.account ?? '',
      resource: request.resource ?? '',
      scope: request.scope ?? '',
      began: seconds(),
    };
    if (record.consumed_at !== null) {
      await options.revokeGrant(source.grant, 'device code used twice');
      throw refuse('the device code was used before');
    }
    checkResource(ctx, source.resource);
    ctx.body = await redeem(source, client, await checkGrant(source, client.clientId));
  }

  async function refreshToken(ctx: KoaContextWithOIDC): Promise<void> {
    const { client, params = {} } = ctx.oidc;
    const bearer = params['refresh_token'];
    if (client === undefined) throw new errors.InvalidRequest('no client');
    if (typeof bearer !== 'string') throw new errors.InvalidRequest("missing required parameter 'refresh_token'");

    const hash = hashToken(bearer);
    const record = await store.find('RefreshToken', hash, clock.now());
    if (record === undefined) await lookForReplay(bearer, client.clientId);
    if (record === undefined || record.client_id !== client.clientId) throw refuse('refresh token not found');
    const token = JSON.parse(record.payload) as { resource: string; scope: string; iiat: number };
    const source: Source = {
      model: 'RefreshToken',
      bearer,
      grant: record.grant_id ?? '',
      account: record.account ?? '',
      resource: token.resource,
      scope: token.scope,
      began: token.iiat,
    };
    checkResource(ctx, source.resource);
    const chainKey = await checkGrant(source, client.clientId);
    if (record.consumed_at !== null) {
      ctx.body = await successorOf(record, source);
      return;
    }

    const issued = issue(source, client.clientId, chainKey);
    const scope = narrow(ctx, source.scope);
    if (scope !== source.scope) {
      const narrowed = issue({ ...source, scope }, client.clientId, undefined);
      issued.records[0] = narrowed.records[0] as StoredRecord;
      issued.answer = { ...narrowed.answer, refresh_token: issued.answer.refresh_token };
    }
    const now = clock.now();
    const successor = sealBy(bearer, 'successor', JSON.stringify({ ...issued.answer, issued: now }));
    const spent = { model: source.model, idHash: hash, now, keepUntil: now + SPENT_MS, successor };
    if (await store.exchange(spent, issued.records)) {
      ctx.body = issued.answer;
      return;
    }
    const taken = await store.find('RefreshToken', hash, clock.now());
    if (taken === undefined) throw refuse('refresh token not found');
    ctx.body = await successorOf(taken, source);
  }

  /** A refresh token that is not kept any more, but was issued in a chain that lives, was spent long ago. */
  async function lookForReplay(bearer: string, clientId: string): Promise<void> {
    const grant = claimedGrant(bearer);
    const record = grant === undefined ? undefined : await store.find('Grant', hashToken(grant), clock.now());
    if (grant === undefined || record === undefined || record.client_id !== clientId) return;
    const { chainKey } = JSON.parse(record.payload) as { chainKey: string };
    if (belongsTo(bearer, grant, chainKey)) await options.revokeGrant(grant, 'refresh token used after its time');
  }

  /** The answer that a consumed refresh token was exchanged for, while the window is open; later it is a replay. */
  async function successorOf(record: StoredRecord, source: Source): Promise<Answer> {
    const consumedAt = record.consumed_at ?? 0;
    const text =
      record.successor !== null && clock.now() - consumedAt <= SUCCESSOR_WINDOW_MS
        ? openBy(source.bearer, 'successor', record.successor)
        : undefined;
    if (text === undefined) {
      await options.revokeGrant(source.grant, 'refresh token used again');
      throw refuse('the refresh token was used before');
    }
    const { issued, ...answer } = JSON.parse(text) as Answer & { issued: number };
    const elapsed = Math.floor((clock.now() - issued) / 1_000);
    return { ...answer, expires_in: Math.max(0, answer.expires_in - elapsed) };
  }

  const resourceTwice = ['resource'];
  provider.registerGrantType(
    'authorization_code',
    authorizationCode,
    ['code', 'code_verifier', 'redirect_uri', 'resource'],
    resourceTwice,
  );
  provider.registerGrantType(DEVICE_GRANT, deviceCode, ['device_code', 'resource'], resourceTwice);
  provider.registerGrantType('refresh_token', refreshToken, ['refresh_token', 'scope', 'resource'], resourceTwice);
}

/** RFC 7636 §4.6, S256 only. A verifier without a challenge is refused as well: it points to a stripped challenge. */
function proves(verifier: unknown, challenge: string | undefined): boolean {
  if (typeof verifier !== 'string' || !/^[A-Za-z0-9._~-]{43,128}$/.test(verifier) || challenge === undefined)
    return false;
  const expected = Buffer.from(challenge);
  const actual = Buffer.from(createHash('sha256').update(verifier).digest('base64url'));
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}
