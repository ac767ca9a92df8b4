const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** One event: its bytes as they came, and the joined data; undefined when it has none. */
export type StreamEvent = { bytes: Buffer; event: string; data: string | undefined; lines: readonly string[] };

/** Cuts an event stream (HTML "Server-sent events" §9.2.6) into events. */
export type EventCutter = {
  /** @throws RangeError when one event exceeds the limit */
  push(chunk: Buffer): StreamEvent[];
  /** What came after the last complete event. */
  rest(): Buffer;
};

export function createEventCutter(limit: number): EventCutter {
  let held: Buffer[] = [];
  let size = 0;
  // Bytes since the last line end, and whether a lone CR may still be joined by its LF.
  let lineLength = 0;
  let afterReturn = false;

  return {
    push(chunk) {
      const events: StreamEvent[] = [];
      let from = 0;
      for (let at = 0; at < chunk.length; at++) {
        const byte = chunk[at];
        if (byte !== NEWLINE && byte !== RETURN) {
          lineLength++;
          afterReturn = false;
          continue;
        }
        if (byte === NEWLINE && afterReturn) {
          afterReturn = false;
          // The LF of a CRLF that ended the event belongs to it.
          if (held.length === 0 && from === at) from = at + 1;
          continue;
        }
        afterReturn = byte === RETURN;
        if (lineLength > 0) {
          lineLength = 0;
          continue;
        }
        let end = at + 1;
        if (afterReturn && chunk[end] === NEWLINE) {
          end++;
          at++;
          afterReturn = false;
        }
        const bytes = Buffer.concat([...held, chunk.subarray(from, end)]);
        held = [];
        size = 0;
        from = end;
        events.push(parse(bytes));
      }
      if (from < chunk.length) {
        const tail = chunk.subarray(from);
        size += tail.length;
        if (size > limit) throw new RangeError('an event exceeds the limit');
        held.push(tail);
      }
      return events;
    },
    rest: () => Buffer.concat(held),
  };
}

function parse(bytes: Buffer): StreamEvent {
  const lines = bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .split(/\r\n|\r|\n/);
  let event = 'message';
  let data: string | undefined;
  for (const line of lines) {
    if (line.startsWith('data:')) {
      const value = line.slice(line[5] === ' ' ? 6 : 5);
      data = data === undefined ? value : `${data}\n${value}`;
    } else if (line.startsWith('event:')) event = line.slice(6).trim();
  }
  return { bytes, event, data, lines };
}

/** The event with other data, its remaining fields as they were. */
export function withData(event: StreamEvent, data: string): Buffer {
  const kept = event.lines.filter((line) => line !== '' && !line.startsWith('data:'));
  return Buffer.from(`${[...kept, `data: ${data}`].join('\n')}\n\n`);
}
