import type { Clock } from '../clock.ts';
import type { LoginAuth } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import type { Secret } from '../secret.ts';
import type { MintAnswer } from './mint-request.ts';
import { classify } from './refusal.ts';
import { claimsOf, expiryOfJwt, judge, parseBody, type RawAnswer } from './token-answer.ts';
import { retryAfter } from './token-request.ts';

const MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 30_000;

export type Login = {
  enter(auth: LoginAuth, username: string, password: Secret): Promise<MintAnswer>;
  /** With the token that the last answer brought; undefined when the document has no place for that. */
  refresh(auth: LoginAuth, refreshToken: string): Promise<MintAnswer> | undefined;
};

/** Login endpoints that answer with a token, outside any standard. @throws ValetkeyError egress_* when no answer came */
export function createLogin(options: { egress: Egress; clock: Clock }): Login {
  const { egress, clock } = options;

  async function post(auth: LoginAuth, url: string, fields: Record<string, unknown>): Promise<RawAnswer> {
    const sentAt = clock.now();
    const form = auth.body === 'form';
    const texts = Object.entries(fields).map(([name, value]): [string, string] => [name, String(value)]);
    const answer = await egress.request(url, {
      method: 'POST',
      headers: {
        accept: 'application/json',
        'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json',
      },
      body: form ? new URLSearchParams(texts).toString() : JSON.stringify(fields),
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
      freshConnection: true,
    });
    return {
      status: answer.status,
      contentType: answer.headers.get('content-type') ?? '',
      body: answer.body.toString('utf8'),
      retryAfterMs: retryAfter(answer.headers.get('retry-after'), clock.now()),
      sentAt,
    };
  }

  return {
    async enter(auth, username, password) {
      const fields = {
        ...auth.additionalFields,
        [auth.usernameField]: username,
        [auth.passwordField]: password.unwrap(),
      };
      return read(auth, await post(auth, auth.loginUrl, fields));
    },
    refresh(auth, refreshToken) {
      if (auth.refreshUrl === undefined) return undefined;
      const fields = { ...auth.additionalFields, [auth.refreshTokenField]: refreshToken };
      return post(auth, auth.refreshUrl, fields).then((raw) => read(auth, raw));
    },
  };
}

function read(auth: LoginAuth, raw: RawAnswer): MintAnswer {
  const body = parseBody(raw) ?? {};
  const accessToken = at(body, auth.tokenPath);
  if (raw.status >= 200 && raw.status < 300 && typeof accessToken === 'string' && accessToken !== '') {
    const life = Number(at(body, auth.expiresInPath) ?? 0);
    const refreshToken = at(body, auth.refreshTokenPath);
    return {
      kind: 'tokens',
      sentAt: raw.sentAt,
      accessToken,
      refreshToken: typeof refreshToken === 'string' && refreshToken !== '' ? refreshToken : null,
      // Absent or nonsense means unknown: a refusal of the service tells then.
      expiresAt: Number.isFinite(life) && life > 0 ? raw.sentAt + Math.floor(life) * 1_000 : expiryOfJwt(accessToken),
      scopes: null,
      account: subjectOf(accessToken),
    };
  }
  // What a login endpoint refuses with 400, 401 or 403 is what was entered.
  if ([400, 401, 403, 422].includes(raw.status)) {
    return { kind: 'refused', class: 'grant_dead', code: `http_${raw.status}`, retryAfterMs: null };
  }
  const judged = judge(raw);
  if (judged.kind === 'tokens') return misread(raw);
  const refusal = classify(raw, judged);
  return raw.status < 300 ? misread(raw) : { kind: 'refused', ...refusal, retryAfterMs: raw.retryAfterMs };
}

/** An answer of success without a token where the document says that it stands. */
const misread = (raw: RawAnswer): MintAnswer => ({
  kind: 'refused',
  class: 'request_bug',
  code: 'no_token_at_path',
  retryAfterMs: raw.retryAfterMs,
});

function subjectOf(token: string): { subject: string | null; label: string | null } {
  const sub = claimsOf(token)?.['sub'];
  return { subject: typeof sub === 'string' ? sub : null, label: null };
}

/** A member of an answer, from the outside in; only members of its own count. */
function at(body: Record<string, unknown>, path: string): unknown {
  let value: unknown = body;
  for (const step of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}
