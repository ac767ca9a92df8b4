import { fail } from '../errors.ts';
import type { ConnectorId, TenantId } from '../ids.ts';
import { Secret } from '../secret.ts';
import type { Vault } from '../vault/vault.ts';
import { connectionSettings } from './connection-settings.ts';
import type { ConnectorDocument, OAuth2Settings } from './connector.ts';
import { parseDocument } from './document.ts';
import { secretFields } from './plain-secrets.ts';
import { fillInUrl, resolveOAuth, type Providers } from './provider.ts';
import type { ConnectorRow } from './store.ts';

/** What this room needs of the vault. */
export type Sealer = Pick<Vault, 'seal' | 'open' | 'secrets'>;

export type PlainSecrets = Record<string, string>;

const context = (row: { tenant: TenantId; id: ConnectorId; revision: number }) => ({
  tenant: row.tenant,
  row: row.id,
  field: 'connector.secrets',
  generation: row.revision,
});

/** The plain secrets of a row by path. */
export async function openSecrets(vault: Sealer, row: ConnectorRow): Promise<PlainSecrets> {
  if (row.sealed === null) return {};
  return JSON.parse((await vault.open(context(row), row.sealed)).unwrap()) as PlainSecrets;
}

export async function sealSecrets(
  vault: Sealer,
  row: { tenant: TenantId; id: ConnectorId; revision: number },
  secrets: PlainSecrets,
): Promise<string | null> {
  if (Object.keys(secrets).length === 0) return null;
  return await vault.seal(context(row), new Secret(JSON.stringify(secrets)));
}

export type Prepared = { document: ConnectorDocument; secrets: PlainSecrets };

/**
 * A document ready to be written: validated, with `***` filled from what is stored.
 * @throws ValetkeyError connector_invalid, connector_unsupported, secret_required
 */
export function prepare(
  input: unknown,
  stored: { document: ConnectorDocument; secrets: PlainSecrets } | undefined,
  rules: { providers: Providers; checkUrl: (url: string) => void },
): Prepared {
  const { document, plain } = parseDocument(fillInUrl(input, rules.providers), rules.checkUrl);
  const oauth =
    document.auth.type === 'oauth2' ? resolveOAuth(document.auth, rules.providers, rules.checkUrl, document.url) : null;
  if (document.access.mode === 'public' && connectionSettings(document.auth)?.owner === 'user') {
    throw fail('connector_invalid', {
      message: 'access.mode: public has no signed-in user whose connection could be used.',
      hint: 'Set auth.owner: tenant to share one connection with every caller, or access.mode: oauth.',
    });
  }
  const secrets: PlainSecrets = {};
  for (const [path, field] of secretFields(document)) {
    if (field !== '***') continue;
    const given = plain.get(path)?.unwrap();
    const value = given ?? stored?.secrets[path];
    if (value === undefined) {
      throw fail('connector_invalid', {
        message: `${path}: "***" stands for the stored value, and none is stored.`,
        hint: 'Send the value, or {secret: NAME}.',
      });
    }
    if (given === undefined && stored !== undefined) {
      const moved = movedEndpoint(stored.document, document, oauth, rules);
      if (moved !== undefined) {
        throw fail('secret_required', { message: `${path} has to be sent again: ${moved} changes, where it is sent.` });
      }
    }
    secrets[path] = value;
  }
  return { document, secrets };
}

/** Which address changes that a kept secret would be sent to. */
function movedEndpoint(
  before: ConnectorDocument,
  after: ConnectorDocument,
  oauth: OAuth2Settings | null,
  rules: { providers: Providers },
): string | undefined {
  if (new URL(before.url).origin !== new URL(after.url).origin) return 'url';
  if (after.auth.type === 'login' && before.auth.type === 'login') {
    if (before.auth.loginUrl !== after.auth.loginUrl) return 'auth.loginUrl';
    return before.auth.refreshUrl === after.auth.refreshUrl ? undefined : 'auth.refreshUrl';
  }
  if (oauth === null || before.auth.type !== 'oauth2') return undefined;
  // What is stored was checked when it came; only its addresses matter here.
  const previous = resolveOAuth(before.auth, rules.providers, () => undefined, before.url);
  for (const name of ['tokenUrl', 'revocationUrl', 'issuer', 'registrationUrl'] as const) {
    if (previous[name] !== oauth[name]) return `auth.${name}`;
  }
  return undefined;
}

/** RFC 7396, except that another type of auth replaces what was there instead of being mixed into it. */
export function mergeDocument(stored: ConnectorDocument, patch: unknown): unknown {
  if (!isPlain(patch)) throw fail('connector_invalid', { message: 'A change is a mapping of fields.' });
  const { auth } = patch;
  const base: Record<string, unknown> = { ...stored };
  if (isPlain(auth) && auth['type'] !== undefined && auth['type'] !== stored.auth.type) base['auth'] = {};
  return mergePatch(base, patch);
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isPlain(patch)) return patch;
  const result: Record<string, unknown> = isPlain(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = mergePatch(result[name], value);
  }
  return result;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
