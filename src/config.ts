import { readFileSync } from 'node:fs';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { fail } from './errors.ts';
import type { LogLevel } from './log.ts';
import { nearest } from './nearest.ts';
import { Secret } from './secret.ts';

type Setting = {
  variable: string;
  /** Key in valetkey.yaml. */
  key: string;
  default: string;
  meaning: string;
  secret?: true;
};

/** Every setting, in the order of docs/settings.md, which is generated from here. */
export const SETTINGS = [
  { variable: 'VALETKEY_PORT', key: 'port', default: '8787', meaning: 'Port that the gateway listens on.' },
  { variable: 'VALETKEY_HOST', key: 'host', default: '127.0.0.1', meaning: 'Address that the gateway listens on.' },
  {
    variable: 'VALETKEY_PUBLIC_URL',
    key: 'publicUrl',
    default: 'http://localhost:PORT',
    meaning:
      'Where clients and browsers reach the gateway: issuer, resource identifiers and callbacks derive from it, byte for byte, never from the Host header.',
  },
  {
    variable: 'VALETKEY_DATA_DIR',
    key: 'dataDir',
    default: './data',
    meaning: 'Embedded database, master key, packages.',
  },
  {
    variable: 'VALETKEY_DATABASE_URL',
    key: 'databaseUrl',
    default: 'embedded SQLite in the data folder',
    meaning: 'postgres://… for replicas.',
    secret: true,
  },
  {
    variable: 'VALETKEY_KEY_SOURCE',
    key: 'keySource',
    default: 'file',
    meaning:
      'Where the master key is: `file` (master.key in the data folder, made on first start) or `env` (VALETKEY_MASTER_KEY).',
  },
  {
    variable: 'VALETKEY_MASTER_KEY',
    key: 'masterKey',
    default: 'none',
    meaning: 'With the key source `env`: 32 random bytes, base64 or hex.',
    secret: true,
  },
  {
    variable: 'VALETKEY_ADMIN_TOKEN',
    key: 'adminToken',
    default: 'none',
    meaning: 'When set, an owner API token for headless set-up; at least 24 characters.',
    secret: true,
  },
  {
    variable: 'VALETKEY_CONFIG',
    key: 'config',
    default: './valetkey.yaml when it exists',
    meaning: 'Declared settings and connectors; `${VAR}` and `${file:PATH}` resolve here, and only here.',
  },
  {
    variable: 'VALETKEY_ACCESS_TOKEN_TTL',
    key: 'accessTokenTtl',
    default: '600',
    meaning: 'Seconds that our own access tokens live, 30 to 900.',
  },
  {
    variable: 'VALETKEY_ALLOW_PRIVATE_NETWORK',
    key: 'allowPrivateNetwork',
    default: 'loopback when the public URL is loopback, else none',
    meaning:
      'CIDRs and hosts, comma-separated, that outbound requests may reach besides public addresses; `none` for none.',
  },
  {
    variable: 'VALETKEY_WEBHOOK_URL',
    key: 'webhookUrl',
    default: 'none',
    meaning: 'Where the gateway posts signed events, such as a connection that needs its owner.',
  },
  {
    variable: 'VALETKEY_WEBHOOK_SECRET',
    key: 'webhookSecret',
    default: 'none',
    meaning: 'Signs these events (HMAC-SHA256): `whsec_` and base64, or 24 characters or more.',
    secret: true,
  },
  {
    variable: 'VALETKEY_LOG_LEVEL',
    key: 'logLevel',
    default: 'info',
    meaning: 'silent, fatal, error, warn, info, debug or trace.',
  },
] as const satisfies readonly Setting[];

export type Config = {
  port: number;
  host: string;
  /** Origin without a trailing slash. */
  publicUrl: string;
  dataDir: string;
  databaseUrl: Secret | undefined;
  keySource: 'file' | 'env';
  masterKey: Secret | undefined;
  adminToken: Secret | undefined;
  accessTokenTtlSeconds: number;
  allowPrivateNetwork: string[];
  /** Where events go, and what signs them. */
  webhook: { url: string; secret: Secret } | undefined;
  logLevel: LogLevel;
  /** Connector documents declared in the file, not validated yet, with references resolved. */
  connectors: unknown[];
  /** Where each setting came from, for `config show`. */
  sources: Record<string, 'default' | 'environment' | 'file'>;
};

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

export function isLoopbackHost(hostname: string): boolean {
  return LOOPBACK.test(hostname);
}

const publicUrlSchema = z
  .string()
  .refine((value) => URL.canParse(value) && /^https?:\/\//.test(value), 'must be an http or https URL')
  .transform((value) => value.replace(/\/$/, ''))
  .refine((value) => new URL(value).origin === value, 'must be an origin: scheme, host and port, without a path')
  .refine(
    (value) => value.startsWith('https:') || isLoopbackHost(new URL(value).hostname),
    'must use https unless it is loopback',
  );

const schema = z.object({
  port: z.coerce.number().int().min(0).max(65_535).default(8787),
  host: z.string().min(1).default('127.0.0.1'),
  publicUrl: publicUrlSchema.optional(),
  dataDir: z.string().min(1).default('./data'),
  databaseUrl: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must begin with postgres://')
    .optional(),
  keySource: z.enum(['file', 'env']).default('file'),
  masterKey: z.string().optional(),
  adminToken: z.string().min(24, 'must have at least 24 characters').optional(),
  accessTokenTtl: z.coerce.number().int().min(30).max(900).default(600),
  allowPrivateNetwork: z.string().optional(),
  webhookUrl: z
    .string()
    .refine(
      (value) =>
        URL.canParse(value) &&
        (value.startsWith('https:') || (value.startsWith('http:') && isLoopbackHost(new URL(value).hostname))),
      'must be an https URL, or http on loopback',
    )
    .optional(),
  webhookSecret: z.string().min(24, 'must have at least 24 characters').optional(),
  logLevel: z.enum(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace']).default('info'),
});

/**
 * Reads the settings: environment before file before default.
 * @throws ValetkeyError setting_unknown, setting_invalid, reference_unresolved; the message names the setting
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, cwd = process.cwd()): Config {
  const known = new Map<string, (typeof SETTINGS)[number]>(SETTINGS.map((setting) => [setting.variable, setting]));
  const values: Record<string, unknown> = {};
  const sources: Config['sources'] = Object.fromEntries(SETTINGS.map(({ key }) => [key, 'default']));

  const file = readConfigFile(env['VALETKEY_CONFIG'], cwd, env);
  for (const [key, value] of Object.entries(file.settings)) {
    if (!SETTINGS.some((setting) => setting.key === key && key !== 'config')) {
      throw unknownSetting(key, [...SETTINGS.map((setting) => setting.key), 'connectors'], file.path);
    }
    values[key] = Array.isArray(value) ? value.join(',') : value;
    sources[key] = 'file';
  }
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('VALETKEY_') || variable === 'VALETKEY_URL' || variable === 'VALETKEY_TOKEN') continue;
    const setting = known.get(variable);
    if (setting === undefined) throw unknownSetting(variable, [...known.keys()], 'the environment');
    if (value === undefined || value === '') continue;
    values[setting.key] = value;
    sources[setting.key] = 'environment';
  }
  delete values['config'];

  const parsed = schema.safeParse(values);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const key = String(issue?.path[0]);
    const setting = SETTINGS.find((candidate) => candidate.key === key);
    throw fail('setting_invalid', { message: `${setting?.variable ?? key} ${issue?.message ?? 'is invalid'}.` });
  }
  const settings = parsed.data;
  const { webhookUrl, webhookSecret } = settings;
  if ((webhookUrl === undefined) !== (webhookSecret === undefined)) {
    throw fail('setting_invalid', {
      message: `VALETKEY_WEBHOOK_${webhookUrl === undefined ? 'URL' : 'SECRET'} is needed beside the other one.`,
    });
  }
  const publicUrl = settings.publicUrl ?? `http://localhost:${settings.port}`;
  const loopback = isLoopbackHost(new URL(publicUrl).hostname);
  const allowed = settings.allowPrivateNetwork ?? (loopback ? 'loopback' : 'none');
  return {
    port: settings.port,
    host: settings.host,
    publicUrl,
    dataDir: settings.dataDir,
    databaseUrl: settings.databaseUrl === undefined ? undefined : new Secret(settings.databaseUrl),
    keySource: settings.keySource,
    masterKey: settings.masterKey === undefined ? undefined : new Secret(settings.masterKey),
    adminToken: settings.adminToken === undefined ? undefined : new Secret(settings.adminToken),
    accessTokenTtlSeconds: settings.accessTokenTtl,
    allowPrivateNetwork:
      allowed === 'none'
        ? []
        : allowed
            .split(',')
            .map((item) => item.trim())
            .filter((item) => item !== ''),
    webhook:
      webhookUrl === undefined || webhookSecret === undefined
        ? undefined
        : { url: webhookUrl, secret: new Secret(webhookSecret) },
    logLevel: settings.logLevel,
    connectors: file.connectors,
    sources,
  };
}

type ConfigFile = { path: string; settings: Record<string, unknown>; connectors: unknown[] };

function readConfigFile(
  named: string | undefined,
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): ConfigFile {
  const path = named ?? `${cwd}/valetkey.yaml`;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (named === undefined && (cause as NodeJS.ErrnoException).code === 'ENOENT')
      return { path, settings: {}, connectors: [] };
    throw fail('setting_invalid', { message: `VALETKEY_CONFIG: ${path} cannot be read.`, cause });
  }
  let document: unknown;
  try {
    document = parseYaml(text, { maxAliasCount: 100, prettyErrors: true });
  } catch (cause) {
    throw fail('setting_invalid', { message: `${path}: ${(cause as Error).message}`, cause });
  }
  if (document === null || document === undefined) return { path, settings: {}, connectors: [] };
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw fail('setting_invalid', { message: `${path} must be a mapping of settings.` });
  }
  const { connectors = [], ...settings } = resolveReferences(document, '', path, env) as Record<string, unknown>;
  if (!Array.isArray(connectors)) throw fail('setting_invalid', { message: `${path}: connectors must be a list.` });
  return { path, settings, connectors };
}

const REFERENCE = /\$\{(file:)?([^}]+)\}/g;

function resolveReferences(
  value: unknown,
  at: string,
  path: string,
  env: Readonly<Record<string, string | undefined>>,
): unknown {
  if (typeof value === 'string') {
    return value.replaceAll(REFERENCE, (_, isFile: string | undefined, name: string) => {
      if (isFile === undefined) {
        const found = env[name];
        if (found !== undefined) return found;
        throw fail('reference_unresolved', {
          message: `${path}: ${at} refers to the variable ${name}, which is not set.`,
        });
      }
      try {
        return readFileSync(name, 'utf8').trimEnd();
      } catch (cause) {
        throw fail('reference_unresolved', {
          message: `${path}: ${at} refers to the file ${name}, which cannot be read.`,
          cause,
        });
      }
    });
  }
  if (Array.isArray(value)) return value.map((item, index) => resolveReferences(item, `${at}[${index}]`, path, env));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      resolveReferences(item, at === '' ? name : `${at}.${name}`, path, env),
    ]),
  );
}

function unknownSetting(name: string, known: readonly string[], where: string): Error {
  const near = nearest(name, known);
  return fail('setting_unknown', {
    message: `${name} in ${where} is not a setting.`,
    hint: near === undefined ? 'See docs/settings.md.' : `Did you mean ${near}?`,
  });
}
