import { templateProblem } from './injection.ts';
import { compilePattern, type Pattern } from './provider-pattern.ts';

export const PARAMETER_NAME = /^[a-z][A-Za-z0-9]{0,63}$/;
const PLACEHOLDER = /\{([A-Za-z][A-Za-z0-9_]*)\}/g;
/** Names of the credential and the client; a parameter may not take one of them. */
const OWN_NAMES = ['access_token', 'token', 'clientId', 'clientSecret', 'callbackUrl'];

type Parameter = { source: string; pattern: string };
type Problem = { path: PropertyKey[]; message: string };
/** What of a row has URLs and values with placeholders in it. */
type Row = {
  parameters: Record<string, Parameter>;
  issuer?: string | undefined;
  authorizationUrl?: string | undefined;
  tokenUrl?: string | undefined;
  exchange: { url?: string | undefined };
  refresh: { url?: string | undefined };
  revocation?: { kind: string; url?: string; link?: string | undefined; members?: Record<string, string> } | undefined;
  inject: { header: string; value: string }[];
  lookups: { url: string; authorization: string; take: string[] }[];
  mcp?: { url: string; authorizationUrl?: string | undefined; tokenUrl?: string | undefined } | undefined;
  guide: { steps: string[] };
};

export function templateProblems(row: Row): Problem[] {
  const found: Problem[] = [];
  const known = Object.keys(row.parameters);
  const asked = known.filter((name) => /^(operator|user)$/.test(row.parameters[name]?.source ?? ''));
  const look = (
    path: PropertyKey[],
    url: string | undefined,
    usable: readonly string[],
    extra: readonly string[] = [],
  ): void => {
    const message = url === undefined ? undefined : urlProblem(url, row.parameters, usable, extra);
    if (message !== undefined) found.push({ path, message });
  };
  // What the service itself says may decide where a refresh goes, never where a person or a code is sent.
  look(['issuer'], row.issuer, asked);
  look(['authorizationUrl'], row.authorizationUrl, asked);
  look(['tokenUrl'], row.tokenUrl, asked);
  look(['exchange', 'url'], row.exchange.url, [
    ...asked,
    ...known.filter((name) => row.parameters[name]?.source === 'callback'),
  ]);
  look(['refresh', 'url'], row.refresh.url, known);
  look(['revocation', 'url'], row.revocation?.url, known, ['token', 'clientId']);
  look(['revocation', 'link'], row.revocation?.link, asked);
  for (const name of ['url', 'authorizationUrl', 'tokenUrl'] as const) look(['mcp', name], row.mcp?.[name], asked);
  row.lookups.forEach((lookup, index) => {
    look(['lookups', index, 'url'], lookup.url, known);
    const problem = templateProblem(lookup.authorization, ['access_token']);
    if (problem !== undefined) found.push({ path: ['lookups', index, 'authorization'], message: problem });
    lookup.take.forEach((name, at) => {
      if (row.parameters[name]?.source !== 'lookup') {
        found.push({ path: ['lookups', index, 'take', at], message: `${name} is not a parameter with source lookup` });
      }
    });
  });
  row.inject.forEach(({ value }, index) => {
    const problem = templateProblem(value, ['access_token', 'token', 'clientId', ...known]);
    if (problem !== undefined) found.push({ path: ['inject', index, 'value'], message: problem });
  });
  for (const [name, value] of Object.entries(row.revocation?.members ?? {})) {
    for (const [, field = ''] of value.matchAll(PLACEHOLDER)) {
      if (!['token', 'clientId', 'clientSecret', ...known].includes(field)) {
        found.push({ path: ['revocation', 'members', name], message: `{${field}} is not known here` });
      }
    }
  }
  row.guide.steps.forEach((step, index) => {
    for (const [, field = ''] of step.matchAll(PLACEHOLDER)) {
      if (field !== 'callbackUrl' && !known.includes(field)) {
        found.push({ path: ['guide', 'steps', index], message: `{${field}} is not known here` });
      }
    }
  });
  for (const name of known) {
    if (OWN_NAMES.includes(name)) found.push({ path: ['parameters', name], message: 'is the name of something else' });
  }
  return found;
}

function urlProblem(
  template: string,
  parameters: Record<string, Parameter>,
  usable: readonly string[],
  extra: readonly string[],
): string | undefined {
  if (/[\s\\%#]|[^\x21-\x7e]/.test(template)) return 'may hold no spaces, %, backslash or fragment';
  const names = [...template.matchAll(PLACEHOLDER)].map(([, name = '']) => name);
  for (const name of names) {
    if (!usable.includes(name) && !extra.includes(name)) {
      return name in parameters
        ? `{${name}} is not known yet when this URL is used`
        : `{${name}} is not a parameter of this file`;
    }
  }
  if (template.replaceAll(PLACEHOLDER, '').search(/[{}]/) !== -1) return 'has a brace that belongs to no parameter';
  const { scheme, host } = partsOf(template);
  if (scheme === undefined) return 'must be an https URL';
  if (/[@]/.test(host)) return 'must not carry a user name';
  if (scheme === 'http://' && !/^(?:127\.0\.0\.1|localhost)(?::\d+)?$/.test(host)) return 'must be an https URL';
  for (const name of [...host.matchAll(PLACEHOLDER)].map(([, one = '']) => one)) {
    if (extra.includes(name)) return `{${name}} must not stand in the host`;
  }
  const problem = hostProblem(host, scheme === '', parameters);
  if (problem !== undefined) return problem;
  const shown = template.replaceAll(PLACEHOLDER, (_, _name, at) => (at === 0 ? 'https://x' : 'x'));
  return URL.canParse(shown) ? undefined : 'must be an absolute URL';
}

/** Whose domain it is may depend on a closed list or on the operator, on nothing that comes from elsewhere. */
function hostProblem(host: string, origin: boolean, parameters: Record<string, Parameter>): string | undefined {
  const last = [...host.matchAll(PLACEHOLDER)].at(-1);
  if (last === undefined) return /^[A-Za-z0-9.-]+(?::\d{1,5})?$/.test(host) ? undefined : 'has a host that is none';
  const tail = host.slice(last.index + last[0].length);
  if (/^(?:\.[a-z0-9-]+)+\.[a-z]{2,}$/i.test(tail)) return undefined;
  const name = last[1] ?? '';
  const { source, pattern } = parameters[name] ?? { source: '', pattern: '^$' };
  if (source === 'operator' && !origin) return undefined;
  let compiled: Pattern;
  try {
    compiled = compilePattern(pattern);
  } catch {
    return undefined;
  }
  const closed = compiled.endings.every(({ text, whole }) =>
    whole ? !origin || /^https:\/\/[a-z0-9.-]+$/.test(text) : /\.[a-z0-9-]+\.[a-z]{2,}$/.test(text),
  );
  if (origin && !pattern.startsWith('^https://'))
    return `{${name}} is an origin here: its pattern must begin with https://`;
  return closed ? undefined : `{${name}} decides the domain: its pattern must end in a fixed one, or list them all`;
}

/** `{name}` at the very beginning stands for an origin: its scheme is then ''. */
function partsOf(template: string): { scheme: string | undefined; host: string } {
  const scheme = /^(?:https:\/\/|http:\/\/(?!\{))/.exec(template)?.[0] ?? (template.startsWith('{') ? '' : undefined);
  return { scheme, host: template.slice(scheme?.length ?? 0).split(/[/?]/, 1)[0] ?? '' };
}

/**
 * Fills a URL of a row. Values stand in a host as they are and encoded in a path or query; every value has fitted its
 * pattern before.
 * @throws Error when the result does not lead to the host that the template says
 */
export function fillUrl(template: string, values: Readonly<Record<string, string>>): string {
  const { scheme, host } = partsOf(template);
  const take = (name: string): string => {
    const value = values[name];
    if (value === undefined) throw new Error(`{${name}} is missing`);
    return value;
  };
  const start = (scheme ?? '') + host;
  const filledHost = host.replaceAll(PLACEHOLDER, (_, name: string) => take(name));
  const authority = scheme === '' ? filledHost.replace(/^https:\/\//, '') : filledHost;
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?::\d{1,5})?$/.test(authority) || authority.includes('..')) {
    throw new Error('does not fit into a host name');
  }
  const rest = template.slice(start.length).replaceAll(PLACEHOLDER, (_, name: string) => {
    const value = take(name);
    // A segment of dots would climb out of the path.
    if (/^\.{1,2}$/.test(value)) throw new Error('does not fit into a path');
    return encodeURIComponent(value);
  });
  const filled = `${scheme === '' ? 'https://' : scheme}${authority}${rest}`;
  const url = new URL(filled);
  if (url.host !== authority.toLowerCase().replace(/:443$/, '') || url.username !== '') {
    throw new Error('leads to another host');
  }
  return filled;
}

/** The placeholders of a template. */
export const placeholders = (template: string): string[] => [
  ...new Set([...template.matchAll(PLACEHOLDER)].map(([, name = '']) => name)),
];
