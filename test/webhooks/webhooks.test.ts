import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import type { TenantId } from '../../src/ids.ts';
import { createLog } from '../../src/log.ts';
import { Secret } from '../../src/secret.ts';
import { keyOf, signedHeaders } from '../../src/webhooks/signature.ts';
import { createWebhooks, type Webhooks } from '../../src/webhooks/webhooks.ts';

const tenant = 'default' as TenantId;
const KEY = Buffer.from('0123456789abcdef0123456789abcdef');
const SECRET = new Secret(`whsec_${KEY.toString('base64')}`);

let dataDir: string;
let database: Database;
let egress: Egress;
let receiver: Server;
let webhooks: Webhooks;
let logged = '';
let got: { headers: IncomingHttpHeaders; body: string }[];
let answer: () => number;
const clock = movableClock();
const log = createLog({ level: 'debug', destination: { write: (line: string) => void (logged += line) } });

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'valetkey-webhooks-'));
  database = await openDatabase({ dataDir, clock, log });
  egress = createEgress({ allow: ['loopback'] });
  got = [];
  answer = () => 204;
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      got.push({ headers: request.headers, body });
      response.writeHead(answer()).end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  webhooks = createWebhooks({ database, egress, clock, log, receiver: { url, secret: SECRET } });
});
afterEach(async () => {
  await egress.close();
  await database.close();
  await new Promise((resolve) => receiver.close(resolve));
  await rm(dataDir, { recursive: true, force: true });
});

const send = async () =>
  await database.transaction(
    async (at) =>
      await webhooks.enqueue(at, { tenant, type: 'connection.needs_reconnect', data: { connection: 'cnx_1' } }),
  );

it('signs what it sends over id, time and body, so that a receiver with the secret can tell', async () => {
  await send();
  await webhooks.run();
  expect(got).toHaveLength(1);
  const [{ headers, body } = { headers: {}, body: '' }] = got;
  expect(JSON.parse(body)).toMatchObject({ type: 'connection.needs_reconnect', data: { connection: 'cnx_1' } });
  const signed = `${headers['webhook-id'] as string}.${headers['webhook-timestamp'] as string}.${body}`;
  const expected = createHmac('sha256', KEY).update(signed).digest('base64');
  expect(headers['webhook-signature']).toBe(`v1,${expected}`);
  expect(Math.abs(Number(headers['webhook-timestamp']) * 1_000 - clock.now())).toBeLessThan(5_000);
  await webhooks.run();
  expect(got).toHaveLength(1);
});

it('makes the signature of the example that Standard Webhooks publishes', () => {
  const secret = new Secret('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  const event = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}' };
  expect(signedHeaders(keyOf(secret), event, 1_614_265_330_000)).toEqual({
    'webhook-id': event.id,
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  });
});

it('sends again with the same id until it is taken, ever less often', async () => {
  let status = 500;
  answer = () => status;
  await send();
  await webhooks.run();
  clock.move(4_000);
  await webhooks.run();
  expect(got).toHaveLength(1);
  clock.move(1_001);
  await webhooks.run();
  clock.move(19_000);
  await webhooks.run();
  expect(got).toHaveLength(2);
  status = 200;
  clock.move(1_001);
  await webhooks.run();
  clock.move(86_400_000);
  await webhooks.run();
  expect(got).toHaveLength(3);
  expect(new Set(got.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
});

it('outlives its process, and is given up after a day', async () => {
  answer = () => 503;
  await send();
  await webhooks.run();
  const { port } = receiver.address() as AddressInfo;
  const next = createWebhooks({
    database,
    egress,
    clock,
    log,
    receiver: { url: `http://127.0.0.1:${port}/hook`, secret: SECRET },
  });
  let rounds = 0;
  for (; rounds < 60; rounds += 1) {
    clock.move(1_800_000);
    await next.run();
  }
  const tries = got.length;
  expect(tries).toBeGreaterThan(6);
  expect(tries).toBeLessThan(20);
  expect(logged).toContain('it is given up');
  expect(await database.query.selectFrom('webhook_events').selectAll().execute()).toEqual([]);
  expect(logged).not.toContain(KEY.toString('base64'));
});

it('is not made when what it is about is rolled back, nor without a receiver', async () => {
  await expect(
    database.transaction(async (at) => {
      await webhooks.enqueue(at, { tenant, type: 'connection.needs_reconnect', data: {} });
      throw new Error('undone');
    }),
  ).rejects.toThrow('undone');
  const none = createWebhooks({ database, egress, clock, log, receiver: undefined });
  await database.transaction(async (at) => await none.enqueue(at, { tenant, type: 'x', data: {} }));
  expect(await database.query.selectFrom('webhook_events').selectAll().execute()).toEqual([]);
});

it('is sent by one of two processes', async () => {
  const { port } = receiver.address() as AddressInfo;
  const settings = { database, egress, clock, log, receiver: { url: `http://127.0.0.1:${port}/`, secret: SECRET } };
  const other = createWebhooks(settings);
  await send();
  await Promise.all([webhooks.run(), other.run()]);
  expect(got).toHaveLength(1);
});
