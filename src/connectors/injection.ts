import { fail } from '../errors.ts';
import type { Auth, ConnectorDocument } from './connector.ts';
import type { Credential } from './credential.ts';

/** How a credential enters an upstream request. Compiled once per connector; callers cache results per credential. */
export type Injection = {
  /**
   * Flat list: name, value, name, value … Rules that need a credential are left out when there is none.
   * @throws ValetkeyError injection_failed when a value cannot stand in a header or the credential lacks a field
   */
  headers(credential: Credential | null): string[];
  /** For an API key in the query: `name=value`, encoded, to be appended to the URL; empty when there is none. */
  query(credential: Credential | null): string;
  /** Lower-case header names that are ours: namesakes from the client never cross. */
  readonly names: ReadonlySet<string>;
};

type Target = { header: string } | { query: string } | { cookie: string };
type Part = string | { field: string };
type CompiledRule = { target: Target; parts: Part[]; needsCredential: boolean };

const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_-]*)\}/g;
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
/** RFC 9110 §5.5 without obs-text. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;
const MAX_VALUE = 16 * 1024;

/** Framing, hop-by-hop and MCP headers belong to the exchange itself (RFC 9110 §7.6.1). */
const RESERVED =
  /^(host|content-length|content-type|content-encoding|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|accept|accept-encoding|last-event-id|proxy-.*|mcp-.*)$/;

/** Why a header may not be injected; undefined when it may. */
export function headerProblem(name: string): string | undefined {
  if (!HEADER_NAME.test(name)) return `${JSON.stringify(name)} is not a header name`;
  if (RESERVED.test(name.toLowerCase())) return `the header ${name} belongs to the transport and cannot be injected`;
  return undefined;
}

/** Why a template cannot stand in a header; undefined when it can. `fields`: what the credential will have. */
export function templateProblem(template: string, fields: readonly string[]): string | undefined {
  if (!HEADER_VALUE.test(template)) return 'may hold visible ASCII characters and spaces only';
  for (const [, field = ''] of template.matchAll(PLACEHOLDER)) {
    if (!fields.includes(field)) {
      return fields.length === 0
        ? `{${field}} is not available: this type of auth has no credential`
        : `{${field}} is not available: this type of auth has ${fields.map((name) => `{${name}}`).join(', ')}`;
    }
  }
  return undefined;
}

/** The fields of the credential that a type of auth brings. */
export function credentialFields(auth: Auth): string[] {
  switch (auth.type) {
    case 'none':
      return [];
    case 'bearer':
      return ['token', 'access_token'];
    case 'api-key':
      return ['value'];
    case 'basic':
      return ['username', 'password', 'basic'];
    case 'headers':
      return Object.keys(auth.headers);
    case 'login':
      return ['access_token', 'token'];
    default:
      return ['access_token', 'token', ...auth.fields];
  }
}

function defaultRules(auth: Auth): CompiledRule[] {
  switch (auth.type) {
    case 'none':
      return [];
    case 'bearer':
      return [compileRule({ header: 'Authorization' }, 'Bearer {token}')];
    case 'oauth2':
    case 'login':
      return [compileRule({ header: 'Authorization' }, 'Bearer {access_token}')];
    case 'basic':
      return [compileRule({ header: 'Authorization' }, 'Basic {basic}')];
    case 'headers':
      return Object.keys(auth.headers).map((name) => ({
        target: { header: name },
        parts: [{ field: name }],
        needsCredential: true,
      }));
    default: {
      const target: Target =
        auth.query !== undefined
          ? { query: auth.query }
          : auth.cookie !== undefined
            ? { cookie: auth.cookie }
            : { header: auth.header ?? 'X-API-Key' };
      return [compileRule(target, '{value}')];
    }
  }
}

function compileRule(target: Target, template: string): CompiledRule {
  const parts: Part[] = [];
  let from = 0;
  for (const match of template.matchAll(PLACEHOLDER)) {
    if (match.index > from) parts.push(template.slice(from, match.index));
    parts.push({ field: match[1] ?? '' });
    from = match.index + match[0].length;
  }
  if (from < template.length) parts.push(template.slice(from));
  return { target, parts, needsCredential: parts.some((part) => typeof part !== 'string') };
}

const headerOf = (rule: CompiledRule): string | undefined =>
  'header' in rule.target ? rule.target.header.toLowerCase() : 'cookie' in rule.target ? 'cookie' : undefined;

/**
 * The rules of the document. What the type of auth does by itself stands unless a rule places a field of the
 * credential, or names the same header.
 */
export function compileInjection(document: Pick<ConnectorDocument, 'auth' | 'inject'>): Injection {
  const own = document.inject.map((rule) => compileRule({ header: rule.header }, rule.value));
  const taken = new Set(own.map(headerOf));
  const defaults = own.some((rule) => rule.needsCredential)
    ? []
    : defaultRules(document.auth).filter((rule) => !taken.has(headerOf(rule)) || headerOf(rule) === undefined);
  const rules = [...defaults, ...own];
  const names = new Set(rules.map(headerOf).filter((name) => name !== undefined));

  return {
    names,
    headers(credential) {
      const flat: string[] = [];
      for (const rule of rules) {
        if ('query' in rule.target || (rule.needsCredential && credential === null)) continue;
        const value = fill(rule.parts, credential);
        if ('cookie' in rule.target) flat.push('cookie', `${rule.target.cookie}=${cookieValue(value)}`);
        else flat.push(rule.target.header, headerValue(value, rule.target.header));
      }
      return flat;
    },
    query: (credential) =>
      rules
        .flatMap((rule) =>
          'query' in rule.target && credential !== null
            ? [`${encodeURIComponent(rule.target.query)}=${encodeURIComponent(fill(rule.parts, credential))}`]
            : [],
        )
        .join('&'),
  };
}

function fill(parts: readonly Part[], credential: Credential | null): string {
  let text = '';
  for (const part of parts) {
    if (typeof part === 'string') {
      text += part;
      continue;
    }
    const secret = credential?.fields[part.field];
    if (secret === undefined) {
      throw fail('injection_failed', { message: `The credential has no field ${part.field}, which injection places.` });
    }
    text += secret.unwrap();
  }
  return text;
}

function headerValue(value: string, name: string): string {
  // A line break from a token answer would let its issuer write headers of its own.
  if (value.length > MAX_VALUE || !HEADER_VALUE.test(value)) {
    throw fail('injection_failed', { message: `The value for the header ${name} cannot stand in a header.` });
  }
  return value;
}

function cookieValue(value: string): string {
  // RFC 6265 §4.1.1 cookie-octet
  if (value.length > MAX_VALUE || !/^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/.test(value)) {
    throw fail('injection_failed', { message: 'The value for the cookie cannot stand in a cookie.' });
  }
  return value;
}
