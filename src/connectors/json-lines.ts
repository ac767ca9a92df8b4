/** Where the members of a JSON text stand. */
export type JsonLines = {
  /** 1, 2, 3 … of the member at this path, or of the nearest one around it. */
  lineOf(path: readonly PropertyKey[]): number;
  /** The first name that stands twice in one object; JSON itself lets the last one win. */
  readonly repeated: readonly string[] | undefined;
};

const MAX_DEPTH = 20;

/** @param text that JSON.parse accepts */
export function jsonLines(text: string): JsonLines {
  const offsets = new Map<string, number>();
  let repeated: readonly string[] | undefined;
  let at = 0;
  const key = (path: readonly PropertyKey[]): string => JSON.stringify(path.map(String));
  const skip = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  const space = (): string => skip(/\s*/y);

  /** The whole of an object or a list, however deep, without a call for each level. */
  function skipOver(): void {
    for (let depth = 0; at < text.length;) {
      if (skip(/"(?:[^"\\]|\\.)*"/y) !== '') continue;
      const char = text[at] ?? '';
      at += 1;
      if (char === '{' || char === '[') depth += 1;
      if ((char === '}' || char === ']') && (depth -= 1) === 0) return;
    }
  }

  function value(path: readonly string[]): void {
    space();
    if (!offsets.has(key(path))) offsets.set(key(path), at);
    if (text[at] === '{' || text[at] === '[') members(path, text[at] === '{');
    else if (skip(/"(?:[^"\\]|\\.)*"/y) === '') skip(/[^\s,\]}]+/y);
  }

  function members(path: readonly string[], named: boolean): void {
    // Deeper than anything a schema here takes; what is below is judged without a line of its own.
    if (path.length > MAX_DEPTH) return skipOver();
    at += 1;
    for (let index = 0; ; index += 1) {
      space();
      if (text[at] === '}' || text[at] === ']') break;
      let name = String(index);
      if (named) {
        const start = at;
        name = JSON.parse(skip(/"(?:[^"\\]|\\.)*"/y)) as string;
        const own = [...path, name];
        if (offsets.has(key(own))) repeated ??= own;
        offsets.set(key(own), start);
        space();
        at += 1;
      }
      value([...path, name]);
      space();
      if (text[at] === ',') at += 1;
    }
    at += 1;
  }
  value([]);

  return {
    repeated,
    lineOf(path) {
      for (let length = path.length; length > 0; length -= 1) {
        const offset = offsets.get(key(path.slice(0, length)));
        if (offset !== undefined) return lineAt(text, offset);
      }
      return 1;
    },
  };
}

export const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;
