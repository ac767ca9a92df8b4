import { fail } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { OAuth2Auth, OAuth2Settings } from './connector.ts';
import { URL_PARAMETER } from './document-fields.ts';
import type { Providers } from './provider-folder.ts';
import { compilePattern } from './provider-pattern.ts';
import type { Provider } from './provider-row.ts';
import { discoveredRules, PLAIN_RULES, rulesOf, type ServiceRules } from './provider-rules.ts';
import { fillUrl } from './provider-url.ts';

export { loadProviders, type Providers } from './provider-folder.ts';
export type { Provider } from './provider-row.ts';

type CheckUrl = (url: string) => void;

/** Which endpoints of a row a connector talks to: those of its API, or those in front of its MCP server. */
type Side = 'service' | 'mcp' | 'discovered';

/**
 * What the document says, and the provider's row where it says nothing.
 * @param checkUrl throws for an address that the gateway may not reach; judges URLs after their parameters are in
 * @param url of the connector: at the row's MCP server other endpoints may hold than for its API
 * @throws ValetkeyError connector_invalid: unknown provider, missing or unfit parameter
 */
export function resolveOAuth(auth: OAuth2Auth, providers: Providers, checkUrl: CheckUrl, url?: string): OAuth2Settings {
  const row = rowOf(auth, providers);
  const used = new Set<string>();
  const values = row === undefined ? auth.parameters : valuesOf(row, auth.parameters);
  const side = row === undefined ? 'service' : sideOf(row, url, values);
  // Neither its client nor its tokens are for addresses that belong to another server.
  const elsewhere = row !== undefined && isElsewhere(auth, row, side, values);
  const endpoint = (name: 'authorizationUrl' | 'tokenUrl' | 'revocationUrl'): string | null => {
    const own = auth[name];
    if (own !== undefined) return expand(own, auth.parameters, `auth.${name}`, used, checkUrl);
    const template =
      row === undefined || (elsewhere && name === 'revocationUrl') ? undefined : templateOf(row, side, name);
    return template === undefined ? null : fill(template, values, `auth.${name}`, checkUrl);
  };
  const endpoints = {
    authorizationUrl: endpoint('authorizationUrl'),
    tokenUrl: endpoint('tokenUrl'),
    revocationUrl: endpoint('revocationUrl'),
  };
  if (row !== undefined && side !== 'discovered') {
    for (const name of ['authorizationUrl', 'tokenUrl'] as const) {
      const unused = name === 'authorizationUrl' && auth.flow !== 'authorization_code';
      if (!unused && endpoints[name] === null && auth.issuer === undefined && row.issuer === undefined) {
        throw fail('connector_invalid', {
          message: `auth.${name} is needed: the catalogue does not know it for ${row.name}.`,
        });
      }
    }
  }
  checkParameters(auth, row, used);
  const sets = setsOf(auth, row);
  const service = side === 'discovered' ? undefined : row;
  return {
    provider: auth.provider ?? null,
    registration: auth.registration,
    registrationUrl: auth.registrationUrl ?? null,
    issuer:
      auth.issuer ?? (service?.issuer === undefined ? null : fill(service.issuer, values, 'auth.issuer', checkUrl)),
    ...endpoints,
    clientId: auth.clientId ?? null,
    hasClientSecret: auth.clientSecret !== undefined,
    clientAuth: auth.clientAuth ?? service?.clientAuth ?? null,
    scopes: auth.scopes.length > 0 || side === 'service' ? auth.scopes : (row?.mcp?.scopes ?? []),
    scopeSeparator: service?.scopes.separator ?? ' ',
    pkce: auth.pkce ?? service?.pkce !== 'off',
    additionalParams: { ...service?.authorize.parameters, ...auth.additionalParams, ...sets },
    resource: resourceOf(auth, row, side),
    owner: auth.owner,
    fields: [
      ...new Set([
        ...auth.fields,
        ...Object.keys(service?.parameters ?? {}).filter((name) => !isAsked(service?.parameters[name]?.source)),
      ]),
    ],
    refreshToken: auth.refreshToken,
    rules: rulesFor(row, side, values, elsewhere),
  };
}

/**
 * A document as it came, with what its provider knows about the connector itself: the address of its MCP server.
 * Anything that is not a document is left to the schema.
 */
export function fillInUrl(input: unknown, providers: Providers): unknown {
  if (!isPlain(input) || input['url'] !== undefined || !isPlain(input['auth'])) return input;
  const { provider, parameters } = input['auth'];
  const row = typeof provider === 'string' ? providers.get(provider) : undefined;
  if (row?.mcp === undefined) return input;
  const given = isPlain(parameters) ? parameters : {};
  const texts = Object.fromEntries(
    Object.entries(given).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  );
  const url = fill(row.mcp.url, valuesOf(row, texts), 'url', () => undefined);
  return { transport: row.mcp.transport, ...input, url };
}

/** Rules for injection where the document has none: those of the row, at its API. */
export function injectionOf(
  oauth: OAuth2Settings,
  providers: Providers,
  url: string,
): { header: string; value: string }[] {
  const row = oauth.provider === null ? undefined : providers.get(oauth.provider);
  if (row === undefined || sideOf(row, url, oauth.rules.values) !== 'service') return [];
  const fixed: Record<string, string | null> = { ...oauth.rules.values, clientId: oauth.clientId };
  return row.inject.map(({ header, value }) => ({
    header,
    value: value.replaceAll(URL_PARAMETER, (placeholder, name: string) => fixed[name] ?? placeholder),
  }));
}

function rowOf(auth: OAuth2Auth, providers: Providers): Provider | undefined {
  if (auth.provider === undefined) return undefined;
  const row = providers.get(auth.provider);
  if (row === undefined) {
    const near = nearest(auth.provider, [...providers.keys()]);
    throw fail('connector_invalid', {
      message: `auth.provider: ${JSON.stringify(auth.provider)} is not in the provider catalogue.`,
      hint: near === undefined ? 'GET /api/v1/providers lists what is there.' : `Did you mean ${near}?`,
    });
  }
  if (row.unsupported !== undefined) {
    throw fail('connector_unsupported', { message: `auth.provider: ${row.unsupported}` });
  }
  return row;
}

const isAsked = (source: string | undefined): boolean => source === 'operator' || source === 'user';

/** @throws ValetkeyError connector_invalid for a value that does not fit its pattern */
function valuesOf(row: Provider, given: Readonly<Record<string, string>>): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, { source, pattern, default: preset, label, example }] of Object.entries(row.parameters)) {
    const value = given[name] ?? preset;
    if (!isAsked(source) || value === undefined) continue;
    if (!compilePattern(pattern).test(value)) {
      throw fail('connector_invalid', {
        message: `auth.parameters.${name}: does not fit what ${row.name} takes there.`,
        hint: `${label}, such as ${example === '' ? 'nothing' : example}.`,
      });
    }
    values[name] = value;
  }
  return values;
}

function sideOf(row: Provider, url: string | undefined, values: Readonly<Record<string, string>>): Side {
  if (row.kind === 'mcp') return 'discovered';
  if (row.mcp === undefined || url === undefined) return 'service';
  let own: string;
  try {
    own = fillUrl(row.mcp.url, values);
  } catch {
    return 'service';
  }
  if (new URL(own).origin !== new URL(url).origin) return 'service';
  return row.mcp.oauth === 'discovered' && row.mcp.tokenUrl === undefined ? 'discovered' : 'mcp';
}

/** The document names a token endpoint elsewhere: an instance of its own, which the row's addresses know nothing of. */
function isElsewhere(auth: OAuth2Auth, row: Provider, side: Side, values: Readonly<Record<string, string>>): boolean {
  const template = templateOf(row, side, 'tokenUrl');
  if (auth.tokenUrl === undefined || template === undefined) return false;
  try {
    return new URL(fillUrl(template, values)).origin !== new URL(auth.tokenUrl).origin;
  } catch {
    return true;
  }
}

function rulesFor(
  row: Provider | undefined,
  side: Side,
  values: Readonly<Record<string, string>>,
  elsewhere: boolean,
): ServiceRules {
  if (row === undefined) return PLAIN_RULES;
  if (side === 'discovered') return discoveredRules(row, values);
  const rules = rulesOf(row, values);
  if (!elsewhere) return rules;
  const { url: _exchange, ...exchange } = rules.exchange;
  const { url: _refresh, ...refresh } = rules.refresh;
  return { ...rules, exchange, refresh, revocation: null, lookups: [] };
}

function templateOf(
  row: Provider,
  side: Side,
  name: 'authorizationUrl' | 'tokenUrl' | 'revocationUrl',
): string | undefined {
  if (side === 'discovered') return undefined;
  if (name === 'revocationUrl') return row.revocation?.kind === 'rfc7009' ? row.revocation.url : undefined;
  return (side === 'mcp' ? row.mcp?.[name] : undefined) ?? row[name];
}

function resourceOf(auth: OAuth2Auth, row: Provider | undefined, side: Side): string {
  if (auth.resource !== 'auto' || row === undefined) return auth.resource;
  if (side !== 'service' && row.mcp?.resource !== undefined) return row.mcp.resource;
  return side === 'discovered' || row.resource === 'rfc8707' ? 'auto' : 'none';
}

/** Scope sets of the document as parameters of the authorization request. */
function setsOf(auth: OAuth2Auth, row: Provider | undefined): Record<string, string> {
  const parameters: Record<string, string> = {};
  for (const [name, scopes] of Object.entries(auth.scopeSets)) {
    const set = row?.scopes.sets[name];
    if (set === undefined) {
      const known = Object.keys(row?.scopes.sets ?? {});
      throw fail('connector_invalid', {
        message: `auth.scopeSets.${name}: ${row === undefined ? 'sets belong to a provider' : `${row.name} has no such set`}.`,
        ...(known.length === 0 ? {} : { hint: `There is ${known.join(', ')}.` }),
      });
    }
    if (scopes.length > 0) parameters[set.parameter] = scopes.join(set.separator);
  }
  return parameters;
}

function checkParameters(auth: OAuth2Auth, row: Provider | undefined, used: ReadonlySet<string>): void {
  for (const name of Object.keys(auth.parameters)) {
    if (used.has(name) || isAsked(row?.parameters[name]?.source)) continue;
    const taken = row?.parameters[name] !== undefined;
    throw fail('connector_invalid', {
      message: taken
        ? `auth.parameters.${name}: ${row.name} tells this itself.`
        : `auth.parameters.${name}: no URL of this connector has {${name}}.`,
    });
  }
}

function fill(template: string, values: Readonly<Record<string, string>>, path: string, checkUrl: CheckUrl): string {
  try {
    const filled = fillUrl(template, values);
    checkUrl(filled);
    return filled;
  } catch (cause) {
    const { message } = cause as Error;
    const missing = /^\{(\w+)\} is missing$/.exec(message)?.[1];
    throw fail('connector_invalid', {
      message:
        missing === undefined
          ? `${path}: ${message}`
          : `auth.parameters.${missing} is missing: ${path} has {${missing}}.`,
      cause,
    });
  }
}

/** A parameter at the start of a URL stands for an origin, anywhere else for a host label or a path segment. */
const ORIGIN = /^https:\/\/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/;
const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;

/** A URL of the document itself, whose parameters are the operator's as well. */
function expand(
  template: string,
  parameters: Readonly<Record<string, string>>,
  path: string,
  used: Set<string>,
  checkUrl: CheckUrl,
): string {
  if (template.search(URL_PARAMETER) === -1) return template;
  const expanded = template.replaceAll(URL_PARAMETER, (_, name: string, at: number) => {
    used.add(name);
    const value = parameters[name];
    if (value === undefined) {
      throw fail('connector_invalid', { message: `auth.parameters.${name} is missing: ${path} has {${name}}.` });
    }
    if (!(at === 0 ? ORIGIN : LABEL).test(value)) {
      throw fail('connector_invalid', {
        message: `auth.parameters.${name}: does not fit into ${path}.`,
        hint: at === 0 ? 'Give an https origin: https://host.' : 'Letters, digits, dots, - and _ fit.',
      });
    }
    return value;
  });
  try {
    checkUrl(expanded);
  } catch (cause) {
    throw fail('connector_invalid', { message: `${path}: ${(cause as Error).message}`, cause });
  }
  return expanded;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
