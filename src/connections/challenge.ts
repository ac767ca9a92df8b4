export type Challenge = {
  /** RFC 9728 §5.1, absolute or relative as it was sent. */
  resourceMetadata: string | undefined;
  scopes: string[] | undefined;
  error: string | undefined;
};

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const PARAMETER = /[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;

/**
 * The Bearer challenge of a WWW-Authenticate field (RFC 9110 §11.6.1), which may list challenges of several schemes.
 * Undefined when there is none.
 */
export function parseChallenge(field: string | null | undefined): Challenge | undefined {
  const text = (field ?? '').slice(0, 8_192);
  let at = 0;
  while (at < text.length) {
    const separator = /[\s,]*/y;
    separator.lastIndex = at;
    separator.exec(text);
    TOKEN.lastIndex = separator.lastIndex;
    const scheme = TOKEN.exec(text)?.[0];
    if (scheme === undefined) return undefined;
    at = TOKEN.lastIndex;
    const parameters = new Map<string, string>();
    for (;;) {
      PARAMETER.lastIndex = at;
      const match = PARAMETER.exec(text);
      if (match === null) break;
      const name = (match[1] ?? '').toLowerCase();
      if (!parameters.has(name)) parameters.set(name, match[2]?.replaceAll(/\\(.)/g, '$1') ?? match[3] ?? '');
      at = PARAMETER.lastIndex;
    }
    if (scheme.toLowerCase() !== 'bearer') {
      // token68 of another scheme: skip to the next list element.
      const rest = /[^,]*/y;
      rest.lastIndex = at;
      rest.exec(text);
      at = Math.max(at, rest.lastIndex);
      continue;
    }
    const scope = parameters.get('scope');
    return {
      resourceMetadata: parameters.get('resource_metadata'),
      scopes: scope === undefined ? undefined : splitScopes(scope),
      error: parameters.get('error'),
    };
  }
  return undefined;
}

/** Scopes as a set in the order they came, separated by spaces or, as some services do, by commas. */
export function splitScopes(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((scope) => scope !== ''))];
}

export function unionScopes(...lists: readonly (readonly string[])[]): string[] {
  return [...new Set(lists.flat())];
}
