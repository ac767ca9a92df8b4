import type { ServiceRules } from '../connectors/provider-rules.ts';
import { splitScopes } from './challenge.ts';
import { at, firstAt, textAt } from './rules.ts';

/** What a token endpoint sent, before anyone judged it. */
export type RawAnswer = {
  status: number;
  contentType: string;
  body: string;
  /** Milliseconds that Retry-After asks for. */
  retryAfterMs: number | null;
  /** When the request left, on our clock: lifetimes count from here. */
  sentAt: number;
};

export type TokenAnswer = {
  accessToken: string;
  refreshToken: string | null;
  tokenType: string | null;
  /** Milliseconds since 1970; null when the answer does not say. */
  expiresAt: number | null;
  grantExpiresAt: number | null;
  /** Null when the answer names none. */
  scopes: string[] | null;
  idToken: string | null;
  /** The whole answer, for declared extra fields and the account's name. */
  members: Record<string, unknown>;
  /** Whose account it is, where the rules say how it can be told. */
  subject: string | null;
  label: string | null;
};

/** Of the rules of a service, those that its answers are read by. */
export type AnswerRules = Pick<ServiceRules, 'answer' | 'lifetimes'>;

export type Judged =
  | { kind: 'tokens'; tokens: TokenAnswer }
  /** An error that the body states, under whatever status. `code` is short, printable and safe to log. */
  | { kind: 'refusal'; code: string; description: string }
  /** Nothing that can be read as either. */
  | { kind: 'unreadable'; why: string };

const TEN_YEARS_S = 315_360_000;

/** Reads JSON or a form, whatever the label says: some label JSON as text. */
export function parseBody(raw: Pick<RawAnswer, 'body' | 'contentType'>): Record<string, unknown> | undefined {
  const text = raw.body.trim();
  if (text.startsWith('{')) {
    try {
      const parsed: unknown = JSON.parse(text);
      return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
        ? (parsed as Record<string, unknown>)
        : undefined;
    } catch {
      return undefined;
    }
  }
  if (text === '' || text.startsWith('<') || !/^[^\s=&]+=/.test(text)) return undefined;
  return Object.fromEntries(new URLSearchParams(text));
}

/** Where tokens stand in the answers of services that nest them, by shape, where no rules say it. */
function tokenObject(body: Record<string, unknown>): Record<string, unknown> | undefined {
  if (nonEmpty(body['access_token']) || nonEmpty(body['accessToken'])) return body;
  for (const name of ['authed_user', 'data', 'token']) {
    const inner = body[name];
    if (typeof inner === 'object' && inner !== null && !Array.isArray(inner)) {
      const record = inner as Record<string, unknown>;
      if (nonEmpty(record['access_token']) || nonEmpty(record['accessToken'])) return record;
    }
  }
  return undefined;
}

/**
 * Judges an answer by its body first and its status second: errors come under 200, tokens under 201, and a gateway's
 * HTML under anything.
 * @param rules where this service puts what; paths that they leave out are looked for by shape
 */
export function judge(raw: RawAnswer, rules?: AnswerRules): Judged {
  const body = parseBody(raw);
  const good = raw.status >= 200 && raw.status < 300;
  if (body === undefined) return { kind: 'unreadable', why: `status ${raw.status}, ${kindOfBody(raw)}` };
  const error = ruledError(body, rules) ?? statedError(body);
  if (error !== undefined) return { kind: 'refusal', ...error };
  const holder = good ? (ruledTokens(body, rules) ?? tokenObject(body)) : undefined;
  if (holder === undefined) return { kind: 'unreadable', why: `status ${raw.status}, no access token and no error` };
  const paths = rules?.answer;
  const unit = paths?.unit === 'ms' ? 1_000 : 1;
  const told = firstAt(body, beside(body, rules, 'expiresIn'));
  const scheme = string(holder['token_type'] ?? holder['tokenType']) ?? null;
  const stated = told ?? holder['expires_in'] ?? holder['expiresIn'] ?? body['expires_in'];
  const never = paths?.zeroMeans === 'never' && Number(stated) === 0 && stated !== null && stated !== '';
  const inSeconds = seconds(stated, unit);
  const lifetime = never ? null : inSeconds;
  const grantLife = seconds(
    firstAt(body, paths?.grantExpiresIn) ??
      holder['refresh_token_expires_in'] ??
      holder['x_refresh_token_expires_in'] ??
      holder['refresh_expires_in'],
  );
  const accessToken = textAt(body, paths?.accessToken) ?? string(holder['access_token'] ?? holder['accessToken']) ?? '';
  const absolute = absoluteTime(firstAt(body, paths?.expiresAt) ?? holder['expires_at'] ?? holder['expiresAt']);
  const preset = rules?.lifetimes.accessTokenSeconds;
  return {
    kind: 'tokens',
    tokens: {
      accessToken,
      // Both tokens have to be of one pair: the refresh token of the object that the access token came from goes first.
      refreshToken:
        string(holder['refresh_token'] ?? holder['refreshToken']) ??
        textAt(body, beside(body, rules, 'refreshToken')) ??
        null,
      tokenType: scheme,
      expiresAt:
        lifetime !== null
          ? raw.sentAt + lifetime * 1_000
          : never
            ? null
            : (absolute ?? expiryOfJwt(accessToken) ?? (preset === undefined ? null : raw.sentAt + preset * 1_000)),
      grantExpiresAt: grantLife === null ? null : raw.sentAt + grantLife * 1_000,
      scopes: scopesOf(
        firstAt(body, beside(body, rules, 'scope')) ?? holder['scope'] ?? holder['scopes'] ?? body['scope'],
      ),
      idToken: string(body['id_token'] ?? holder['id_token']) ?? null,
      members: holder === body ? body : { ...body, ...holder },
      subject: shown(textAt(body, paths?.subject)),
      label: shown(textAt(body, paths?.label)),
    },
  };
}

/** The object that holds the access token of the first path at which one stands. */
function ruledTokens(
  body: Record<string, unknown>,
  rules: AnswerRules | undefined,
): Record<string, unknown> | undefined {
  const path = rules?.answer.accessToken?.find((one) => nonEmpty(at(body, one)));
  if (path === undefined) return undefined;
  const holder = path.includes('.') ? at(body, path.slice(0, path.lastIndexOf('.'))) : body;
  return holder as Record<string, unknown>;
}

/** Of the paths for something that belongs to a token, those beside the access token that is used, where there are any. */
function beside(
  body: unknown,
  rules: AnswerRules | undefined,
  name: 'refreshToken' | 'expiresIn' | 'scope',
): string[] | undefined {
  const paths = rules?.answer[name];
  const access = rules?.answer.accessToken?.find((one) => nonEmpty(at(body, one)));
  if (access === undefined) return paths;
  const place = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('.')));
  const near = paths?.filter((one) => place(one) === place(access)) ?? [];
  return near.length > 0 ? near : paths;
}

function ruledError(
  body: Record<string, unknown>,
  rules: AnswerRules | undefined,
): { code: string; description: string } | undefined {
  const { failure = [], errorCode, errorText } = rules?.answer ?? {};
  const failing = failure.some(({ path, equals, not }) => {
    const value = at(body, path);
    if (equals !== undefined) return value === equals;
    if (not !== undefined) return typeof value === 'number' && value !== not;
    return value !== undefined && value !== null && value !== '' && value !== false;
  });
  const code = textAt(body, errorCode);
  if (!failing && (code === undefined || ruledTokens(body, rules) !== undefined || tokenObject(body) !== undefined)) {
    return undefined;
  }
  const stated = statedError(body);
  return {
    code: code === undefined ? (stated?.code ?? 'error') : safeCode(code),
    description: textAt(body, errorText) ?? stated?.description ?? '',
  };
}

function statedError(body: Record<string, unknown>): { code: string; description: string } | undefined {
  const description =
    string(body['error_description']) ?? string(body['error_message']) ?? string(body['message']) ?? '';
  const stated = body['error'] ?? body['error_code'] ?? body['err'];
  if (typeof stated === 'string' && stated !== '') return { code: safeCode(stated), description };
  if (typeof stated === 'object' && stated !== null) {
    const { code, type, status, message } = stated as Record<string, unknown>;
    const named = string(type) ?? string(status) ?? (typeof code === 'number' ? String(code) : string(code));
    return { code: safeCode(named ?? 'error'), description: string(message) ?? description };
  }
  const [first] = Array.isArray(body['errors']) ? (body['errors'] as unknown[]) : [];
  if (typeof first === 'object' && first !== null) {
    const { errorType, code, message } = first as Record<string, unknown>;
    return {
      code: safeCode(string(errorType) ?? string(code) ?? 'error'),
      description: string(message) ?? description,
    };
  }
  if (body['ok'] === false || body['success'] === false) return { code: 'error', description };
  if (typeof body['code'] === 'number' && body['code'] !== 0 && tokenObject(body) === undefined) {
    return { code: safeCode(String(body['code'])), description };
  }
  return undefined;
}

/** A provider's text may hold tokens or be an attacker's: of a code only its shape is kept. */
export function safeCode(text: string): string {
  return /^[A-Za-z0-9_.:-]{1,64}$/.test(text) ? text : 'unprintable_error';
}

function kindOfBody(raw: RawAnswer): string {
  const text = raw.body.trim();
  if (text === '') return 'empty body';
  if (text.startsWith('<')) return 'HTML';
  return text.startsWith('{') ? 'broken JSON' : 'neither JSON nor a form';
}

/** As people may see it. */
function shown(text: string | undefined): string | null {
  return (
    text
      ?.replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
      .trim()
      .slice(0, 200) || null
  );
}

function nonEmpty(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * Strict: an integer or a numeric string. Zero, absence and nonsense mean unknown, never a made-up hour; the tokens beside
 * them are good all the same.
 */
function seconds(value: unknown, unit = 1): number | null {
  const given =
    typeof value === 'number' ? value : typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : 0;
  const number = given / unit;
  return Number.isFinite(number) && number > 0 ? Math.min(Math.floor(number), TEN_YEARS_S) : null;
}

function absoluteTime(value: unknown): number | null {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)) {
    const parsed = Date.parse(value);
    return Number.isNaN(parsed) ? null : parsed;
  }
  return typeof value === 'number' && value > 1_000_000_000 ? (value > 100_000_000_000 ? value : value * 1_000) : null;
}

function scopesOf(value: unknown): string[] | null {
  if (Array.isArray(value)) return [...new Set(value.filter((item): item is string => typeof item === 'string'))];
  const text = string(value);
  return text === undefined ? null : splitScopes(text);
}

/** Claims of a JWT, unverified: for its lifetime and a label only, never for a decision about trust. */
export function claimsOf(token: string): Record<string, unknown> | undefined {
  const [, payload, signature] = token.split('.');
  if (payload === undefined || signature === undefined || token.length > 32_768) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Milliseconds since 1970; null for anything but a JWT with a likely `exp`. */
export function expiryOfJwt(token: string): number | null {
  const exp = claimsOf(token)?.['exp'];
  return typeof exp === 'number' && exp > 1_000_000_000 && exp < 100_000_000_000 ? exp * 1_000 : null;
}
