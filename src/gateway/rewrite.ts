import { createEventCutter, withData } from '../connectors/kinds/mcp/event-stream.ts';

/** Reads a reply on its way and may change it. Returned bytes go to the client now. */
export type Rewriter = {
  /** @throws RangeError when more would have to be held than allowed */
  push(chunk: Buffer): Buffer | undefined;
  end(): Buffer | undefined;
};

/** The text of another message, or undefined to leave it as it came. */
export type Change = (message: unknown) => unknown;

export function rewriteJson(change: Change, limit: number): Rewriter {
  const chunks: Buffer[] = [];
  let size = 0;
  return {
    push(chunk) {
      size += chunk.length;
      if (size > limit) throw new RangeError('the reply exceeds the limit');
      chunks.push(chunk);
      return undefined;
    },
    end() {
      const bytes = Buffer.concat(chunks);
      const changed = changeText(bytes.toString('utf8'), change);
      return changed === undefined ? bytes : Buffer.from(changed);
    },
  };
}

export function rewriteEvents(change: Change, limit: number): Rewriter {
  const cutter = createEventCutter(limit);
  return {
    push(chunk) {
      const events = cutter.push(chunk);
      if (events.length === 0) return undefined;
      return Buffer.concat(
        events.map((event) => {
          const changed = event.data === undefined ? undefined : changeText(event.data, change);
          return changed === undefined ? event.bytes : withData(event, changed);
        }),
      );
    },
    // An event that its blank line never ended is not dispatched by any reader.
    end: () => undefined,
  };
}

/** @throws SyntaxError for what is not JSON: unread, it could carry what must not pass */
function changeText(text: string, change: Change): string | undefined {
  if (text === '') return undefined;
  const message: unknown = JSON.parse(text);
  if (!Array.isArray(message)) {
    const changed = change(message);
    return changed === undefined ? undefined : JSON.stringify(changed);
  }
  let some = false;
  const messages = message.map((item: unknown) => {
    const changed = change(item);
    if (changed !== undefined) some = true;
    return changed ?? item;
  });
  return some ? JSON.stringify(messages) : undefined;
}
