import { compilePattern } from './provider-pattern.ts';
import type { Provider } from './provider-row.ts';

/** What an answer or a callback of the service adds to a connection. */
export type Capture = {
  name: string;
  source: 'callback' | 'token_response' | 'lookup';
  from: string;
  fits: (value: string) => boolean;
};

/** How a service strays from the standards, for whoever talks OAuth to it. Templates still have their `{name}`. */
export type ServiceRules = Pick<
  Provider,
  | 'basicEncoding'
  | 'basicUser'
  | 'body'
  | 'authorize'
  | 'exchange'
  | 'refresh'
  | 'answer'
  | 'errors'
  | 'refreshToken'
  | 'rotation'
  | 'lifetimes'
  | 'lookups'
  | 'expirySignals'
> & {
  /** Of the file; 0 without one. */
  catalogueVersion: number;
  revocation: Provider['revocation'] | null;
  offlineScope: string | null;
  /** The service knows no scopes in requests. */
  scopesFixed: boolean;
  captures: readonly Capture[];
  /** Parameters of the connector document, defaults filled in. */
  values: Readonly<Record<string, string>>;
};

const PLAIN_STEP = { parameters: {}, rename: {}, omit: [] };

/** A service that keeps to the standards, as far as anyone knows. */
export const PLAIN_RULES: ServiceRules = {
  catalogueVersion: 0,
  basicEncoding: 'form',
  basicUser: 'client_id',
  body: 'form',
  authorize: PLAIN_STEP,
  exchange: PLAIN_STEP,
  refresh: { ...PLAIN_STEP, method: 'POST', repeat: [] },
  answer: { unit: 's', zeroMeans: 'unknown', failure: [] },
  errors: [],
  refreshToken: 'sometimes',
  rotation: { kind: 'unknown', reuse: 'unknown', endsOldAccessToken: false },
  lifetimes: {},
  lookups: [],
  expirySignals: [],
  revocation: null,
  offlineScope: null,
  scopesFixed: false,
  captures: [],
  values: {},
};

export function rulesOf(row: Provider, values: Readonly<Record<string, string>>): ServiceRules {
  return {
    catalogueVersion: row.catalogueVersion,
    basicEncoding: row.basicEncoding,
    basicUser: row.basicUser,
    body: row.body,
    authorize: row.authorize,
    exchange: row.exchange,
    refresh: row.refresh,
    answer: row.answer,
    errors: row.errors,
    refreshToken: row.refreshToken,
    rotation: row.rotation,
    lifetimes: row.lifetimes,
    lookups: row.lookups,
    expirySignals: row.expirySignals,
    revocation: row.revocation ?? null,
    offlineScope: row.scopes.offline ?? null,
    scopesFixed: row.scopes.fixed,
    captures: capturesOf(row),
    values,
  };
}

/** Of an authorization server that the MCP endpoint names itself, the file knows no more than this. */
export function discoveredRules(row: Provider, values: Readonly<Record<string, string>>): ServiceRules {
  return {
    ...PLAIN_RULES,
    catalogueVersion: row.catalogueVersion,
    rotation: row.mcp?.rotation ?? PLAIN_RULES.rotation,
    values,
  };
}

function capturesOf(row: Provider): Capture[] {
  return Object.entries(row.parameters).flatMap(([name, { source, from, pattern }]) =>
    source === 'operator' || source === 'user' || from === undefined
      ? []
      : [{ name, source, from, fits: compilePattern(pattern).test }],
  );
}
