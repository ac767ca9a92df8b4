import { fail } from '../errors.ts';

type Plain = Record<string, unknown>;

const isPlain = (value: unknown): value is Plain =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What connector documents can say elsewhere or later, and this version does not do: path, value, what is there. */
const LATER: readonly { path: string; values: readonly string[]; available: string }[] = [
  { path: 'kind', values: ['openapi', 'stdio', 'code', 'bundle'], available: 'mcp' },
  { path: 'access.mode', values: ['unlisted', 'api-key'], available: 'oauth and public' },
  {
    path: 'auth.flow',
    values: ['device_code'],
    available: 'authorization_code, client_credentials, token_exchange and jwt_bearer',
  },
  {
    path: 'auth.clientAuth',
    values: ['private_key_jwt', 'client_secret_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'],
    available: 'client_secret_basic, client_secret_post and none',
  },
];

const LATER_FIELDS = ['spec', 'baseUrl', 'run', 'env', 'members', 'access.issuer', 'access.allow.groups'] as const;

/** @throws ValetkeyError connector_unsupported naming the field */
export function refuseUnsupported(input: Plain): void {
  for (const { path, values, available } of LATER) {
    const value = at(input, path);
    if (typeof value === 'string' && values.includes(value)) {
      throw unsupported(`${path}: ${value}`, `Available here: ${available}.`);
    }
  }
  for (const path of LATER_FIELDS) {
    const value = at(input, path);
    // An empty list asks for nothing.
    if (value !== undefined && !(Array.isArray(value) && value.length === 0 && path === 'access.allow.groups')) {
      throw unsupported(path, 'Leave the field out.');
    }
  }
  if (Array.isArray(input['tools'])) throw unsupported('tools as a list (kind code)', 'Available here: kind mcp.');
  const { inject } = input;
  if (Array.isArray(inject)) {
    inject.forEach((rule, index) => {
      if (isPlain(rule) && 'env' in rule) {
        throw unsupported(`inject[${index}].env`, 'Available here: {header, value}.');
      }
    });
  }
}

const unsupported = (what: string, hint: string): Error =>
  fail('connector_unsupported', { message: `${what} is not available in this version.`, hint });

function at(input: Plain, path: string): unknown {
  let value: unknown = input;
  for (const step of path.split('.')) {
    if (!isPlain(value)) return undefined;
    value = value[step];
  }
  return value;
}
