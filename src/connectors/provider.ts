import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { fail } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { OAuth2Auth, OAuth2Settings } from './connector.ts';
import { httpUrl, httpUrlTemplate, strict, URL_PARAMETER } from './document-fields.ts';

const providerSchema = strict({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]*$/),
  title: z.string().min(1),
  /** The day on which the row was last held against the provider's documentation. */
  verifiedOn: z.iso.date(),
  issuer: httpUrl.optional(),
  authorizationUrl: httpUrlTemplate,
  tokenUrl: httpUrlTemplate,
  revocationUrl: httpUrlTemplate.optional(),
  scopeSeparator: z.enum([' ', ',']).default(' '),
  clientAuth: z.enum(['client_secret_basic', 'client_secret_post', 'none']).optional(),
  pkce: z.boolean().default(true),
  additionalParams: z.record(z.string(), z.string()).default({}),
  /** What `{name}` in a URL may be: an anchored pattern. */
  parameters: z
    .record(z.string(), strict({ pattern: z.string().regex(/^\^.*\$$/s), default: z.string().optional() }))
    .default({}),
});

/** A row of shipped data about a known service. */
export type Provider = z.output<typeof providerSchema>;
export type Providers = ReadonlyMap<string, Provider>;

/** Reads the rows in `providers/` of the package. @throws Error naming the file that does not fit the schema */
export function loadProviders(folder = fileURLToPath(new URL('../../providers/', import.meta.url))): Providers {
  const rows = new Map<string, Provider>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
    const parsed = providerSchema.safeParse(JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')));
    if (!parsed.success) throw new Error(`providers/${file}: ${z.prettifyError(parsed.error)}`);
    if (`${parsed.data.name}.json` !== file) throw new Error(`providers/${file}: the name is not that of the file`);
    rows.set(parsed.data.name, parsed.data);
  }
  return rows;
}

/** A parameter at the start of a URL stands for an origin, anywhere else for a host label or a path segment. */
const ORIGIN = /^https:\/\/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/;
const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;

/**
 * What the document says, and the provider's row where it says nothing.
 * @param checkUrl throws for an address that the gateway may not reach; judges URLs after their parameters are in
 * @throws ValetkeyError connector_invalid: unknown provider, missing or unfit parameter
 */
export function resolveOAuth(auth: OAuth2Auth, providers: Providers, checkUrl: (url: string) => void): OAuth2Settings {
  const row = auth.provider === undefined ? undefined : providers.get(auth.provider);
  if (auth.provider !== undefined && row === undefined) {
    const near = nearest(auth.provider, [...providers.keys()]);
    throw fail('connector_invalid', {
      message: `auth.provider: ${JSON.stringify(auth.provider)} is not in the provider catalogue.`,
      hint: near === undefined ? `There are ${[...providers.keys()].join(', ')}.` : `Did you mean ${near}?`,
    });
  }
  const used = new Set<string>();
  const url = (name: 'authorizationUrl' | 'tokenUrl' | 'revocationUrl'): string | null => {
    const template = auth[name] ?? row?.[name];
    return template === undefined ? null : expand(template, auth.parameters, row, `auth.${name}`, used, checkUrl);
  };
  const settings: OAuth2Settings = {
    provider: auth.provider ?? null,
    registration: auth.registration,
    registrationUrl: auth.registrationUrl ?? null,
    issuer: auth.issuer ?? row?.issuer ?? null,
    authorizationUrl: url('authorizationUrl'),
    tokenUrl: url('tokenUrl'),
    revocationUrl: url('revocationUrl'),
    clientId: auth.clientId ?? null,
    hasClientSecret: auth.clientSecret !== undefined,
    clientAuth: auth.clientAuth ?? row?.clientAuth ?? null,
    scopes: auth.scopes,
    scopeSeparator: row?.scopeSeparator ?? ' ',
    pkce: auth.pkce ?? row?.pkce ?? true,
    additionalParams: { ...row?.additionalParams, ...auth.additionalParams },
    resource: auth.resource,
    owner: auth.owner,
    fields: auth.fields,
    refreshToken: auth.refreshToken,
  };
  for (const name of Object.keys(auth.parameters)) {
    if (!used.has(name)) {
      throw fail('connector_invalid', { message: `auth.parameters.${name}: no URL of this connector has {${name}}.` });
    }
  }
  return settings;
}

function expand(
  template: string,
  parameters: Readonly<Record<string, string>>,
  row: Provider | undefined,
  path: string,
  used: Set<string>,
  checkUrl: (url: string) => void,
): string {
  if (template.search(URL_PARAMETER) === -1) return template;
  const expanded = template.replaceAll(URL_PARAMETER, (_, name: string, at: number) => {
    used.add(name);
    const declared = row?.parameters[name];
    const value = parameters[name] ?? declared?.default;
    if (value === undefined) {
      throw fail('connector_invalid', {
        message: `auth.parameters.${name} is missing: ${path} has {${name}}.`,
      });
    }
    const fits =
      (at === 0 ? ORIGIN : LABEL).test(value) && (declared === undefined || new RegExp(declared.pattern).test(value));
    if (!fits) {
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
