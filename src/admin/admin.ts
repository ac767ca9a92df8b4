import type { Hono } from 'hono';
import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { Epoch } from '../database/epoch.ts';
import type { Identity } from '../identity/identity.ts';
import type { Log } from '../log.ts';
import type { Vault } from '../vault/vault.ts';
import { accountRoutes } from './account.ts';
import { createIdentify, type VerifyToken } from './caller.ts';
import { connectionRoutes, type ConnectionDoor } from './connections.ts';
import { credentialRoutes } from './credential.ts';
import { connectorRoutes } from './connectors.ts';
import { instanceRoutes } from './instance.ts';
import { doctorRoutes } from './doctor.ts';
import { providerRoutes } from './providers.ts';
import { mountRoutes } from './routes.ts';
import { secretRoutes } from './secrets.ts';
import { tokenRoutes } from './tokens.ts';
import { toolRoutes, type Upstream } from './tools.ts';
import { userRoutes } from './users.ts';

/** Mounts the admin API, `/api/v1/…`, and its description. */
export function createAdmin(options: {
  app: Hono;
  publicUrl: string;
  identity: Pick<Identity, 'session' | 'apiPrincipal' | 'users' | 'apiTokens'>;
  verify: VerifyToken;
  connectors: Connectors;
  connections: ConnectionDoor;
  upstream: Upstream;
  callbackUrl: (connector: Connector) => Promise<string | null>;
  vault: Pick<Vault, 'secrets'>;
  audit: Pick<Audit, 'record'>;
  epoch: Epoch;
  clock: Clock;
  log: Log;
}): void {
  const { app, publicUrl, identity, connectors, audit, clock, log } = options;
  mountRoutes({
    app,
    publicUrl,
    log,
    identify: createIdentify({ identity, verify: options.verify, publicUrl }),
    routes: [
      ...accountRoutes({ apiTokens: identity.apiTokens, audit, clock }),
      ...connectorRoutes({ connectors, connections: options.connections, publicUrl, callbackUrl: options.callbackUrl }),
      ...credentialRoutes({ connectors, connections: options.connections, callbackUrl: options.callbackUrl }),
      ...tokenRoutes({ connectors, connections: options.connections, users: identity.users, publicUrl, clock }),
      ...doctorRoutes({ connectors, connections: options.connections }),
      ...providerRoutes({ connectors }),
      ...toolRoutes({ connectors, upstream: options.upstream, clock }),
      ...connectionRoutes({ connectors, connections: options.connections }),
      ...userRoutes({ users: identity.users, audit, publicUrl }),
      ...instanceRoutes({ epoch: options.epoch, audit }),
      ...secretRoutes({ secrets: options.vault.secrets, connectors, audit }),
    ],
  });
}
