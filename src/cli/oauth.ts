import { z } from 'zod';
import { systemClock } from '../clock.ts';
import { reach } from './gateway.ts';
import { CliFailure } from './terminal.ts';

export const CLIENT_ID = 'valetkey-cli';

const metadataSchema = z.object({
  issuer: z.string(),
  authorization_endpoint: z.url(),
  token_endpoint: z.url(),
  revocation_endpoint: z.url().optional(),
});

const tokenSchema = z.object({
  access_token: z.string(),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.number(),
  refresh_token: z.string().optional(),
});

export type Metadata = z.output<typeof metadataSchema>;

/** RFC 8414; the issuer has to be the gateway that was named (§3.3). */
export async function readMetadata(url: string): Promise<Metadata> {
  const response = await reach(`${url}/.well-known/oauth-authorization-server`, { redirect: 'error' });
  const parsed = metadataSchema.safeParse(await response.json().catch(() => undefined));
  if (!response.ok || !parsed.success) {
    throw new CliFailure(`${url} is not a Valetkey gateway.`, 'Check --url or VALETKEY_URL.');
  }
  if (parsed.data.issuer !== url) {
    throw new CliFailure(
      `The gateway at ${url} calls itself ${parsed.data.issuer}.`,
      `Use --url ${parsed.data.issuer}, or set VALETKEY_PUBLIC_URL at the gateway.`,
    );
  }
  return parsed.data;
}

/** Asks the token endpoint; undefined when the grant is refused. */
export async function requestToken(
  endpoint: string,
  parameters: Record<string, string>,
): Promise<{ accessToken: string; refreshToken: string | null; expiresAt: number } | undefined> {
  const asked = systemClock.now();
  const response = await reach(endpoint, {
    method: 'POST',
    redirect: 'error',
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    body: new URLSearchParams({ client_id: CLIENT_ID, ...parameters }).toString(),
  });
  if (response.status === 400 || response.status === 401) return undefined;
  const parsed = tokenSchema.safeParse(await response.json().catch(() => undefined));
  if (!response.ok || !parsed.success) {
    throw new CliFailure(`The token endpoint answered ${response.status}.`, 'See the log of the gateway.');
  }
  return {
    accessToken: parsed.data.access_token,
    refreshToken: parsed.data.refresh_token ?? null,
    expiresAt: asked + parsed.data.expires_in * 1_000,
  };
}
