import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import type { Profile } from '../browser/profile.ts';
import { runSuite } from './suite.ts';
import type { SuiteRun } from './suite.ts';

const metadataSchema = z.object({ registration_endpoint: z.url() });
const registrationSchema = z.object({ client_id: z.string() });

/** A port that was free a moment ago, for programs that want a number and not a socket. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function register(issuer: string, redirectUri: string): Promise<string> {
  const { origin, pathname } = new URL(issuer);
  const suffix = pathname === '/' ? '' : pathname;
  const metadata = await fetch(`${origin}/.well-known/oauth-authorization-server${suffix}`);
  const { registration_endpoint: endpoint } = metadataSchema.parse(await metadata.json());
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'Conformance suite',
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      application_type: 'native',
    }),
  });
  return registrationSchema.parse(await response.json()).client_id;
}

/** Runs the suite's authorization server role: it prints an authorization URL, which `profile` opens and walks. */
export async function runAuthorizationRole(issuer: string, resource: string, profile: Profile): Promise<SuiteRun> {
  const port = await freePort();
  const clientId = await register(issuer, `http://127.0.0.1:${port}/callback`);
  const opened = new Set<string>();
  const stop = new AbortController();
  let lost: unknown;
  try {
    return await runSuite(
      ['authorization', '--url', issuer, '--client-id', clientId, '--resource', resource, '--port', String(port)],
      {
        signal: stop.signal,
        onOutput(soFar) {
          for (const [url] of soFar.matchAll(/https?:\/\/\S+[?&]redirect_uri=\S+(?=\s)/g)) {
            if (opened.has(url)) continue;
            opened.add(url);
            profile.authorize(url).catch((error: unknown) => {
              lost = error;
              stop.abort();
            });
          }
        },
      },
    );
  } catch (error) {
    throw lost ?? error;
  }
}
