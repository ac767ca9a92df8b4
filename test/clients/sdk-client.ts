import { randomUUID } from 'node:crypto';
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import type {
  CallToolResult,
  OAuthClientMetadata,
  OAuthClientProvider,
  OAuthDiscoveryState,
  OAuthTokens,
  StoredOAuthClientInformation,
} from '@modelcontextprotocol/client';
import { startCallback } from './callback.ts';

export type Era = 'legacy' | 'modern';

export interface SdkClient {
  client: Client;
  /** What the client holds: the gateway's tokens, and nothing of the service behind it. */
  tokens(): OAuthTokens;
  /** The authorization URLs that the client had opened. */
  opened: string[];
  close: () => Promise<void>;
}

export interface SdkClientOptions {
  url: string;
  era: Era;
  /** Opens the authorization URL in somebody's browser; settles when that browser is back at the callback. */
  authorize: (authorizationUrl: string) => Promise<unknown>;
  scope?: string;
  fetch?: typeof fetch;
}

/** The official SDK's client, with its OAuth provider: registers, has the browser opened, redeems, connects. */
export async function connectSdkClient(options: SdkClientOptions): Promise<SdkClient> {
  const callback = await startCallback();
  const opened: string[] = [];
  const state = randomUUID();
  let registered: StoredOAuthClientInformation | undefined;
  let tokens: OAuthTokens | undefined;
  let discovered: OAuthDiscoveryState | undefined;
  let verifier = '';
  const clientMetadata: OAuthClientMetadata = {
    client_name: 'SDK client',
    redirect_uris: [callback.url],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    ...(options.scope !== undefined && { scope: options.scope }),
  };
  const authProvider: OAuthClientProvider = {
    redirectUrl: callback.url,
    clientMetadata,
    state: () => state,
    clientInformation: () => registered,
    saveClientInformation(information) {
      registered = information;
    },
    tokens: () => tokens,
    saveTokens(fresh) {
      tokens = fresh;
    },
    async redirectToAuthorization(url) {
      opened.push(url.href);
      await options.authorize(url.href);
    },
    saveCodeVerifier(value) {
      verifier = value;
    },
    codeVerifier: () => verifier,
    saveDiscoveryState(state) {
      discovered = state;
    },
    discoveryState: () => discovered,
  };

  /** Connects, or leaves the transport on which the authorization was begun. */
  async function attempt(): Promise<Client | StreamableHTTPClientTransport> {
    const transport = new StreamableHTTPClientTransport(new URL(options.url), {
      authProvider,
      ...(options.fetch && { fetch: options.fetch }),
    });
    const client = new Client(
      { name: 'sdk-client', version: '1.0.0' },
      { versionNegotiation: { mode: options.era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } },
    );
    try {
      await client.connect(transport);
      return client;
    } catch (error) {
      if (UnauthorizedError.isInstance(error) && opened.length === 1) return transport;
      throw error;
    }
  }

  async function connect(): Promise<Client> {
    const first = await attempt();
    if (first instanceof Client) return first;
    const params = callback.params();
    const refusal = params.get('error');
    if (refusal !== null) throw new Error(`Refused: ${refusal} ${params.get('error_description') ?? ''}`);
    if (params.get('state') !== state) throw new Error('The callback carries another state');
    await first.finishAuth(params);
    const second = await attempt();
    if (second instanceof Client) return second;
    throw new Error('Not let in with fresh tokens');
  }

  try {
    const client = await connect();
    return {
      client,
      opened,
      tokens() {
        if (!tokens) throw new Error('The client was never given tokens');
        return tokens;
      },
      async close() {
        await client.close();
        await callback.close();
      },
    };
  } catch (error) {
    await callback.close();
    throw error;
  }
}

/** The text of a tool result, its parts joined. */
export function textOf(result: Pick<CallToolResult, 'content'>): string {
  return result.content.map((part) => (part.type === 'text' ? part.text : `[${part.type}]`)).join('\n');
}
