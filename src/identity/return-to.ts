const MAX_LENGTH = 8_192;

/**
 * The path to go on to after sign-in, when it is one of ours; undefined for everything else. A browser reads `//host`,
 * `/\host` and what remains of them after it has dropped control characters as another host.
 */
export function ownPath(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > MAX_LENGTH) return undefined;
  if (!value.startsWith('/') || value.startsWith('//')) return undefined;
  // Printable ASCII without the backslash: a path of ours is percent-encoded.
  if (!/^[\x21-\x5b\x5d-\x7e]+$/.test(value)) return undefined;
  const base = 'https://own.invalid';
  if (!URL.canParse(value, base)) return undefined;
  const url = new URL(value, base);
  return url.origin === base && !url.pathname.startsWith('//') ? value : undefined;
}
