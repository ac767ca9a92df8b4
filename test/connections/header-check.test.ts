import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createDoctor } from '../../src/connections/diagnosis.ts';
import { echoedHeaders, mountHeaderCheck, PROBE_PATH } from '../../src/connections/header-check.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { createLog } from '../../src/log.ts';
import { createWeb } from '../../src/web/web.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** A proxy in front of the check that takes headers away, in either direction. */
async function behind(eaten: readonly string[], eatenBack: readonly string[]) {
  const web = createWeb({ log: createLog({ level: 'silent' }), allowedHosts: () => true });
  mountHeaderCheck(web.app);
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  closers.push(() => web.close(0));
  const proxy: Server = createServer((incoming, outgoing) => {
    const headers = Object.fromEntries(Object.entries(incoming.headers).filter(([name]) => !eaten.includes(name)));
    const onward = request({ port, host: '127.0.0.1', path: incoming.url, headers }, (answer) => {
      const back = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !eatenBack.includes(name)));
      outgoing.writeHead(answer.statusCode ?? 502, back);
      answer.pipe(outgoing);
    });
    onward.end();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  closers.push(() => new Promise((resolve) => proxy.close(resolve)));
  const egress = createEgress({ allow: ['loopback'] });
  closers.push(() => egress.close());
  const publicUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const nothing = undefined as never;
  const rest = { discovery: nothing, tokens: nothing, watch: nothing, registrations: nothing };
  return { publicUrl, doctor: createDoctor({ ...rest, egress, publicUrl, clock: systemClock }) };
}

it('finds nothing behind a proxy that lets everything pass', async () => {
  expect(await (await behind([], [])).doctor.selfCheck()).toMatchObject({ check: 'proxy', state: 'ok' });
});

it.each([
  [['authorization'], [], 'authorization'],
  [['mcp-session-id'], [], 'mcp-session-id'],
  [['mcp-protocol-version', 'mcp-method'], [], 'mcp-protocol-version, mcp-method'],
  [[], ['www-authenticate'], 'www-authenticate (back)'],
  [[], ['mcp-session-id'], 'mcp-session-id (back)'],
])('names what a proxy takes away: %j on the way, %j on the way back', async (eaten, eatenBack, lost) => {
  const found = await (await behind(eaten, eatenBack)).doctor.selfCheck();
  expect(found).toMatchObject({ state: 'failed', message: expect.stringContaining(`lost: ${lost}.`) });
});

it('skips what it cannot judge: a gateway that does not reach itself', async () => {
  const { doctor } = await behind([], []);
  for (const close of closers.splice(1).toReversed()) await close();
  expect(await doctor.selfCheck()).toMatchObject({ state: 'skipped' });
});

it('gives back nothing but a short name that the caller made up', async () => {
  const { publicUrl } = await behind([], []);
  const headers = { ...echoedHeaders('0123456789abcdef'), 'mcp-session-id': 'x" onmouseover=alert(1)' };
  const answer = await fetch(`${publicUrl}${PROBE_PATH}`, { headers });
  expect(answer.status).toBe(401);
  expect(answer.headers.get('www-authenticate')).toBeNull();
  expect(await answer.json()).toEqual({ arrived: [] });
});
