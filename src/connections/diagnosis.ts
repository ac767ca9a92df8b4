import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError } from '../errors.ts';
import { newToken } from '../ids.ts';
import type { Secret } from '../secret.ts';
import type { Discovered, Discovery, Tried } from './discovery.ts';
import type { EndpointWatch, SeenAnswer } from './endpoint-watch.ts';
import { SKEW_LIMIT_MS, skewWarning } from './health.ts';
import { echoedHeaders, PROBE_PATH } from './header-check.ts';
import type { Registration } from './connect-store.ts';
import { staticAuthMethod, type Registrations } from './registration.ts';
import { judge } from './token-answer.ts';
import type { ClientIdentity, TokenEndpoint } from './token-request.ts';

export type Diagnosis = {
  check: 'discovery' | 'redirect' | 'registration' | 'clock' | 'proxy' | 'token_endpoint';
  state: 'ok' | 'warning' | 'failed' | 'skipped';
  message: string;
  hint: string | null;
  /** Every address that was tried, or what a token endpoint said last. */
  tried?: readonly Tried[];
  last?: SeenAnswer;
};

export type ClientProof = 'accepted' | 'refused' | 'unknown';

export type Doctor = {
  /**
   * Looks at everything that a connect needs. Registers nothing, spends nothing.
   * @param options.stored false for a connector that is looked at only: it has no callback of its own
   */
  examine(connector: Connector, options: { stored: boolean }): Promise<Diagnosis[]>;
  /** Sends a request through our own public URL and sees what arrives and what comes back. */
  selfCheck(): Promise<Diagnosis>;
  /** Whether the authorization server takes this client, by a made-up code that can spend nothing. */
  proveClient(connector: Connector, secret: Secret | undefined, clientId?: string): Promise<ClientProof>;
};

export function createDoctor(options: {
  discovery: Discovery;
  tokens: TokenEndpoint;
  egress: Egress;
  watch: EndpointWatch;
  registrations: Pick<Registrations, 'callbackUrl' | 'identity'>;
  publicUrl: string;
  clock: Clock;
}): Doctor {
  const { discovery, tokens, egress, watch, registrations, publicUrl, clock } = options;

  /** Who we are there, as far as the operator has entered it. */
  async function clientOf(connector: Connector, found: Discovered): Promise<ClientIdentity | undefined> {
    const clientId = connector.oauth?.clientId ?? null;
    if (clientId === null) return undefined;
    const authMethod = staticAuthMethod(connector, found);
    return await registrations.identity({ kind: 'static', clientId, authMethod } as Registration, connector);
  }

  async function prove(connector: Connector, found: Discovered, client: ClientIdentity): Promise<ClientProof> {
    try {
      const raw = await tokens.send({
        issuer: found.issuer,
        endpoint: found.tokenEndpoint,
        client,
        parameters: {
          grant_type: 'authorization_code',
          code: newToken(16),
          redirect_uri: await registrations.callbackUrl(connector),
          code_verifier: newToken(32),
        },
        timeoutMs: 10_000,
      });
      const judged = judge(raw, connector.oauth?.rules);
      if (judged.kind !== 'refusal') return 'unknown';
      // Client authentication comes first (RFC 6749 §5.2): who hears about the code has passed it.
      if (/^(invalid_grant|invalid_code|bad_verification_code|code_not_found)$/i.test(judged.code)) return 'accepted';
      return /^(invalid_client|incorrect_client_credentials|bad_client_secret|invalid_client_id)$/i.test(judged.code)
        ? 'refused'
        : 'unknown';
    } catch {
      return 'unknown';
    }
  }

  async function discovered(connector: Connector): Promise<{ found?: Discovered; said: Diagnosis }> {
    discovery.forget(connector);
    try {
      const found = await discovery.discover(connector);
      const where = found.typed ? found.tokenEndpoint : found.issuer;
      const message = `The authorization server is ${where}.`;
      return { found, said: { check: 'discovery', state: 'ok', message, hint: null, tried: found.tried } };
    } catch (thrown) {
      const { message, hint, detail } = asValetkeyError(thrown);
      const tried = (detail['tried'] ?? []) as readonly Tried[];
      return { said: { check: 'discovery', state: 'failed', message, hint, tried } };
    }
  }

  const callbackOf = async (connector: Connector, stored: boolean): Promise<string> =>
    stored ? await registrations.callbackUrl(connector) : `${publicUrl}/connect/callback/…`;

  function redirect(url: string): Diagnosis {
    if (publicUrl.startsWith('https:')) {
      const message = `The callback for clients that are registered by hand is ${url}`;
      return { check: 'redirect', state: 'ok', message, hint: 'It has to stand at the service exactly so.' };
    }
    return {
      check: 'redirect',
      state: 'warning',
      message: `The callback ${url} works in browsers on this machine only.`,
      hint: 'Set VALETKEY_PUBLIC_URL to an https address before others use the gateway.',
    };
  }

  async function registration(connector: Connector, found: Discovered, callback: string): Promise<Diagnosis> {
    const check = 'registration' as const;
    const client = await clientOf(connector, found);
    if (client !== undefined) {
      const proof = await prove(connector, found, client);
      const hint = proof === 'refused' ? 'Set them again: valetkey auth set.' : null;
      const words = {
        accepted: 'The service takes the client id and secret of the connector.',
        refused: 'The service refuses the client id or secret of the connector.',
        unknown: 'Whether the service takes the client id and secret could not be found out without a real connect.',
      };
      return {
        check,
        state: proof === 'accepted' ? 'ok' : proof === 'refused' ? 'failed' : 'warning',
        message: words[proof],
        hint,
      };
    }
    const { oauth } = connector;
    if (oauth?.registration === 'auto' && found.metadataDocuments && publicUrl.startsWith('https:')) {
      return { check, state: 'ok', message: 'The gateway presents its client-id metadata document.', hint: null };
    }
    if (oauth?.registration !== 'static' && found.registrationEndpoint !== null) {
      const message = `The gateway registers itself at ${found.registrationEndpoint} with the first connect.`;
      return { check, state: 'ok', message, hint: null };
    }
    return {
      check,
      state: 'failed',
      message: 'The service does not register clients by itself, and no client id is set.',
      hint: `Register an application there with the callback ${callback}, then: valetkey auth set.`,
    };
  }

  async function clockCheck(found: Discovered): Promise<Diagnosis> {
    const check = 'clock' as const;
    const sentAt = clock.now();
    let skew = watch.skewMs(found.tokenEndpoint);
    try {
      const { origin } = new URL(found.tokenEndpoint);
      const answer = await egress.request(origin, { method: 'HEAD', timeoutMs: 5_000, maxBytes: 1_024 });
      skew = watch.measure(origin, answer.headers.get('date'), sentAt) ?? skew;
    } catch {
      // What was measured before still counts.
    }
    if (skew === null) {
      return { check, state: 'skipped', message: 'The service does not say what time it has.', hint: null };
    }
    if (Math.abs(skew) > SKEW_LIMIT_MS) {
      const { message, hint } = skewWarning(skew);
      return { check, state: 'warning', message, hint };
    }
    return { check, state: 'ok', message: 'The clocks of the service and the gateway agree.', hint: null };
  }

  function lastAnswer(found: Discovered, client: ClientIdentity | undefined): Diagnosis {
    const check = 'token_endpoint' as const;
    const last = client === undefined ? undefined : watch.last(found.tokenEndpoint, client.clientId);
    if (last === undefined) {
      const message = 'The token endpoint has not been asked by this process yet.';
      return { check, state: 'skipped', message, hint: null };
    }
    const what =
      last.kind === 'refusal' ? `the error ${last.error}` : last.kind === 'tokens' ? 'tokens' : 'nothing readable';
    return {
      check,
      state: last.kind === 'unreadable' ? 'warning' : 'ok',
      message: `The token endpoint answered last with status ${last.status} and ${what}.`,
      hint: null,
      last,
    };
  }

  return {
    async examine(connector, { stored }) {
      const callback = await callbackOf(connector, stored);
      const { found, said } = await discovered(connector);
      if (found === undefined) return [said, redirect(callback)];
      const client = await clientOf(connector, found);
      const before = lastAnswer(found, client);
      const registered = await registration(connector, found, callback);
      return [said, redirect(callback), registered, await clockCheck(found), before];
    },

    async selfCheck() {
      const check = 'proxy' as const;
      const nonce = newToken(12);
      try {
        const answer = await egress.request(`${publicUrl}${PROBE_PATH}`, {
          headers: echoedHeaders(nonce),
          timeoutMs: 5_000,
          maxBytes: 4_096,
        });
        const lost =
          answer.status === 401 ? lostHeaders(answer.headers, answer.body.toString('utf8'), nonce) : ['the answer'];
        if (lost.length === 0) {
          return {
            check,
            state: 'ok',
            message: `Through ${publicUrl} every header arrives and comes back.`,
            hint: null,
          };
        }
        return {
          check,
          state: 'failed',
          message: `Between ${publicUrl} and the gateway these are lost: ${lost.join(', ')}.`,
          hint: 'Let the proxy pass Authorization, Mcp-*, MCP-Protocol-Version and WWW-Authenticate unchanged, and status 401 too.',
        };
      } catch (thrown) {
        return {
          check,
          state: 'skipped',
          message: `The gateway does not reach itself at ${publicUrl}: ${asValetkeyError(thrown).message}`,
          hint: 'If clients do reach it, this says nothing. Else check DNS, proxy and VALETKEY_PUBLIC_URL.',
        };
      }
    },

    async proveClient(connector, secret, clientId) {
      const { found } = await discovered(connector);
      if (found === undefined) return 'unknown';
      const known = await clientOf(connector, found);
      const id = clientId ?? known?.clientId;
      if (id === undefined) return 'unknown';
      const authMethod =
        known?.authMethod ??
        (found.authMethods?.includes('client_secret_post') === true ? 'client_secret_post' : 'client_secret_basic');
      return await prove(connector, found, { clientId: id, authMethod, secret });
    },
  };
}

/** @param body what arrived, as the gateway says it */
function lostHeaders(headers: Headers, body: string, nonce: string): string[] {
  let arrived: string[] = [];
  try {
    const parsed: unknown = JSON.parse(body);
    const names = (parsed as { arrived?: unknown }).arrived;
    if (Array.isArray(names)) arrived = names.map(String);
  } catch {
    return ['the body of the answer'];
  }
  const onTheWay = Object.keys(echoedHeaders(nonce)).filter((name) => !arrived.includes(name));
  const onTheWayBack = [
    ...(headers.get('www-authenticate')?.includes(nonce) === true ? [] : ['www-authenticate (back)']),
    ...(headers.get('mcp-session-id') === nonce ? [] : ['mcp-session-id (back)']),
  ];
  return [...onTheWay, ...onTheWayBack];
}
