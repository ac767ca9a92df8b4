import type { Adapter, AdapterPayload } from 'oidc-provider';
import type { Clock } from '../clock.ts';
import { hashToken, newToken } from '../ids.ts';
import type { ClientMetadata } from './client-metadata.ts';
import { openBy, sealBy } from './self-sealed.ts';
import type { Store, StoredRecord } from './store.ts';

/** Records whose payload holds bearer values (their own in a URL, a request_uri) besides the request itself. */
const SEALED = new Set(['Interaction', 'PushedAuthorizationRequest']);

/** Where a device's code leads to the record of the device. */
export const USER_CODE = 'UserCode';

export type Revoked =
  | { kind: 'grant'; grant: string }
  | { kind: 'token'; hash: string }
  | { kind: 'user'; account: string };

export type AdapterOptions = {
  store: Store;
  clock: Clock;
  /** Clients that no table of ours knows by themselves: client-id metadata documents. */
  findDocumentClient(clientId: string): Promise<ClientMetadata | undefined>;
  revoked(what: Revoked): Promise<void>;
  /** A code or request that is presented a second time. Throws what the engine is to answer. */
  replayed(model: string, grant: string | null): Promise<never>;
};

export function toRecord(model: string, id: string, payload: AdapterPayload, expiresAt: number | null): StoredRecord {
  const { jti: _jti, ...rest } = payload;
  // A grant is saved once, when it is given.
  const text = JSON.stringify(model === 'Grant' ? { ...rest, chainKey: newToken(16) } : rest);
  return {
    model,
    id_hash: hashToken(id),
    payload: SEALED.has(model) ? sealBy(id, model, text) : text,
    grant_id: model === 'Grant' ? id : (payload.grantId ?? null),
    account: payload.accountId ?? null,
    client_id: payload.clientId ?? null,
    expires_at: expiresAt,
    consumed_at: null,
    successor: null,
  };
}

function fromRecord(record: StoredRecord, id: string): AdapterPayload | undefined {
  const text = SEALED.has(record.model) ? openBy(id, record.model, record.payload) : record.payload;
  if (text === undefined) return undefined;
  const payload = JSON.parse(text) as AdapterPayload;
  // A client's row has no such member: its cache is keyed by the payload.
  if (record.model !== 'Client') payload.jti = id;
  if (record.consumed_at !== null) payload.consumed = Math.floor(record.consumed_at / 1_000);
  return payload;
}

/** The engine's storage. Ids are bearer values and reach the store as hashes only. */
export function createAdapterFactory(options: AdapterOptions): (model: string) => Adapter {
  const { store, clock } = options;
  return (model) => ({
    async upsert(id, payload, expiresIn) {
      const expiresAt = typeof expiresIn === 'number' ? clock.now() + expiresIn * 1_000 : null;
      const { userCode, ...rest } = payload;
      await store.upsert(toRecord(model, id, rest, expiresAt));
      if (model === 'DeviceCode' && userCode !== undefined) {
        await store.upsert(toRecord(USER_CODE, userCode, { device: hashToken(id) }, expiresAt));
      }
    },
    async find(id) {
      const record = await store.find(model, hashToken(id), clock.now());
      if (record !== undefined) return fromRecord(record, id);
      return model === 'Client' ? await options.findDocumentClient(id) : undefined;
    },
    async consume(id) {
      const hash = hashToken(id);
      if (await store.consume(model, hash, clock.now())) return;
      const record = await store.find(model, hash, clock.now());
      await options.replayed(model, record?.grant_id ?? null);
    },
    async destroy(id) {
      const hash = hashToken(id);
      await store.remove(model, hash);
      if (model === 'AccessToken') await options.revoked({ kind: 'token', hash });
      if (model === 'Grant') {
        await store.removeOfGrant(id);
        await options.revoked({ kind: 'grant', grant: id });
      }
    },
    async revokeByGrantId(grant) {
      await store.removeOfGrant(grant, model);
      if (model === 'AccessToken') await options.revoked({ kind: 'grant', grant });
    },
    // Browser sessions are identity's and device codes are not offered, so nothing is looked up by these.
    findByUid: () => Promise.resolve(undefined),
    findByUserCode: () => Promise.resolve(undefined),
  });
}
