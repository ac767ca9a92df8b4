import type { Egress } from '../egress/egress.ts';
import { Secret } from '../secret.ts';
import type { Terms } from './connection.ts';
import { claimsOf, parseBody, type TokenAnswer } from './token-answer.ts';
import type { ClientIdentity, TokenEndpoint } from './token-request.ts';

/** Whose account was linked, for people to see. Nothing is decided on it besides keeping an old refresh token. */
export type Account = { subject: string | null; label: string | null };

const LABELS = ['email', 'preferred_username', 'login', 'username', 'name', 'workspace_name'] as const;

/**
 * From the token answer itself. The ID token came straight from the token endpoint over TLS, so its signature adds
 * nothing (OpenID Connect Core §3.1.3.7).
 */
export function accountOf(tokens: TokenAnswer): Account {
  const claims = claimsOf(tokens.idToken ?? '') ?? claimsOf(tokens.accessToken) ?? {};
  const { members } = tokens;
  return {
    subject: tokens.subject ?? text(claims['sub']) ?? text(members['user_id']) ?? text(members['owner_id']) ?? null,
    label: tokens.label ?? label(claims) ?? label(members) ?? null,
  };
}

/** OpenID Connect userinfo, else RFC 7662 introspection. Best effort: a connection is whole without it. */
export async function askAccount(
  ask: { egress: Egress; tokens: TokenEndpoint; client: ClientIdentity; terms: Terms },
  accessToken: string,
): Promise<Account | undefined> {
  const { terms } = ask;
  try {
    if (terms.userinfoEndpoint !== null) {
      const answer = await ask.egress.request(terms.userinfoEndpoint, {
        headers: { authorization: `Bearer ${accessToken}`, accept: 'application/json' },
        timeoutMs: 5_000,
        maxBytes: 64 * 1024,
      });
      const found = named(answer.status, answer.body.toString('utf8'));
      if (found !== undefined) return found;
    }
    if (terms.introspectionEndpoint !== null && ask.client.authMethod !== 'none') {
      const { issuer, introspectionEndpoint: endpoint } = terms;
      const raw = await ask.tokens.introspect({ issuer, endpoint, client: ask.client, token: new Secret(accessToken) });
      return named(raw.status, raw.body);
    }
    return undefined;
  } catch {
    return undefined;
  }
}

function named(status: number, body: string): Account | undefined {
  if (status !== 200) return undefined;
  const claims = parseBody({ body, contentType: '' }) ?? {};
  const subject = text(claims['sub']);
  return subject === undefined ? undefined : { subject, label: label(claims) ?? null };
}

function label(claims: Record<string, unknown>): string | undefined {
  return LABELS.map((name) => text(claims[name])).find((value) => value !== undefined);
}

function text(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'string') return undefined;
  return (
    value
      .replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
      .trim()
      .slice(0, 200) || undefined
  );
}
