import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAudit } from '../../src/audit/audit.ts';
import { movableClock, systemClock } from '../../src/clock.ts';
import { openDatabase } from '../../src/database/database.ts';
import { createIdentity } from '../../src/identity/identity.ts';
import { DEFAULT_TENANT } from '../../src/identity/principal.ts';
import { mountIdentity } from '../../src/identity/routes.ts';
import { createLog } from '../../src/log.ts';
import { Secret } from '../../src/secret.ts';
import { createWeb, type Web } from '../../src/web/web.ts';

export const PASSWORD = 'four random words here';

/** Moves when the test says so: waits that are under test must not run out on a slow machine. */
export function standingClock() {
  const now = systemClock.now();
  return movableClock({ ...systemClock, now: () => now });
}

/** A server with the pages of identity and nothing else, on a store of its own; `close` takes both away. */
export async function startIdentity(publicUrl = 'http://127.0.0.1', prepare: (web: Web) => void = () => undefined) {
  const log = createLog({ level: 'silent' });
  const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-test-'));
  const clock = standingClock();
  const database = await openDatabase({ dataDir, clock, log });
  const audit = createAudit({ database, clock });
  const identity = await createIdentity({ database, clock, audit, publicUrl });
  const web = createWeb({ log, allowedHosts: () => true });
  mountIdentity({ web, identity, publicUrl });
  prepare(web);
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  return {
    database,
    identity,
    clock,
    url: `http://127.0.0.1:${port}`,
    owner: () =>
      identity.users.create({
        tenant: DEFAULT_TENANT,
        email: 'ada@example.com',
        name: 'Ada',
        role: 'owner',
        password: new Secret(PASSWORD),
      }),
    close: async () => {
      await web.close(100);
      await database.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
