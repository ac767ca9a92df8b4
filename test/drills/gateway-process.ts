/** A process of the gateway under drill: real parts on a real store, told over IPC what to do, and how to die. */
import { movableClock } from '../../src/clock.ts';
import { DEFAULT_TENANT } from '../../src/identity/principal.ts';
import { openHouse, type House, type Person } from '../connections/house.ts';
import type { Order, Row } from './process.ts';

const clock = movableClock();
let killAt: string | undefined;
let house: House | undefined;
let person: Person | undefined;
let asking: Promise<void> | undefined;
let asked = { served: 0, refused: 0, wrong: 0 };

async function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return await new Promise(() => undefined);
}

function opened(): { house: House; person: Person } {
  if (house === undefined || person === undefined) throw new Error('not open');
  return { house, person };
}

async function askOne(name: string): Promise<'served' | 'refused'> {
  const { house: at, person: who } = opened();
  const connector = at.connectors.find(DEFAULT_TENANT, name);
  if (connector === undefined) throw new Error(`no connector ${name}`);
  const answer = await at.connections.credential(connector, who.principal);
  return answer !== null && 'fields' in answer ? 'served' : 'refused';
}

const names = (): string[] =>
  opened()
    .house.connectors.list(DEFAULT_TENANT)
    .map(({ name }) => name);

async function ask(callers: number): Promise<typeof asked> {
  const counts = { served: 0, refused: 0, wrong: 0 };
  const one = async (name: string): Promise<void> => {
    try {
      counts[await askOne(name)] += 1;
    } catch {
      counts.wrong += 1;
    }
  };
  await Promise.all(names().flatMap((name) => Array.from({ length: callers }, async () => await one(name))));
  return counts;
}

async function rows(): Promise<Row[]> {
  const { house: at } = opened();
  const found = await at.database.query.selectFrom('connections').selectAll().execute();
  return found.map((row) => ({
    id: row.id,
    client: (JSON.parse(row.terms) as { clientId?: string } | null)?.clientId ?? null,
    status: row.status,
    generation: row.generation,
    open: row.attempt !== null,
    error: row.last_error === null ? null : (JSON.parse(row.last_error) as { code: string }).code,
  }));
}

const orders: { [Name in Order['op']]: (order: Extract<Order, { op: Name }>) => unknown } = {
  async open(order) {
    house = await openHouse({
      clock,
      dataDir: order.dataDir,
      ...(order.url === undefined ? {} : { url: order.url }),
      ...(order.instance === undefined ? {} : { instance: order.instance }),
      onStep: async (step) => (step === killAt ? await die() : undefined),
    });
    person = await house.person('alice');
    if (order.sweep) house.connections.start();
  },
  async connect({ service, count, refreshToken = {} }) {
    const at = opened();
    for (let index = 0; index < count; index += 1) {
      const auth = { type: 'oauth2', refreshToken };
      const connector = await at.house.put({ name: `practice-${index}`, url: service, auth });
      const said = await at.house.connect(connector, at.person);
      if (!said.includes('is connected')) throw new Error(said);
    }
  },
  killAt({ step }) {
    killAt = step;
  },
  move({ ms }) {
    clock.move(ms);
  },
  ask: async ({ callers }) => await ask(callers),
  load() {
    asked = { served: 0, refused: 0, wrong: 0 };
    asking ??= (async () => {
      for (;;) {
        await ask(3);
        await clock.sleep(10);
      }
    })();
  },
  rows,
  async close() {
    await house?.close();
    setImmediate(() => process.disconnect?.());
  },
};

process.on('message', (message: { id: number; order: Order }) => {
  void (async () => {
    try {
      const value = await (orders[message.order.op] as (order: Order) => unknown)(message.order);
      process.send?.({ id: message.id, value });
    } catch (error) {
      process.send?.({ id: message.id, error: error instanceof Error ? (error.stack ?? error.message) : 'thrown' });
    }
  })();
});
process.send?.({ id: 0 });
