import type { Clock } from '../clock.ts';
import { isOtherConnector, PERSON } from '../connectors/auth-flows.ts';
import type { Connector, OAuth2Auth, OAuth2Settings } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { fail } from '../errors.ts';
import type { UserId } from '../ids.ts';
import type { Identity } from '../identity/identity.ts';
import { Secret } from '../secret.ts';
import { accountOf, type Account } from './account.ts';
import { signAssertion } from './assertion.ts';
import type { Owner, Tokens } from './connection.ts';
import type { Discovery } from './discovery.ts';
import type { Login } from './login.ts';
import { classify, type RefusalClass } from './refusal.ts';
import { formOf } from './rules.ts';
import { judge } from './token-answer.ts';
import type { ClientIdentity, TokenEndpoint } from './token-request.ts';

/** What a service answered to a request for a token that the gateway makes by itself. */
export type MintAnswer =
  | {
      kind: 'tokens';
      sentAt: number;
      accessToken: string;
      refreshToken: string | null;
      /** Milliseconds since 1970; null when the answer does not say. */
      expiresAt: number | null;
      scopes: string[] | null;
      account: Account;
    }
  | {
      kind: 'refused';
      class: RefusalClass;
      code: string;
      retryAfterMs: number | null;
      /** For the operator, where there is more to say than the code. */
      message?: string;
    };

/** What the service is asked with, read before anything is committed. */
export type Mintable = {
  /** Origin whose failures count together. */
  origin: string;
  /** @param again an earlier request may have been processed: what can be spent once is not sent again */
  send(again: boolean): Promise<MintAnswer>;
};

/** Why nothing can be asked for now: another connection that is needed first. */
export type NotYet = { lacks: 'connection' } | { lacks: 'reconnect' } | { lacks: 'time'; retryAfterMs: number };

/** The token of the same owner's connection of another connector. */
export type SubjectOf = (
  connector: Connector,
  owner: Owner,
) => Promise<{ token: Secret } | NotYet | { problem: string }>;

export type MintRequests = {
  /** @throws ValetkeyError discovery_failed, unsealing_failed */
  prepare(connector: Connector, owner: Owner, held: Tokens | null): Promise<Mintable | NotYet>;
};

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const SEND_MS = 30_000;

export function createMintRequests(options: {
  tokens: TokenEndpoint;
  login: Login;
  discovery: Discovery;
  connectors: Pick<Connectors, 'clientSecrets' | 'secretAt'>;
  users: Pick<Identity['users'], 'find'>;
  subjectOf: SubjectOf;
  clock: Clock;
}): MintRequests {
  const { tokens, login, discovery, connectors, clock } = options;

  async function prepareLogin(connector: Connector, held: Tokens | null): Promise<Mintable | NotYet> {
    const { auth } = connector.document;
    if (auth.type !== 'login') throw fail('internal', { detail: { reason: 'a login of a connector without one' } });
    const entered = held?.entered;
    const asked = connector.connection?.asks.length !== 0;
    const username = asked ? entered?.['username'] : auth.username;
    const password = asked
      ? entered?.['password'] === undefined
        ? undefined
        : new Secret(entered['password'])
      : await connectors.secretAt(connector, 'auth.password');
    if (asked && (username === undefined || password === undefined)) return { lacks: 'connection' };
    return {
      origin: new URL(auth.loginUrl).origin,
      async send(again) {
        if (username === undefined || password === undefined) return notSet('auth.username and auth.password');
        const refreshToken = again ? null : (held?.refresh_token ?? null);
        if (refreshToken !== null) {
          const refreshed = await login.refresh(auth, refreshToken)?.catch(() => undefined);
          if (refreshed?.kind === 'tokens') return refreshed;
        }
        const answer = await login.enter(auth, username, password);
        return answer.kind === 'tokens' ? { ...answer, account: { ...answer.account, label: username } } : answer;
      },
    };
  }

  async function endpointOf(connector: Connector, oauth: OAuth2Settings) {
    if (oauth.tokenUrl !== null) {
      const { tokenUrl: endpoint, issuer } = oauth;
      return { endpoint, issuer: issuer ?? `endpoint:${endpoint}`, methods: null, resource: null };
    }
    const found = await discovery.discover(connector);
    return {
      endpoint: found.tokenEndpoint,
      issuer: found.issuer,
      methods: found.authMethods,
      resource: found.resource,
    };
  }

  async function clientOf(
    connector: Connector,
    oauth: OAuth2Settings,
    methods: readonly string[] | null,
  ): Promise<ClientIdentity> {
    const [secret, ...otherSecrets] = await connectors.clientSecrets(connector);
    const basic = methods === null || methods.includes('client_secret_basic');
    const fallback = secret === undefined ? 'none' : basic ? 'client_secret_basic' : 'client_secret_post';
    return { clientId: oauth.clientId ?? '', authMethod: oauth.clientAuth ?? fallback, secret, otherSecrets };
  }

  /** `{email}` and `{user}` in a subject stand for the owner of the connection. */
  async function subjectText(text: string, connector: Connector, owner: Owner): Promise<string | undefined> {
    if (!PERSON.test(text)) return text;
    if (owner.type !== 'user') return undefined;
    const user = await options.users.find(connector.tenant, owner.id as UserId);
    return user === undefined ? undefined : text.replaceAll('{email}', user.email).replaceAll('{user}', user.id);
  }

  async function parametersOf(
    connector: Connector,
    auth: OAuth2Auth,
    oauth: OAuth2Settings,
    owner: Owner,
    place: { endpoint: string; issuer: string },
  ): Promise<Record<string, string> | NotYet | { problem: string }> {
    if (auth.flow === 'client_credentials') {
      return oauth.clientId === null
        ? { problem: 'auth.clientId is not set yet.' }
        : { grant_type: 'client_credentials' };
    }
    if (auth.flow === 'jwt_bearer') {
      const key = await connectors.secretAt(connector, 'auth.privateKey');
      const settings = auth.assertion;
      const issuer = settings?.issuer ?? oauth.clientId;
      if (key === undefined || settings === undefined) return { problem: 'auth.privateKey is not set yet.' };
      if (issuer === null) return { problem: 'auth.assertion.issuer or auth.clientId is needed.' };
      const subject = await subjectText(settings.subject ?? issuer, connector, owner);
      if (subject === undefined) return { lacks: 'connection' };
      const named: Record<string, string> = { token_endpoint: place.endpoint, issuer: place.issuer };
      const audience = named[settings.audience] ?? settings.audience;
      try {
        const assertion = signAssertion(settings, key, { issuer, subject, audience, now: clock.now() });
        return { grant_type: JWT_BEARER, assertion };
      } catch (error) {
        return { problem: `${(error as Error).message}.` };
      }
    }
    const subject = isOtherConnector(auth.subjectToken)
      ? await options.subjectOf(connector, owner)
      : await connectors
          .secretAt(connector, 'auth.subjectToken')
          .then((token) => (token === undefined ? undefined : { token }));
    if (subject === undefined) return { problem: 'auth.subjectToken is not set yet.' };
    if (!('token' in subject)) return subject;
    const actor = auth.actorToken === undefined ? undefined : await connectors.secretAt(connector, 'auth.actorToken');
    if (auth.actorToken !== undefined && actor === undefined) return { problem: 'auth.actorToken is not set yet.' };
    return {
      grant_type: TOKEN_EXCHANGE,
      subject_token: subject.token.unwrap(),
      subject_token_type: auth.subjectTokenType ?? ACCESS_TOKEN,
      ...(auth.requestedTokenType === undefined ? {} : { requested_token_type: auth.requestedTokenType }),
      ...(actor === undefined
        ? {}
        : { actor_token: actor.unwrap(), actor_token_type: auth.actorTokenType ?? ACCESS_TOKEN }),
    };
  }

  return {
    async prepare(connector, owner, held) {
      const { auth } = connector.document;
      const { oauth } = connector;
      if (auth.type !== 'oauth2' || oauth === null) return await prepareLogin(connector, held);
      const place = await endpointOf(connector, oauth);
      const parameters = await parametersOf(connector, auth, oauth, owner, place);
      if ('lacks' in parameters && typeof parameters.lacks === 'string') return parameters as NotYet;
      const { origin } = new URL(place.endpoint);
      if ('problem' in parameters) return { origin, send: async () => notSet(parameters['problem'] ?? '') };
      const client = await clientOf(connector, oauth, place.methods);
      const resource = oauth.resource === 'none' ? null : oauth.resource === 'auto' ? place.resource : oauth.resource;
      const request = {
        issuer: place.issuer,
        endpoint: place.endpoint,
        client,
        parameters: {
          ...auth.additionalParams,
          ...parameters,
          ...(oauth.scopes.length === 0 ? {} : { scope: oauth.scopes.join(oauth.scopeSeparator) }),
          ...(resource === null ? {} : { resource }),
        },
        timeoutMs: SEND_MS,
        form: formOf(oauth.rules, 'exchange'),
      };
      return {
        origin,
        async send() {
          const raw = await tokens.send(request);
          const judged = judge(raw, oauth.rules);
          if (judged.kind !== 'tokens') {
            return { kind: 'refused', ...classify(raw, judged, oauth.rules.errors), retryAfterMs: raw.retryAfterMs };
          }
          const { accessToken, expiresAt, scopes, tokenType } = judged.tokens;
          // RFC 8693 §2.2.1: N_A marks a token that is no access token, which is what was asked for where it comes.
          if (/^(dpop|mac)$/i.test(tokenType ?? '')) {
            const { message } = fail('token_type_unsupported');
            return { kind: 'refused', class: 'request_bug', code: 'token_type', retryAfterMs: null, message };
          }
          const account = accountOf(judged.tokens);
          return { kind: 'tokens', sentAt: raw.sentAt, accessToken, refreshToken: null, expiresAt, scopes, account };
        },
      };
    },
  };
}

const notSet = (message: string): MintAnswer => ({
  kind: 'refused',
  class: 'request_bug',
  code: 'not_set',
  retryAfterMs: null,
  message,
});
