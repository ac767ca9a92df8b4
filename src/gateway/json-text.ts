/**
 * What JSON.parse does not tell: depth, and whether an object names a key twice. A peer that reads the first of two
 * equal keys, while policy read the last, would be asked for something else than was allowed.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** Depth and number of keys of a JSON text, read from the text itself; garbage in gives numbers without meaning. */
export function measure(text: string): { depth: number; keys: number } {
  let depth = 0;
  let deepest = 0;
  let keys = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === COLON) keys++;
    // [ ] { } differ from each other in bits that this folds away: 0x5b, 0x7b open, 0x5d, 0x7d close.
    else if ((code & 0xdf) === 0x5b) {
      if (++depth > deepest) deepest = depth;
    } else if ((code & 0xdf) === 0x5d) depth--;
  }
  return { depth: deepest, keys };
}

/** Position of the quote that closes the string opened at `open`; the end of the text when none does. */
function endOfString(text: string, open: number): number {
  for (let at = text.indexOf('"', open + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes++;
    if ((slashes & 1) === 0) return at;
  }
  return text.length;
}

/** Keys of all objects in a parsed value: fewer than its text has means that one was named twice. */
export function countKeys(value: unknown): number {
  if (value === null || typeof value !== 'object') return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') count += countKeys(item);
    return count;
  }
  // JSON.parse makes plain objects with own, enumerable members only, `__proto__` included.
  for (const key in value) {
    count++;
    const item = (value as Record<string, unknown>)[key];
    if (typeof item === 'object') count += countKeys(item);
  }
  return count;
}

/** Where the value at `path` stands in a valid JSON text whose keys are unique: [start, end). */
export function spanOf(text: string, path: readonly string[]): [number, number] | undefined {
  let at = skipSpace(text, 0);
  for (const wanted of path) {
    if (text[at] !== '{') return undefined;
    at = skipSpace(text, at + 1);
    for (;;) {
      if (text[at] !== '"') return undefined;
      const close = endOfString(text, at);
      const key = JSON.parse(text.slice(at, close + 1)) as string;
      at = skipSpace(text, skipSpace(text, close + 1) + 1);
      if (key === wanted) break;
      at = skipSpace(text, endOfValue(text, at));
      if (text[at] !== ',') return undefined;
      at = skipSpace(text, at + 1);
    }
  }
  return [at, endOfValue(text, at)];
}

/** The text with another string at `path`; everything else keeps its bytes. */
export function withText(text: string, path: readonly string[], value: string): Buffer {
  const [from, to] = spanOf(text, path) ?? [0, 0];
  return Buffer.from(`${text.slice(0, from)}${JSON.stringify(value)}${text.slice(to)}`);
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return at;
}

function endOfValue(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return endOfString(text, from) + 1;
  let at = from;
  if (first !== '{' && first !== '[') {
    while (at < text.length && !/[\s,\]}]/.test(text[at] as string)) at++;
    return at;
  }
  for (let depth = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if ((code & 0xdf) === 0x5b) depth++;
    else if ((code & 0xdf) === 0x5d && --depth === 0) return at + 1;
  }
  return at;
}
