import { z } from 'zod';
import type { Audit } from '../audit/audit.ts';
import type { Epoch } from '../database/epoch.ts';
import { route, type Route } from './routes.ts';

const doubt = z.enum(['copied', 'restored']).nullable();

/** Whether this database is the one that spends tokens, and the owner's word that it is. */
export function instanceRoutes(deps: { epoch: Epoch; audit: Pick<Audit, 'record'> }): Route[] {
  const { epoch, audit } = deps;
  return [
    route({
      method: 'GET',
      path: '/instance',
      id: 'getInstance',
      summary: 'Whether this gateway may renew tokens, or takes its database for a copy or an older state.',
      action: 'instance.read',
      answer: z.object({ epoch: z.int(), doubt }),
      run: async () => await Promise.resolve({ body: { epoch: epoch.number(), doubt: epoch.doubt() ?? null } }),
    }),
    route({
      method: 'POST',
      path: '/instance/adopt',
      id: 'adoptInstance',
      summary: 'From here on this database is the one that renews tokens. No other gateway may run on the original.',
      action: 'instance.adopt',
      answer: z.object({ epoch: z.int(), was: doubt }),
      async run({ caller }) {
        const adopted = await epoch.adopt();
        await audit.record({
          tenant: caller.principal.tenant,
          action: 'instance.adopted',
          actor: caller.actor,
          address: caller.address,
          outcome: 'success',
          detail: { epoch: adopted.epoch, was: adopted.was },
        });
        return { body: adopted };
      },
    }),
  ];
}
