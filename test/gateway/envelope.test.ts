import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { decodeHeader, encodeHeader, isRefusal, readEnvelope } from '../../src/gateway/envelope.ts';
import { countKeys, measure, spanOf } from '../../src/gateway/json-text.ts';

const META =
  '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}';
const MODERN = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'add' };
const call = (params: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{${params}}}`;

function read(body: string | Buffer, headers: Record<string, string> = {}) {
  return readEnvelope(headers, Buffer.from(body as string));
}

function codeOf(body: string | Buffer, headers: Record<string, string> = {}): number | string {
  const answer = read(body, headers);
  return isRefusal(answer) ? answer.code : answer.era;
}

describe('strictness', () => {
  it.each([
    ['text that is not JSON', '{', -32700],
    ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22]), -32700],
    ['no object', '"hello"', -32600],
    ['another version of JSON-RPC', '{"jsonrpc":"1.0","id":1,"method":"a"}', -32600],
    ['an id that is null', '{"jsonrpc":"2.0","id":null,"method":"a"}', -32600],
    ['an id that is an object', '{"jsonrpc":"2.0","id":{},"method":"a"}', -32600],
    ['an id with a fraction', '{"jsonrpc":"2.0","id":1.5,"method":"a"}', -32600],
    ['a method that is no text', '{"jsonrpc":"2.0","id":1,"method":7}', -32600],
    ['params that are a list', '{"jsonrpc":"2.0","id":1,"method":"a","params":[]}', -32600],
    ['a method in another case', '{"jsonrpc":"2.0","id":1,"method":"a","Method":"tools/call"}', -32600],
    ['a name in another case', call('"name":"add","Name":"drop"'), -32600],
    ['a method named twice', '{"jsonrpc":"2.0","id":1,"method":"a","method":"tools/call"}', -32600],
    ['a name named twice, once escaped', call('"name":"add","n\\u0061me":"drop"'), -32600],
    ['a key named twice deep inside', call('"name":"add","arguments":{"a":[{"b":1,"b":2}]}'), -32600],
    ['a prototype named twice', call('"name":"add","arguments":{"__proto__":1,"__proto__":2}'), -32600],
    ['a request that is a result', '{"jsonrpc":"2.0","id":1,"method":"a","result":{}}', -32600],
    ['a result and an error', '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600],
    ['nesting without end', `${'['.repeat(200)}${']'.repeat(200)}`, -32600],
    ['very many keys', `{${Array.from({ length: 100_001 }, (_, at) => `"k${at}":0`).join(',')}}`, -32600],
  ])('refuses %s', (_, body, code) => {
    expect(codeOf(body)).toBe(code);
  });

  it('takes what is merely unusual', () => {
    const body = call('"name":"a\\"d\\\\","arguments":{"__proto__":{"name":"x"},"a:b":"{[\\"","constructor":1}');
    expect(read(body)).toMatchObject({ era: 'legacy', kind: 'request', method: 'tools/call', name: 'a"d\\' });
    expect(({} as Record<string, unknown>)['name']).toBeUndefined();
  });

  it('counts keys in the text as the parser does, for any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.constantFrom(undefined, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(countKeys(JSON.parse(text))).toBe(measure(text).keys);
      }),
    );
  });

  it('finds the place of a value, whatever stands around it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.string(), (before, after, name) => {
        const text = JSON.stringify({ before, params: { before, name, after }, after }, null, 1);
        const [from, to] = spanOf(text, ['params', 'name']) ?? [0, 0];
        expect(JSON.parse(text.slice(from, to))).toBe(name);
      }),
    );
  });
});

describe('batches', () => {
  const batch = '[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"}]';
  it('are taken from 2025-03-26 clients alone', () => {
    expect(read(batch)).toMatchObject({ era: 'legacy', method: 'ping', batch: [{ id: 1 }, { kind: 'notification' }] });
    expect(codeOf(batch, { 'mcp-protocol-version': '2025-03-26' })).toBe('legacy');
    expect(codeOf(batch, { 'mcp-protocol-version': '2025-06-18' })).toBe(-32600);
    expect(codeOf(batch, { 'mcp-protocol-version': '2026-07-28' })).toBe(-32600);
  });

  it.each([
    ['nothing', '[]'],
    ['a handshake', '[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}]'],
    ['a request of the other era', `[${call(`"name":"add",${META}`)}]`],
    ['something else', '[1]'],
    ['too much', `[${Array.from({ length: 101 }, () => '{"jsonrpc":"2.0","id":1,"method":"ping"}').join(',')}]`],
  ])('are refused with %s inside', (_, body) => {
    expect(codeOf(body)).toBe(-32600);
  });
});

describe('2026-07-28', () => {
  const body = call(`"name":"add",${META}`);
  it('is known by its body', () => {
    expect(read(body, MODERN)).toMatchObject({ era: 'modern', name: 'add' });
    expect(codeOf('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}')).toBe(
      'legacy',
    );
  });

  it.each([
    ['no version header', { 'mcp-protocol-version': undefined }],
    ['another version header', { 'mcp-protocol-version': '2025-11-25' }],
    ['no method header', { 'mcp-method': undefined }],
    ['another method', { 'mcp-method': 'tools/list' }],
    ['the method in another case', { 'mcp-method': 'Tools/Call' }],
    ['the method twice', { 'mcp-method': 'tools/call, tools/call' }],
    ['no name header', { 'mcp-name': undefined }],
    ['another name', { 'mcp-name': 'drop' }],
    ['broken Base64', { 'mcp-name': '=?base64?YWR?=' }],
  ])('refuses %s with -32020', (_, change) => {
    const headers: Record<string, string> = { ...MODERN };
    for (const [name, value] of Object.entries<string | undefined>(change)) {
      if (value === undefined) delete headers[name];
      else headers[name] = value;
    }
    expect(codeOf(body, headers)).toBe(-32020);
  });

  it('decodes a name before it compares', () => {
    const encoded = `=?base64?${Buffer.from('ädd').toString('base64')}?=`;
    expect(codeOf(call(`"name":"ädd",${META}`), { ...MODERN, 'mcp-name': encoded })).toBe('modern');
    expect(codeOf(body, { ...MODERN, 'mcp-name': '  add ' })).toBe('modern');
  });

  it('refuses requests without their members with -32602', () => {
    expect(codeOf(call('"name":"add"'), MODERN)).toBe(-32602);
    expect(codeOf(call('"name":"add","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}'), MODERN)).toBe(
      -32602,
    );
  });

  it('names the version it speaks to a client of another', () => {
    const later = body.replace('2026-07-28', '2027-01-01');
    const answer = read(later, { ...MODERN, 'mcp-protocol-version': '2027-01-01' });
    expect(answer).toMatchObject({
      status: 400,
      code: -32022,
      data: { supported: ['2026-07-28'], requested: '2027-01-01' },
    });
  });

  it('encodes any name so that it decodes to itself', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (name) => {
        const encoded = encodeHeader(name);
        expect(encoded).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeHeader(encoded.trim())).toBe(name);
      }),
    );
  });
});
