import { describe, expect, it } from 'vitest';
import { redirectFault, redirectMatches } from '../../src/authorization-server/redirects.ts';

describe('a redirect URI', () => {
  it.each([
    'https://claude.ai/api/mcp/auth_callback',
    'https://vscode.dev/redirect',
    'https://global.consent.azure-apim.net/redirect/tool-1',
    'http://localhost/callback',
    'http://localhost:33418',
    'http://127.0.0.1:33418/',
    'http://127.9.9.9/cb',
    'http://[::1]:8000/callback?x=1',
    'cursor://anysphere.cursor-mcp/oauth/callback',
    'cursor://anysphere.cursor-retrieval/oauth/user-desktop/callback',
    'vscode://publisher.extension/callback',
    'vscode-insiders://publisher.extension/callback',
    'com.example.app:/oauth',
    'com.example.app://oauth',
  ])('%s may be registered', (uri) => expect(redirectFault(uri)).toBeUndefined());

  it.each([
    ['javascript:alert(1)', 'scheme'],
    ['data:text/html,x', 'scheme'],
    ['file:///etc/passwd', 'scheme'],
    ['myapp://callback', 'scheme'],
    ['ftp://example.com/x', 'scheme'],
    ['blob:https://example.com/x', 'scheme'],
    ['http://example.com/cb', 'http beyond loopback'],
    ['http://localhost.evil.example/cb', 'http beyond loopback'],
    ['http://127.0.0.1.evil.example/cb', 'http beyond loopback'],
    ['http://10.0.0.1/cb', 'http beyond loopback'],
    ['https://localhost/cb', 'https towards loopback'],
    ['https://user@example.com/cb', 'user name'],
    ['https://example.com@evil.example/cb', 'user name'],
    ['https://example.com/cb#part', 'fragment'],
    ['https://example.com/cb#', 'fragment'],
    ['https://*.example.com/cb', 'wildcard'],
    ['https://example.com/a b', 'character'],
    ['https://example.com\\@evil.example', 'character'],
    ['https://example.com/\u202eevil', 'character'],
    ['https://exam\u200bple.com/', 'character'],
    ['/callback', 'absolute'],
    ['//example.com', 'absolute'],
    ['', 'absolute'],
    [`https://example.com/${'x'.repeat(1_000)}`, 'URI'],
    [42, 'URI'],
  ])('%s may not: %s', (uri, reason) => expect(redirectFault(uri)).toContain(reason));

  it.each([
    ['http://localhost/callback', 'http://localhost:51234/callback'],
    ['http://127.0.0.1/callback', 'http://127.0.0.1:1/callback'],
    ['http://127.0.0.1:33418/', 'http://127.0.0.1:40000/'],
    ['http://127.0.0.1:33418/', 'http://127.0.0.1:40000'],
    ['http://127.0.0.1:33418', 'http://127.0.0.1:33418/'],
    ['http://[::1]/cb', 'http://[::1]:9/cb'],
    ['https://example.com/cb', 'https://example.com/cb'],
    ['cursor://a/b', 'cursor://a/b'],
  ])('registered as %s is met by %s', (registered, presented) =>
    expect(redirectMatches(presented, [registered])).toBe(true),
  );

  it.each([
    ['http://localhost/callback', 'http://127.0.0.1:5/callback'],
    ['http://localhost/callback', 'http://localhost:5/callback/more'],
    ['http://localhost/callback', 'http://localhost:5/Callback'],
    ['http://localhost/callback', 'http://localhost:5/callback?x=1'],
    ['http://localhost/callback', 'http://localhost:5/x/../callback/../../callback2'],
    ['http://localhost/callback', 'https://localhost:5/callback'],
    ['http://localhost/callback', 'http://localhost:5@evil.example/callback'],
    ['http://localhost/callback', 'http://localhost:5/x/../callback'],
    ['http://localhost/callback', 'http://localhost:5//callback'],
    ['http://localhost/callback', 'HTTP://localhost:5/callback'],
    ['http://localhost/callback', 'http://LOCALHOST:5/callback'],
    ['http://127.0.0.1/callback', 'http://127.1:5/callback'],
    ['http://localhost/callback', 'http://localhost.evil.example/callback'],
    ['http://localhost/callback', 'http://localhost:5/callback#x'],
    ['https://example.com/cb', 'https://example.com:8443/cb'],
    ['https://example.com/cb', 'https://example.com/cb/'],
    ['https://example.com/cb', 'https://EXAMPLE.com/cb'],
    ['https://example.com/cb', 'https://example.com/cb?x'],
    ['cursor://a/b', 'cursor://a/b/'],
    ['cursor://a/b', 'cursor://a:80/b'],
    ['https://example.com/cb', undefined],
  ])('registered as %s is not met by %s', (registered, presented) =>
    expect(redirectMatches(presented, [registered])).toBe(false),
  );
});
