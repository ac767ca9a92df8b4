/**
 * Client-id metadata documents of widely used clients, as published in September 2026. They stand in when the document
 * cannot be fetched and was never fetched before: several of these hosts answer gateways with a bot challenge.
 */
const native = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] };
const loopback = ['http://localhost/callback', 'http://127.0.0.1/callback'];

export const PINNED_CLIENTS: Readonly<Record<string, Record<string, unknown>>> = {
  'https://claude.ai/oauth/claude-code-client-metadata': {
    client_name: 'Claude Code',
    client_uri: 'https://claude.ai',
    redirect_uris: loopback,
    ...native,
  },
  'https://claude.ai/oauth/mcp-oauth-client-metadata': {
    client_name: 'Claude',
    client_uri: 'https://claude.ai',
    redirect_uris: ['https://claude.ai/api/mcp/auth_callback'],
    ...native,
  },
  'https://chatgpt.com/oauth/codex/client.json': {
    client_name: 'Codex',
    client_uri: 'https://chatgpt.com',
    redirect_uris: loopback,
    ...native,
  },
  'https://chatgpt.com/oauth/client.json': {
    client_name: 'ChatGPT',
    client_uri: 'https://chatgpt.com/',
    redirect_uris: ['https://chatgpt.com/connector_platform_oauth_redirect'],
    ...native,
  },
  'https://vscode.dev/oauth/client-metadata.json': {
    client_name: 'Visual Studio Code',
    client_uri: 'https://vscode.dev/product',
    redirect_uris: ['http://127.0.0.1:33418/', 'https://vscode.dev/redirect'],
    ...native,
  },
  'https://opencode.ai/oauth/opencode/client.json': {
    client_name: 'opencode',
    client_uri: 'https://opencode.ai',
    redirect_uris: loopback,
    ...native,
  },
};
