import type { Connector } from '../connectors/connector.ts';
import type { Egress, OutboundRequest } from '../egress/egress.ts';
import type { Connection, Tokens } from './connection.ts';
import { urlWith } from './rules.ts';
import { parseBody } from './token-answer.ts';
import type { ClientIdentity } from './token-request.ts';

/** A service's own way to end a grant, ready to be sent but for the client's secret; sealed in the outbox. */
export type RevocationCall = {
  url: string;
  method: 'POST' | 'DELETE';
  authorization: 'bearer' | 'client' | 'none';
  body: 'json' | 'form' | 'none';
  members: Record<string, string>;
  token: string;
};

/** Null when the service has none, or one that would end more than this person's grant. */
export function revocationCall(row: Connection, held: Tokens, connector: Connector | undefined): RevocationCall | null {
  const rules = connector?.oauth?.rules;
  const rule = rules?.revocation;
  if (rules === undefined || rule?.kind !== 'request' || rule.ends === 'installation') return null;
  const token = rule.token === 'access_token' ? held.access_token : held.refresh_token;
  const used = token ?? (rule.token === 'either' ? held.access_token : null);
  if (used === null) return null;
  const known = { ...row.terms?.values, ...held.fields };
  const placed: Record<string, string> = {
    ...rules.values,
    ...known,
    clientId: row.terms?.clientId ?? '',
    token: used,
  };
  // Token and client stand in a path only, where they are encoded; the host is the rules' own.
  const url = urlWith(
    rules,
    rule.url.replaceAll(/\{(token|clientId)\}/g, (_, name: string) => `~${name}~`),
    known,
  )?.replaceAll(/~(token|clientId)~/g, (_, name: string) => encodeURIComponent(placed[name] ?? ''));
  if (url === undefined) return null;
  const members = Object.fromEntries(
    Object.entries(rule.members).map(([name, value]) => [
      name,
      value.replaceAll(/\{(\w+)\}/g, (whole, field: string) => placed[field] ?? whole),
    ]),
  );
  return { url, method: rule.method, authorization: rule.authorization, body: rule.body, members, token: used };
}

/** Where the person ends it at the service, which has no call for it; undefined when nobody knows. */
export function revocationLink(connector: Connector | undefined): string | undefined {
  const rules = connector?.oauth?.rules;
  const rule = rules?.revocation;
  if (rules === undefined || rule === undefined || rule === null || rule.kind === 'rfc7009') return undefined;
  return urlWith(rules, rule.link, {}) ?? undefined;
}

/** Whether the grant is gone, as far as the answer says. @throws ValetkeyError egress_* */
export async function sendRevocation(egress: Egress, call: RevocationCall, client: ClientIdentity): Promise<boolean> {
  const secret = client.secret?.unwrap() ?? '';
  const headers: Record<string, string> = { accept: 'application/json' };
  if (call.authorization === 'bearer') headers['authorization'] = `Bearer ${call.token}`;
  if (call.authorization === 'client') {
    headers['authorization'] = `Basic ${Buffer.from(`${client.clientId}:${secret}`).toString('base64')}`;
  }
  const request: OutboundRequest = { method: call.method, headers, timeoutMs: 10_000, maxBytes: 64 * 1024 };
  const members = Object.entries(call.members).map(([name, value]): [string, string] => [
    name,
    value.replaceAll('{clientSecret}', () => secret),
  ]);
  if (call.body === 'json') {
    headers['content-type'] = 'application/json';
    request.body = JSON.stringify(Object.fromEntries(members));
  } else if (call.body === 'form') {
    headers['content-type'] = 'application/x-www-form-urlencoded';
    request.body = new URLSearchParams(members).toString();
  }
  const answer = await egress.request(call.url, request);
  // A token that is unknown there is as good as revoked; a client that is refused has revoked nothing.
  if (answer.status >= 300) return answer.status === 400 || answer.status === 404 || answer.status === 410;
  const body = parseBody({ body: answer.body.toString('utf8'), contentType: '' });
  return body?.['ok'] !== false || /^(token_revoked|invalid_auth|token_expired)$/.test(String(body['error']));
}
