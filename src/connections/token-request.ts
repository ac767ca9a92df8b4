import {
  allowInsecureRequests,
  ClientSecretPost,
  customFetch,
  genericTokenEndpointRequest,
  introspectionRequest,
  None,
  revocationRequest,
  type ClientAuth,
} from 'oauth4webapi';
import type { Clock } from '../clock.ts';
import type { Egress, OutboundRequest } from '../egress/egress.ts';
import { fail } from '../errors.ts';
import type { Secret } from '../secret.ts';
import type { RequestForm } from './rules.ts';
import type { RawAnswer } from './token-answer.ts';

/** Who we are at a token endpoint: exactly one method per request, never probed (a failed try may burn a code). */
export type ClientIdentity = {
  /** Empty: the request is from nobody in particular (RFC 7523 §3.1, RFC 8693 §2.1). */
  clientId: string;
  authMethod: string;
  secret: Secret | undefined;
  /** The next ones to try while a secret is rolled over. */
  otherSecrets?: readonly Secret[];
};

export const AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'none'] as const;

export type TokenEndpoint = {
  /**
   * One request on a connection of its own, without a repeat, a redirect or a cancel from outside.
   * @throws ValetkeyError egress_* when no answer came: what became of the request is then unknown
   */
  send(request: {
    issuer: string;
    endpoint: string;
    client: ClientIdentity;
    parameters: Record<string, string>;
    timeoutMs: number;
    /** How this service wants it, where it differs from the standard. */
    form?: RequestForm | undefined;
  }): Promise<RawAnswer>;
  /** RFC 7662. */
  introspect(request: { issuer: string; endpoint: string; client: ClientIdentity; token: Secret }): Promise<RawAnswer>;
  /** RFC 7009. */
  revoke(request: {
    issuer: string;
    endpoint: string;
    client: ClientIdentity;
    token: Secret;
    hint: 'refresh_token' | 'access_token';
  }): Promise<RawAnswer>;
};

/** Larger answers are no token answers. */
const MAX_BYTES = 64 * 1024;

export function createTokenEndpoint(options: {
  egress: Egress;
  clock: Clock;
  /** Told of each answer of a token endpoint, with its Date header. */
  onAnswer?: (answer: { endpoint: string; clientId: string; raw: RawAnswer; date: string | null }) => void;
}): TokenEndpoint {
  const { egress, clock } = options;

  /** Lets the OAuth library write the request and keeps the answer from it: it refuses most of what services send. */
  function capture(timeoutMs: number, form?: RequestForm) {
    const sentAt = clock.now();
    let raw: RawAnswer | undefined;
    let date: string | null = null;
    const send = async (
      url: string,
      init: { method: string; headers: Record<string, string>; body?: URLSearchParams | undefined },
    ) => {
      const request: OutboundRequest = {
        method: init.method,
        headers: init.headers,
        timeoutMs,
        maxBytes: MAX_BYTES,
        freshConnection: true,
      };
      const target = init.body === undefined ? url : written(request, url, init.body, form);
      const answer = await egress.request(target, request);
      date = answer.headers.get('date');
      raw = {
        status: answer.status,
        contentType: answer.headers.get('content-type') ?? '',
        body: answer.body.toString('utf8'),
        retryAfterMs: retryAfter(answer.headers.get('retry-after'), clock.now()),
        sentAt,
      };
      return new Response(null, { status: 200 });
    };
    return {
      // Plain http is judged by egress, which knows what the operator allowed.
      options: { [customFetch]: send, [allowInsecureRequests]: true },
      answer(): RawAnswer {
        if (raw === undefined) throw fail('internal', { detail: { reason: 'a token request without an answer' } });
        return raw;
      },
      date: () => date,
    };
  }

  return {
    async send({ issuer, endpoint, client, parameters, timeoutMs, form }) {
      const { grant_type: grantType = '', ...rest } = parameters;
      const captured = capture(timeoutMs, form);
      const server = { issuer, token_endpoint: endpoint };
      // The library wants a name; without one of ours, nothing of it is sent.
      const identity = { client_id: client.clientId || 'nobody' };
      const proof = client.clientId === '' ? () => undefined : authentication(client, form);
      await genericTokenEndpointRequest(server, identity, proof, grantType, rest, captured.options);
      const raw = captured.answer();
      options.onAnswer?.({ endpoint, clientId: client.clientId, raw, date: captured.date() });
      return raw;
    },
    async introspect({ issuer, endpoint, client, token }) {
      const captured = capture(5_000);
      const server = { issuer, introspection_endpoint: endpoint };
      const identity = { client_id: client.clientId };
      await introspectionRequest(server, identity, authentication(client), token.unwrap(), captured.options);
      return captured.answer();
    },
    async revoke({ issuer, endpoint, client, token, hint }) {
      const captured = capture(10_000);
      const server = { issuer, revocation_endpoint: endpoint };
      await revocationRequest(server, { client_id: client.clientId }, authentication(client), token.unwrap(), {
        ...captured.options,
        additionalParameters: { token_type_hint: hint },
      });
      return captured.answer();
    },
  };
}

/** Writes the parameters into the request as the service takes them; returns where it goes. */
function written(request: OutboundRequest, url: string, body: URLSearchParams, form: RequestForm | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of body) {
    if (form?.omit.includes(name) !== true) parameters.append(form?.rename[name] ?? name, value);
  }
  if (form?.method === 'GET') {
    const target = new URL(url);
    for (const [name, value] of parameters) target.searchParams.append(name, value);
    request.method = 'GET';
    delete request.headers?.['content-type'];
    return target.href;
  }
  if (form?.body === 'json') {
    request.headers = { ...request.headers, 'content-type': 'application/json' };
    request.body = JSON.stringify(Object.fromEntries(parameters));
  } else {
    request.body = parameters.toString();
  }
  return url;
}

function authentication(client: ClientIdentity, form?: RequestForm): ClientAuth {
  if (client.authMethod === 'none' || client.secret === undefined) return None();
  const secret = client.secret.unwrap();
  if (client.authMethod === 'client_secret_post') return ClientSecretPost(secret);
  // RFC 6749 §2.3.1 says form-encoded. The library also encodes `-`, `.` and `_`, which a form leaves alone and servers
  // that do not decode compare literally.
  const encode = form?.basicEncoding === 'raw' ? (text: string): string => text : formEncode;
  const pair = form?.basicUser === 'secret' ? `${encode(secret)}:` : `${encode(client.clientId)}:${encode(secret)}`;
  const basic = Buffer.from(pair).toString('base64');
  return (_server, _client, _body, headers) => headers.set('authorization', `Basic ${basic}`);
}

function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}

/** RFC 9110 §10.2.3: seconds or a date; at most a day is believed. */
export function retryAfter(field: string | null, now: number): number | null {
  if (field === null) return null;
  const ms = /^\d+$/.test(field.trim()) ? Number(field) * 1_000 : Date.parse(field) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), 86_400_000) : null;
}
