import { Secret } from '../secret.ts';
import { connectionSettings } from './connection-settings.ts';
import type { Connector, SecretField } from './connector.ts';
import type { Credential } from './credential.ts';
import { openSecrets, type PlainSecrets, type Sealer } from './write.ts';
import { secretFields } from './plain-secrets.ts';
import type { ConnectorRow } from './store.ts';

/** What a connector still lacks before its upstream can be called with a credential. */
export type Missing = { field: string; message: string; hint: string };

/** Named secrets count into the generation below this; a connector's revision above it. */
const VERSIONS = 100_000;

type Opened = { values: Map<string, Secret>; missing: Missing[]; generation: number };

async function open(vault: Sealer, row: ConnectorRow): Promise<Opened> {
  const plain: PlainSecrets = await openSecrets(vault, row);
  const fields = secretFields(row.document);
  const named = fields.some(([, field]) => field !== '***') ? await vault.secrets.list(row.tenant) : [];
  const values = new Map<string, Secret>();
  const missing: Missing[] = [];
  let versions = 0;
  for (const [path, field] of fields) {
    const value = await resolve(vault, row, plain, path, field);
    if (value !== undefined) values.set(path, value);
    if (field === '***') continue;
    versions += named.find(({ name }) => name === field.secret)?.version ?? 0;
    if (value === undefined) {
      missing.push({
        field: path,
        message: `${path} refers to the secret ${field.secret}, which does not exist.`,
        hint: `Store it: PUT /api/v1/secrets/${field.secret}.`,
      });
    }
  }
  return { values, missing, generation: row.revision * VERSIONS + (versions % VERSIONS) };
}

async function resolve(
  vault: Sealer,
  row: ConnectorRow,
  plain: PlainSecrets,
  path: string,
  field: SecretField,
): Promise<Secret | undefined> {
  if (field !== '***') return await vault.secrets.get(row.tenant, field.secret);
  const value = plain[path];
  return value === undefined ? undefined : new Secret(value);
}

/** The credential of a connector whose auth is not OAuth; null when it has none or something is missing. */
export async function staticCredential(vault: Sealer, row: ConnectorRow): Promise<Credential | null> {
  const { auth } = row.document;
  if (auth.type === 'none' || connectionSettings(auth) !== null) return null;
  const { values, generation } = await open(vault, row);
  const fields = fieldsOf(row.document.auth, values);
  if (fields === undefined) return null;
  return { key: `static:${row.id}`, generation, fields, expiresAt: null };
}

function fieldsOf(
  auth: Connector['document']['auth'],
  values: Map<string, Secret>,
): Record<string, Secret> | undefined {
  switch (auth.type) {
    case 'bearer': {
      const token = values.get('auth.token');
      return token === undefined ? undefined : { token, access_token: token };
    }
    case 'api-key': {
      const value = values.get('auth.value');
      return value === undefined ? undefined : { value };
    }
    case 'basic': {
      const password = values.get('auth.password');
      if (password === undefined || auth.username === undefined) return undefined;
      const basic = Buffer.from(`${auth.username}:${password.unwrap()}`).toString('base64');
      return { username: new Secret(auth.username), password, basic: new Secret(basic) };
    }
    case 'headers': {
      const fields: Record<string, Secret> = {};
      for (const name of Object.keys(auth.headers)) {
        const value = values.get(`auth.headers.${name}`);
        if (value === undefined) return undefined;
        fields[name] = value;
      }
      return fields;
    }
    default:
      return undefined;
  }
}

/** A secret of the document by its path, such as `auth.privateKey`. */
export async function secretAt(vault: Sealer, row: ConnectorRow, path: string): Promise<Secret | undefined> {
  return (await open(vault, row)).values.get(path);
}

/** The client secrets of an OAuth connector in order: while one is rolled over there are several. */
export async function clientSecrets(vault: Sealer, row: ConnectorRow): Promise<Secret[]> {
  if (row.document.auth.type !== 'oauth2') return [];
  const { values } = await open(vault, row);
  return [...values].filter(([path]) => /^auth\.clientSecret(\.|$)/.test(path)).map(([, secret]) => secret);
}

/** A client secret of an OAuth connector. */
export async function clientSecret(vault: Sealer, row: ConnectorRow): Promise<Secret | undefined> {
  if (row.document.auth.type !== 'oauth2') return undefined;
  return (await clientSecrets(vault, row))[0];
}

const lacks = (field: string): Missing => ({
  field,
  message: `${field} is not set yet.`,
  hint: 'Add it to the connector; tools that the upstream lists without a credential are there already.',
});

/** What has to be added before calls can carry a credential. A person's own connection is not among it. */
export async function missingOf(vault: Sealer, row: ConnectorRow): Promise<Missing[]> {
  const { auth } = row.document;
  const { missing } = await open(vault, row);
  const absent = (names: readonly string[]): Missing[] =>
    names.filter((name) => (auth as Record<string, unknown>)[name] === undefined).map((name) => lacks(`auth.${name}`));
  const entered = connectionSettings(auth)?.asks.length ?? 0;
  if (entered > 0) return missing;
  switch (auth.type) {
    case 'bearer':
      return [...missing, ...absent(['token'])];
    case 'login':
      return [...missing, ...absent(['username', 'password'])];
    case 'api-key':
      return [...missing, ...absent(['value'])];
    case 'basic':
      return [...missing, ...absent(['username', 'password'])];
    case 'oauth2':
      if (auth.flow === 'jwt_bearer') return [...missing, ...absent(['privateKey'])];
      if (auth.flow === 'client_credentials') return [...missing, ...absent(['clientId'])];
      return [...missing, ...(auth.registration === 'static' ? absent(['clientId']) : [])];
    default:
      return missing;
  }
}
