import { PERSONA_NAMES, PERSONAS } from './personas.ts';
import type { TestServer } from './test-server.ts';

/** Everything a person needs to get in. Practice values: they guard nothing but this process. */
export type Credentials = {
  users: readonly { username: string; password: string }[];
  /** Mode `bearer`: username → token. */
  tokens: Readonly<Record<string, string>>;
  /** Mode `apikey`: username → key for `X-API-Key`. */
  apiKeys: Readonly<Record<string, string>>;
  /** Mode `oauth`: the application registered in advance; it accepts any callback on loopback. */
  client: { clientId: string; clientSecret: string } | undefined;
};

/** What `valetkey test-server` prints, line by line. */
export function describeTestServer(server: TestServer): string[] {
  const { mode, url, credentials } = server;
  const lines = [
    `Practice service (${mode}) at ${url}`,
    '',
    `  MCP endpoint      ${server.mcpUrl}`,
    `  MCP, old SSE      ${server.sseUrl}`,
    `  REST API          ${url}/api/items  ${url}/api/users  ${url}/api/me`,
    `  OpenAPI document  ${url}/openapi.json`,
  ];
  const accounts = credentials.users.map(({ username, password }) => `  Account           ${username} / ${password}`);
  if (mode === 'bearer') {
    lines.push(
      '',
      ...Object.entries(credentials.tokens).map(
        ([who, token]) => `  ${who.padEnd(16)}  Authorization: Bearer ${token}`,
      ),
    );
  }
  if (mode === 'apikey') {
    lines.push(
      '',
      ...Object.entries(credentials.apiKeys).map(([who, key]) => `  ${who.padEnd(16)}  X-API-Key: ${key}`),
    );
  }
  if (mode === 'jwt') {
    lines.push(`  Login             POST ${url}/auth/login {"username", "password"}`);
    lines.push(`  Refresh           POST ${url}/auth/refresh {"refresh_token"}`, '', ...accounts);
  }
  if (mode === 'oauth' || mode === 'oauth-dcr') {
    lines.push(
      `  Issuer            ${server.issuer}`,
      `  Authorize         ${url}/auth/authorize`,
      `  Token             ${url}/auth/token`,
      ...(mode === 'oauth-dcr' ? [`  Registration      ${url}/auth/register`] : []),
      `  Applications      ${url}/auth/clients`,
      ...(server.personas.length === 0
        ? [`  Personas          none of ${PERSONA_NAMES.length}; --personas lists them`]
        : server.personas.map((name) => `  Persona           ${name}: ${PERSONAS[name].does}`)),
      '',
      ...accounts,
    );
  }
  if (credentials.client !== undefined) {
    lines.push(
      `  Client id         ${credentials.client.clientId}`,
      `  Client secret     ${credentials.client.clientSecret}`,
      '                    (client_secret_basic; any callback on localhost, for others add an application)',
    );
  }
  return lines;
}

/** Every persona with its quirk class, line by line. */
export function describePersonas(): string[] {
  const width = Math.max(...PERSONA_NAMES.map((name) => name.length));
  return PERSONA_NAMES.map((name) => {
    const { class: quirk, does } = PERSONAS[name];
    return `${name.padEnd(width)}  ${quirk.padEnd(3)}  ${does}`;
  });
}
