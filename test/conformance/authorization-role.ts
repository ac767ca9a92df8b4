import { z } from 'zod';
import type { Profile } from '../browser/profile.ts';
import { freePort } from '../fixtures/free-port.ts';
import { runSuite } from './suite.ts';
import type { SuiteRun } from './suite.ts';

/** All that the suite asks of an authorization server. */
export const authorizationScenarios = ['authorization-server-metadata-endpoint', 'authorization-code-grant'];

const metadataSchema = z.object({ registration_endpoint: z.url() });
const registrationSchema = z.object({ client_id: z.string() });

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
