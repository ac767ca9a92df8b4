import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createEventCutter, withData } from '../../../src/connectors/kinds/mcp/event-stream.ts';

function cut(bytes: Buffer, sizes: readonly number[]) {
  const cutter = createEventCutter(1_000_000);
  const events = [];
  let at = 0;
  for (let step = 0; at < bytes.length; step++) {
    const size = sizes.length === 0 ? bytes.length : Math.max(1, sizes[step % sizes.length] ?? 1);
    events.push(...cutter.push(bytes.subarray(at, at + size)));
    at += size;
  }
  return events;
}

const line = fc.constantFrom('data: {"a":1}', 'data:b', 'id: 7', 'event: x', ': comment', 'data: ü', 'retry: 5');
const ending = fc.constantFrom('\n', '\r\n', '\r');

describe('cutting an event stream', () => {
  it('finds the same events however the bytes arrive', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(line, { minLength: 1, maxLength: 4 }), { maxLength: 6 }),
        ending,
        fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 5 }),
        (blocks, end, sizes) => {
          const text = blocks.map((lines) => lines.map((one) => one + end).join('') + end).join('');
          const events = cut(Buffer.from(text), sizes);
          const wanted = blocks.map((lines) => {
            const data = lines.filter((one) => one.startsWith('data:')).map((one) => one.slice(one[5] === ' ' ? 6 : 5));
            return data.length === 0 ? undefined : data.join('\n');
          });
          expect(events.map((event) => event.data)).toEqual(wanted);
        },
      ),
    );
  });

  it('loses no byte of complete events', () => {
    const text = ': hi\n\nid: 1\ndata: a\r\n\r\ndata: b\ndata: c\n\n';
    expect(Buffer.concat(cut(Buffer.from(text), [3]).map((event) => event.bytes)).toString()).toBe(text);
  });

  it('refuses an event that never ends', () => {
    const cutter = createEventCutter(100);
    cutter.push(Buffer.alloc(90, 0x61));
    expect(() => cutter.push(Buffer.alloc(20, 0x61))).toThrow(RangeError);
  });

  it('replaces data and keeps the other fields', () => {
    const [event] = cut(Buffer.from('id: 9\nevent: message\ndata: a\ndata: b\n\n'), []);
    expect(withData(event as never, 'c').toString()).toBe('id: 9\nevent: message\ndata: c\n\n');
  });
});
