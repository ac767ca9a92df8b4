import { calculatePKCECodeChallenge } from 'oauth4webapi';
import type { Clock } from '../clock.ts';
import { boundOf } from '../connectors/connection-settings.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES, type ServiceRules } from '../connectors/provider-rules.ts';
import { asValetkeyError } from '../errors.ts';
import { hashToken, newToken, type ConnectorId, type FlowId, type UserId } from '../ids.ts';
import type { Log } from '../log.ts';
import { unionScopes } from './challenge.ts';
import type { ConnectStore, Pending, Registration } from './connect-store.ts';
import type { Owner } from './connection.ts';
import { printable, type Discovered, type Discovery } from './discovery.ts';
import { failed, type Asked, type Outcome, type StagedConnect } from './outcome.ts';
import { classify } from './refusal.ts';
import type { Registrations } from './registration.ts';
import { captured, formOf, urlWith } from './rules.ts';
import type { Sealing } from './sealing.ts';
import type { Settle } from './settle.ts';
import type { ConnectionStore } from './store.ts';
import { judge, safeCode, type RawAnswer } from './token-answer.ts';
import type { TokenEndpoint } from './token-request.ts';

/** The state of RFC 6749 and everything that the callback must compare lives this long. */
const PENDING_MS = 10 * 60_000;
/** Longer than an exchange: a callback without an outcome by then belongs to a process that died. */
const CONCLUDED_MS = 40_000;

export type Connect = {
  /** What a connect would ask for, for the page before it. */
  preview(
    connector: Connector,
    extraScopes: readonly string[],
    owner: Owner,
  ): Promise<{ found: Discovered; scopes: string[] }>;
  /** What is replayed at refresh, besides the client. */
  termsOf(
    connector: Connector,
    found: Discovered,
    scopes: readonly string[],
  ): Omit<Asked['terms'], 'clientId' | 'authMethod' | 'redirectUri'>;
  /** Returns where the browser goes. */
  begin(request: {
    connector: Connector;
    user: UserId;
    owner: Owner;
    scopes: readonly string[];
    flow: FlowId;
    returnTo: string | null;
    browser: string;
  }): Promise<{ url: string; registration: Registration }>;
  /** The callback, after state, browser and user were found to belong together. */
  finish(pending: Pending, registration: Registration, query: URLSearchParams): Promise<Outcome>;
  /** Judges answers that were committed before a crash. */
  recoverStaged(minimumAgeMs: number): Promise<number>;
  /** Resolves when no exchange of this process is open. */
  settled(): Promise<void>;
};

export function createConnect(options: {
  store: ConnectStore;
  connections: ConnectionStore;
  discovery: Discovery;
  registrations: Registrations;
  tokens: TokenEndpoint;
  sealing: Sealing;
  settle: Settle;
  clock: Clock;
  log: Log;
  connectorById: (tenant: Connector['tenant'], id: ConnectorId) => Connector | undefined;
}): Connect {
  const { store, connections, discovery, registrations, tokens, sealing, settle, clock, log } = options;
  const underWay = new Map<string, Promise<Outcome>>();

  async function preview(connector: Connector, extra: readonly string[], owner: Owner) {
    const found = await discovery.discover(connector);
    const existing = await connections.findOwned(connector.tenant, connector.id, owner);
    const before = existing !== undefined && existing.status !== 'revoked' ? existing.scopesRequested : [];
    const configured = connector.oauth?.scopes ?? [];
    const base = configured.length > 0 ? configured : (found.challengeScopes ?? found.resourceScopes ?? []);
    // A step-up asks for what was there before as well: a provider replaces, it does not add.
    const scopes = unionScopes(base, extra.length > 0 ? before : [], extra);
    const offline = configured.length === 0 && scopes.length > 0 && found.scopesSupported.includes('offline_access');
    const asked = offline ? unionScopes(scopes, ['offline_access']) : scopes;
    const offlineScope = connector.oauth?.rules.offlineScope ?? null;
    return { found, scopes: offlineScope === null || asked.length === 0 ? asked : unionScopes(asked, [offlineScope]) };
  }

  function resourceOf(connector: Connector, found: Discovered): string | null {
    const setting = connector.oauth?.resource ?? 'auto';
    if (setting === 'none') return null;
    return setting === 'auto' ? found.resource : setting;
  }

  const termsOf: Connect['termsOf'] = (connector, found, scopes) => ({
    issuer: found.issuer,
    tokenEndpoint: found.tokenEndpoint,
    revocationEndpoint: found.revocationEndpoint,
    userinfoEndpoint: found.userinfoEndpoint,
    introspectionEndpoint: found.introspectionEndpoint,
    resource: resourceOf(connector, found),
    scopeOnRefresh: repeatedScope(connector, scopes),
    catalogueVersion: connector.oauth?.rules.catalogueVersion ?? 0,
  });

  async function finish(pending: Pending, registration: Registration, query: URLSearchParams): Promise<Outcome> {
    const begun = await sealing.openFor<Asked>(pending.tenant, pending.stateHash, 'pending', pending.sealed);
    const { returnTo } = begun;
    const connector = options.connectorById(pending.tenant, pending.connector);
    if (connector === undefined) return failed('not_found', returnTo);
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
    const asked = withCallback(begun, rules, query);

    // RFC 9207 §2.4, plain comparison. What a wrong issuer has to say is not shown.
    const iss = query.get('iss');
    const expected = asked.typed && asked.issuer.startsWith('endpoint:') ? null : asked.issuer;
    if (iss === null ? asked.issPromised : expected !== null && iss !== expected)
      return failed('connect_issuer_mismatch', returnTo);
    const error = query.get('error');
    if (error !== null) return authorizationError(safeCode(error), registration, returnTo);
    const code = query.get('code');
    if (code === null || code === '') return failed('authorization_failed', returnTo);

    let raw: RawAnswer;
    try {
      raw = await tokens.send({
        issuer: asked.terms.issuer,
        endpoint: asked.terms.tokenEndpoint,
        client: await registrations.identity(registration, connector),
        form: formOf(rules, 'exchange'),
        parameters: {
          ...rules.exchange.parameters,
          grant_type: 'authorization_code',
          code,
          redirect_uri: registration.redirectUri,
          ...(asked.verifier === null ? {} : { code_verifier: asked.verifier }),
          ...(asked.terms.resource === null ? {} : { resource: asked.terms.resource }),
        },
        timeoutMs: 30_000,
      });
    } catch (thrown) {
      const known = asValetkeyError(thrown);
      log.warn({ err: known, flow: pending.flow, connector: connector.id }, 'a code exchange got no answer');
      return failed('exchange_failed', returnTo, { message: `The code could not be exchanged: ${known.message}` });
    }
    if (raw.status < 200 || raw.status >= 300) return await refused(raw, registration, asked, rules);

    // From here on there may be a grant that exists nowhere else: it is committed before anything is judged.
    const staged: StagedConnect = {
      kind: 'connect',
      raw,
      asked: { ...asked, verifier: null },
      registration: registration.id,
      user: pending.user,
      flow: pending.flow,
    };
    return await settle.commit(connector, staged, async () => await refused(raw, registration, asked, rules));
  }

  async function refused(
    raw: RawAnswer,
    registration: Registration,
    asked: Asked,
    rules: ServiceRules,
  ): Promise<Outcome> {
    const { returnTo } = asked;
    const judged = judge(raw, rules);
    if (judged.kind === 'tokens') return failed('exchange_failed', returnTo);
    if (judged.kind === 'unreadable') {
      return failed('exchange_failed', returnTo, {
        message: `The token endpoint gave no usable answer: ${judged.why}.`,
      });
    }
    if (/redirect/i.test(judged.code)) {
      return failed('redirect_uri_mismatch', returnTo, { redirectUri: registration.redirectUri });
    }
    if (
      classify(raw, judged, rules.errors).class === 'client_config' ||
      /^(invalid_client|unauthorized_client|incorrect_client_credentials|bad_client_secret|invalid_client_id)$/.test(
        judged.code,
      )
    ) {
      const alive = await registrations.proveAlive(
        { ...registration, createdAt: 0 },
        { issuer: asked.terms.issuer, tokenEndpoint: asked.terms.tokenEndpoint },
      );
      return alive ? failed('client_refused', returnTo) : failed('client_vanished', returnTo);
    }
    return failed('exchange_failed', returnTo, {
      message: `The service refused to exchange the code: ${judged.code}.`,
    });
  }

  return {
    preview,
    termsOf,
    async begin({ connector, user, owner, scopes: extra, flow, returnTo, browser }) {
      const { found, scopes } = await preview(connector, extra, owner);
      const registration = await registrations.ensure(connector, found);
      const { oauth } = connector;
      const state = newToken(32);
      const verifier = oauth?.pkce === false ? null : newToken(48);
      const resource = resourceOf(connector, found);
      const asked: Asked = {
        verifier,
        issuer: found.issuer,
        typed: found.typed,
        issPromised: found.issPromised,
        scopes,
        returnTo,
        owner,
        bound: boundOf(connector),
        terms: {
          ...termsOf(connector, found, scopes),
          clientId: registration.clientId,
          authMethod: registration.authMethod,
          redirectUri: registration.redirectUri,
        },
      };
      const now = clock.now();
      const stateHash = hashToken(state);
      await store.addPending(
        {
          tenant: connector.tenant,
          stateHash,
          user,
          connector: connector.id,
          registration: registration.id,
          browserHash: hashToken(browser),
          sealed: await sealing.sealFor(connector.tenant, stateHash, 'pending', asked),
          flow,
          createdAt: now,
          expiresAt: now + PENDING_MS,
          consumedAt: null,
          outcome: null,
        },
        now,
      );
      const url = new URL(found.authorizationEndpoint);
      const parameters: Record<string, string | null> = {
        ...oauth?.additionalParams,
        response_type: 'code',
        client_id: registration.clientId,
        redirect_uri: registration.redirectUri,
        state,
        code_challenge: verifier === null ? null : await calculatePKCECodeChallenge(verifier),
        code_challenge_method: verifier === null ? null : 'S256',
        scope:
          scopes.length === 0 || oauth?.rules.scopesFixed === true ? null : scopes.join(oauth?.scopeSeparator ?? ' '),
        resource,
      };
      const { rename, omit } = (oauth?.rules ?? PLAIN_RULES).authorize;
      const left = new Set<string>(omit);
      for (const [name, value] of Object.entries(parameters)) {
        const own = rename[name as keyof typeof rename] ?? name;
        if (value !== null && !left.has(name)) url.searchParams.set(own, value);
      }
      return { url: url.href, registration };
    },

    async finish(pending, registration, query) {
      const key = `${pending.tenant}/${pending.stateHash}`;
      const running = underWay.get(key);
      if (running !== undefined) return await running;
      if (!(await store.consumePending(pending, clock.now()))) return await concluded(pending, registration);
      const work = finish(pending, registration, query)
        .catch((thrown: unknown): Outcome => {
          const error = asValetkeyError(thrown);
          log.error({ err: error, flow: pending.flow }, 'a connect could not be finished');
          return { kind: 'failed', code: error.code, message: error.message, hint: error.hint, returnTo: null };
        })
        .then(async (outcome) => {
          await store.concludePending(pending, JSON.stringify(outcome));
          return outcome;
        })
        .finally(() => underWay.delete(key));
      underWay.set(key, work);
      return await work;
    },

    async settled() {
      while (underWay.size > 0) await Promise.all(underWay.values());
    },

    recoverStaged: async (minimumAgeMs) => await settle.recover(minimumAgeMs),
  };

  /** A second hit of the same callback, perhaps while the first one is still at work in another process. */
  async function concluded(pending: Pending, registration: Registration): Promise<Outcome> {
    const wait = CONCLUDED_MS - (clock.now() - (pending.consumedAt ?? clock.now()));
    for (let waited = 0; waited <= wait; waited += 250) {
      const current = await store.pending(registration, pending.stateHash);
      if (current?.outcome) return JSON.parse(current.outcome) as Outcome;
      await clock.sleep(250);
    }
    return failed('exchange_failed', null);
  }
}

/** What the callback tells about the account, which can also say where its code is to be exchanged. */
function withCallback(asked: Asked, rules: ServiceRules, query: URLSearchParams): Asked {
  const values = captured(rules, 'callback', (name) => query.get(name));
  const tokenEndpoint = urlWith(rules, rules.exchange.url, values) ?? asked.terms.tokenEndpoint;
  return { ...asked, terms: { ...asked.terms, tokenEndpoint, values } };
}

/** Services with one resource per token forget which one it was. */
function repeatedScope(connector: Connector, scopes: readonly string[]): string | null {
  const { rules, scopeSeparator } = connector.oauth ?? {};
  return rules?.refresh.repeat.includes('scope') === true && scopes.length > 0 ? scopes.join(scopeSeparator) : null;
}

function authorizationError(code: string, registration: Registration, returnTo: string | null): Outcome {
  if (/^(access_denied|user_denied|consent_required|login_required|user_cancelled.*)$/.test(code)) {
    return failed('connect_denied', returnTo);
  }
  if (/redirect/.test(code)) {
    return failed('redirect_uri_mismatch', returnTo, { redirectUri: registration.redirectUri });
  }
  if (code === 'unauthorized_client' || code === 'invalid_client') return failed('client_refused', returnTo);
  return failed('authorization_failed', returnTo, {
    message: `The service ended the sign-in with: ${printable(code)}.`,
  });
}
