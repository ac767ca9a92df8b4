import type { Provider } from 'oidc-provider';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { hashToken } from '../ids.ts';
import { USER_CODE } from './adapter.ts';
import { displayName } from './client-metadata.ts';
import { provenanceOf, type Request } from './consent.ts';
import { DEVICE_SECONDS, type DevicePayload } from './device-code.ts';
import type { Targets } from './resources.ts';
import type { Store } from './store.ts';

/** The request of a device that shows a code and waits (RFC 8628), found by that code. */
export function createDeviceRequests(options: { provider: Provider; store: Store; clock: Clock; targets: Targets }) {
  const { provider, store, clock, targets } = options;
  return async (typed: string): Promise<Request | undefined> => {
    const code = typed.toUpperCase().replaceAll(/[^A-Z]/g, '');
    const alias = code.length === 8 ? await store.find(USER_CODE, hashToken(code), clock.now()) : undefined;
    if (alias === undefined) return undefined;
    const { device } = JSON.parse(alias.payload) as { device: string };
    const record = await store.find('DeviceCode', device, clock.now());
    if (record === undefined || record.grant_id !== null) return undefined;
    const payload = JSON.parse(record.payload) as DevicePayload;
    const client = await provider.Client.find(record.client_id ?? '');
    const resource = targets.find(payload.params.resource ?? '');
    if (payload.error !== undefined || client === undefined || resource === undefined) return undefined;
    return {
      transaction: `device:${code}`,
      path: '/device',
      fields: { user_code: `${code.slice(0, 4)}-${code.slice(4)}` },
      after: '/device?answered=allowed',
      async settle(answer) {
        const written =
          answer === 'denied'
            ? { payload: JSON.stringify({ ...payload, error: 'access_denied' }), grant_id: null, account: null }
            : { payload: record.payload, grant_id: answer.grant, account: answer.account };
        if (!(await store.answerDevice(device, written, record.payload))) throw fail('authorization_expired');
      },
      client,
      clientName: displayName(client.clientName),
      provenance: provenanceOf(client.clientId),
      redirect: '',
      resource,
      scopes: (payload.params.scope ?? '').split(' ').filter(Boolean),
      prompts: new Set(),
      startedAt: (record.expires_at ?? 0) - DEVICE_SECONDS * 1_000,
    };
  };
}
