import { fillUrl } from '../connectors/provider-url.ts';
import type { ServiceRules } from '../connectors/provider-rules.ts';

/** How one request to a token endpoint differs from the standard's. */
export type RequestForm = Pick<ServiceRules, 'body' | 'basicEncoding' | 'basicUser'> & {
  method: 'POST' | 'GET';
  rename: Readonly<Record<string, string>>;
  omit: readonly string[];
};

export function formOf(rules: ServiceRules, step: 'exchange' | 'refresh'): RequestForm {
  const { body, basicEncoding, basicUser } = rules;
  const { rename, omit } = rules[step];
  return { body, basicEncoding, basicUser, rename, omit, method: step === 'refresh' ? rules.refresh.method : 'POST' };
}

/** What stands at a path like `data.items.0.id`; undefined when nothing does. */
export function at(body: unknown, path: string): unknown {
  let value = body;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/** The same, but nothing of a list that holds more than one: which of several tenants is meant, nobody has said. */
export function onlyAt(body: unknown, path: string): unknown {
  const steps = path.split('.');
  const several = steps.some((_, depth) => {
    const list = depth === 0 ? body : at(body, steps.slice(0, depth).join('.'));
    return Array.isArray(list) && list.length > 1;
  });
  return several ? undefined : at(body, path);
}

/** The first of the paths at which something stands that is neither empty nor null. */
export function firstAt(body: unknown, paths: readonly string[] | undefined): unknown {
  for (const path of paths ?? []) {
    const value = at(body, path);
    if (value !== undefined && value !== null && value !== '') return value;
  }
  return undefined;
}

export function textAt(body: unknown, paths: readonly string[] | undefined): string | undefined {
  const value = firstAt(body, paths);
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' ? value : undefined;
}

/** What the service adds to the connection, as far as it fits the patterns: anything else is as if it were not there. */
export function captured(
  rules: ServiceRules,
  source: 'callback' | 'token_response' | 'lookup',
  read: (from: string) => unknown,
  only?: readonly string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, source: own, from, fits } of rules.captures) {
    if (own !== source || (only !== undefined && !only.includes(name))) continue;
    const value = read(from);
    const text = typeof value === 'number' ? String(value) : value;
    if (typeof text === 'string' && fits(text)) found[name] = text;
  }
  return found;
}

/** A URL of the rules with everything known about the connection; null when a part of it is not known. */
export function urlWith(
  rules: ServiceRules,
  template: string | undefined,
  known: Readonly<Record<string, string>>,
): string | null {
  if (template === undefined) return null;
  const declared = new Set(rules.captures.map(({ name }) => name));
  const own = Object.fromEntries(Object.entries(known).filter(([name]) => declared.has(name)));
  try {
    return fillUrl(template, { ...rules.values, ...own });
  } catch {
    return null;
  }
}

/**
 * When the grant ends if nothing is done, where the answer does not say: after its idle time from now, and in any case
 * at its absolute end.
 */
export function grantEnd(
  rules: ServiceRules,
  given: { now: number; announced: number | null; absolute: number | null },
): number | null {
  const { idleSeconds } = rules.lifetimes;
  const idle = idleSeconds === undefined ? null : given.now + idleSeconds * 1_000;
  const ends = [given.announced ?? idle, given.absolute].filter((end) => end !== null);
  return ends.length === 0 ? null : Math.min(...ends);
}

/** Null where a grant has no end of its own. */
export function absoluteEnd(rules: ServiceRules, grantedAt: number): number | null {
  const { absoluteSeconds } = rules.lifetimes;
  return absoluteSeconds === undefined ? null : grantedAt + absoluteSeconds * 1_000;
}
