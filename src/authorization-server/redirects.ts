import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Private-use schemes without a dot (RFC 8252 §7.1 asks for one) that known clients register. */
const KNOWN_SCHEMES = new Set([
  'cursor:',
  'vscode:',
  'vscode-insiders:',
  'vscodium:',
  'windsurf:',
  'raycast:',
  'warp:',
  'goose:',
]);

const MAX_LENGTH = 1_000;
const REVERSE_DOMAIN = /^[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:$/;

function isLoopbackHost(hostname: string): boolean {
  if (hostname === 'localhost') return true;
  const address = hostname.replace(/^\[|\]$/g, '');
  const family = isIP(address);
  return family !== 0 && loopback.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** http towards this very machine: the receiver is a native client that listens there (RFC 8252 §7.3). */
export function isLoopbackRedirect(uri: string): boolean {
  const url = URL.parse(uri);
  return url !== null && url.protocol === 'http:' && isLoopbackHost(url.hostname);
}

/** Leads to a site on the web, where somebody else may be waiting. */
export function isWebRedirect(uri: string): boolean {
  return URL.parse(uri)?.protocol === 'https:';
}

/** Why a redirect URI cannot be registered, or undefined. OAuth 2.1 §2.3.1, RFC 8252 §7. */
export function redirectFault(uri: unknown): string | undefined {
  if (typeof uri !== 'string' || uri.length > MAX_LENGTH) return 'not a URI';
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u0020\u007f-\u009f\\\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]/u.test(uri)) {
    return 'a character that URIs do not have';
  }
  const url = URL.parse(uri);
  if (url === null) return 'not an absolute URI';
  if (uri.includes('#')) return 'a fragment';
  if (url.username !== '' || url.password !== '') return 'a user name';
  if (uri.includes('*')) return 'a wildcard';
  if (url.protocol === 'https:') return isLoopbackHost(url.hostname) ? 'https towards loopback' : undefined;
  if (url.protocol === 'http:') return isLoopbackHost(url.hostname) ? undefined : 'http beyond loopback';
  if (KNOWN_SCHEMES.has(url.protocol) || REVERSE_DOMAIN.test(url.protocol)) return undefined;
  return 'a scheme that is neither https nor a reversed domain name';
}

/** What two redirect URIs share that differ only in a loopback port; an empty path equals `/`. */
export function redirectKey(uri: string): string {
  if (!isLoopbackRedirect(uri)) return uri;
  const url = new URL(uri);
  return `http://${url.hostname}${url.pathname}${url.search}`;
}

/** Exact, but for the port of loopback redirects: a native client listens where it finds room (RFC 8252 §7.3). */
export function redirectMatches(presented: unknown, registered: readonly string[]): boolean {
  if (typeof presented !== 'string') return false;
  if (registered.includes(presented)) return true;
  if (!isLoopbackRedirect(presented) || redirectFault(presented) !== undefined) return false;
  // Compared as text but for the port: another spelling of the same address is another URI (OAuth 2.1 §2.3.1).
  const key = withoutPort(presented);
  return registered.some((uri) => isLoopbackRedirect(uri) && withoutPort(uri) === key);
}

function withoutPort(uri: string): string {
  return uri.replace(/^(http:\/\/(?:\[[^\]]*\]|[^/?:]*))(?::\d*)?\/?/, '$1/');
}
