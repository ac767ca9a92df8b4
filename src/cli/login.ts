import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Command } from 'commander';
import { openBrowser } from './browser.ts';
import { gatewayUrl, openGateway, type GlobalOptions } from './gateway.ts';
import { CLIENT_ID, readMetadata, requestToken } from './oauth.ts';
import { CliFailure, type Terminal } from './terminal.ts';
import { createTokenFile } from './token-file.ts';

const WAIT_MS = 10 * 60_000;

export function loginCommands(program: Command, terminal: Terminal): void {
  program
    .command('login')
    .description('sign in to a gateway in the browser')
    .option('--no-open', 'print the address only')
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { open: boolean }>();
      await login(gatewayUrl(options, terminal), terminal, options.open);
      const who = await openGateway({ url: gatewayUrl(options, terminal) }, terminal).call('GET', '/whoami');
      terminal.out(`Signed in to ${gatewayUrl(options, terminal)} as ${describe(who)}.`);
    });

  program
    .command('logout')
    .description('sign out and forget the token')
    .action(async (_, command: Command) => {
      const url = gatewayUrl(command.optsWithGlobals<GlobalOptions>(), terminal);
      const file = createTokenFile(terminal);
      const held = file.read(url);
      if (held === undefined) throw new CliFailure(`Not signed in to ${url}.`, 'There is nothing to do.');
      file.remove(url);
      if (held.revocationEndpoint !== null) {
        const token = held.refreshToken ?? held.accessToken;
        await fetch(held.revocationEndpoint, {
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          body: new URLSearchParams({ client_id: CLIENT_ID, token }).toString(),
        }).catch(() => terminal.err('warning: the gateway could not be told; the token ends by itself.'));
      }
      terminal.out(`Signed out of ${url}.`);
    });

  program
    .command('whoami')
    .description('who this command line is to the gateway')
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const gateway = openGateway(options, terminal);
      const who = await gateway.call('GET', '/whoami');
      terminal.out(options.json === true ? JSON.stringify(who, null, 2) : `${describe(who)} at ${gateway.url}`);
    });
}

function describe(who: Record<string, unknown>): string {
  const user = who['user'] as { email: string | null; id: string } | null;
  return `${user === null ? 'the admin token' : (user.email ?? user.id)} (${String(who['role'])} of ${String(who['tenant'])})`;
}

/** Authorization code with PKCE, answered on a loopback port (RFC 8252 §7.3). */
async function login(url: string, terminal: Terminal, open: boolean): Promise<void> {
  const metadata = await readMetadata(url);
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const { port, answer, close } = await listenForAnswer();
  try {
    const redirectUri = `http://127.0.0.1:${port}/callback`;
    const address = new URL(metadata.authorization_endpoint);
    const parameters = {
      response_type: 'code',
      client_id: CLIENT_ID,
      redirect_uri: redirectUri,
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      resource: `${url}/api/v1`,
    };
    for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
    terminal.out(`Open this address to sign in:\n\n  ${address.href}\n`);
    openBrowser(address.href, terminal, open);
    const query = await answer;
    // RFC 9207, and the state: an answer that somebody else caused is not looked into.
    if (query.get('state') !== state || query.get('iss') !== metadata.issuer) {
      throw new CliFailure('The browser came back with an answer that was not asked for.', 'Run valetkey login again.');
    }
    const code = query.get('code');
    if (code === null) {
      const refusal = query.get('error') === 'access_denied' ? 'It was not allowed.' : 'The gateway refused it.';
      throw new CliFailure(`No sign-in: ${refusal}`, 'Run valetkey login again and allow it.');
    }
    const tokens = await requestToken(metadata.token_endpoint, {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: redirectUri,
      resource: `${url}/api/v1`,
    });
    if (tokens === undefined) throw new CliFailure('The gateway refused the code.', 'Run valetkey login again.');
    createTokenFile(terminal).write(url, {
      ...tokens,
      tokenEndpoint: metadata.token_endpoint,
      revocationEndpoint: metadata.revocation_endpoint ?? null,
    });
  } finally {
    close();
  }
}

async function listenForAnswer(): Promise<{ port: number; answer: Promise<URLSearchParams>; close: () => void }> {
  const { promise: answer, resolve, reject } = Promise.withResolvers<URLSearchParams>();
  const server = createServer((request, response) => {
    const target = new URL(request.url ?? '/', 'http://127.0.0.1');
    if (request.method !== 'GET' || target.pathname !== '/callback') {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'",
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      connection: 'close',
    });
    response.end('<!doctype html><title>Valetkey</title><p>You can close this page and go back to the terminal.</p>');
    resolve(target.searchParams);
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', listening);
  });
  const late = setTimeout(
    () => reject(new CliFailure('Nobody signed in within 10 minutes.', 'Run valetkey login again.')),
    WAIT_MS,
  );
  // Rejected before anyone waits, it must not end the process.
  answer.catch(() => undefined);
  return {
    port: (server.address() as AddressInfo).port,
    answer,
    close() {
      clearTimeout(late);
      server.close();
      server.closeIdleConnections();
    },
  };
}
