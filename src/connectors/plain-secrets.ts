import { Secret } from '../secret.ts';

type Plain = Record<string, unknown>;

/** Members of `auth` that hold a secret, besides the values of `auth.headers`. */
const SECRET_MEMBERS = [
  'token',
  'value',
  'password',
  'clientSecret',
  'subjectToken',
  'actorToken',
  'privateKey',
] as const;

/** `***`: write-only values come back as this, and mean "as stored" when they are sent again. */
export const KEPT = '***';

/**
 * Takes plain secrets out of a document before anything else looks at it, so that no error, log or row can show one.
 * Numbers are taken as well: an all-digit token in YAML is a number.
 */
export function takeSecrets(input: Plain): { without: Plain; plain: Map<string, Secret> } {
  const plain = new Map<string, Secret>();
  const { auth } = input;
  if (!isPlain(auth)) return { without: input, plain };

  const take = (path: string, value: unknown): unknown => {
    if (typeof value === 'number') value = String(value);
    if (typeof value !== 'string' || value === KEPT) return value;
    if (value === '') return undefined;
    plain.set(path, new Secret(value));
    return KEPT;
  };

  const result: Plain = { ...auth };
  for (const member of SECRET_MEMBERS) {
    const value = result[member];
    if (Array.isArray(value)) result[member] = value.map((item, index) => take(`auth.${member}.${index}`, item));
    else if (member in result) result[member] = take(`auth.${member}`, value);
  }
  if (isPlain(result['headers'])) {
    result['headers'] = Object.fromEntries(
      Object.entries(result['headers']).map(([name, value]) => [name, take(`auth.headers.${name}`, value)]),
    );
  }
  return { without: { ...input, auth: result }, plain };
}

/** Every place of a validated document that holds a secret: path and what stands there. */
export function secretFields(document: { auth: unknown }): [string, '***' | { secret: string }][] {
  const auth = document.auth as Plain;
  const found: [string, unknown][] = SECRET_MEMBERS.flatMap((member): [string, unknown][] => {
    const value = auth[member];
    if (Array.isArray(value)) return value.map((item: unknown, index) => [`auth.${member}.${index}`, item]);
    return [[`auth.${member}`, value]];
  });
  if (isPlain(auth['headers'])) {
    for (const [name, value] of Object.entries(auth['headers'])) found.push([`auth.headers.${name}`, value]);
  }
  return found.filter(
    (pair): pair is [string, '***' | { secret: string }] =>
      pair[1] === '***' || (isPlain(pair[1]) && 'secret' in pair[1]),
  );
}

function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
