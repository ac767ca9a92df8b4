/** A TypeScript source cut up far enough for rules about words and imports. */
export type ScannedSource = {
  /** The source with comments, regular expressions and the insides of strings blanked; same length, same lines. */
  code: string;
  /** The literal text of each plain string, by the offset of its opening quote. */
  strings: ReadonlyMap<number, string>;
  lineAt: (offset: number) => number;
};

export type Import = {
  /** The specifier; undefined where it is computed. */
  specifier: string | undefined;
  line: number;
  /** True when nothing of it is left at run time. */
  typeOnly: boolean;
  dynamic: boolean;
  /** The values taken, as exported (`default` and `*` too), without types; empty for bare and dynamic imports. */
  names: string[];
};

const REGEX_MAY_FOLLOW =
  /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|yield|throw|void|delete))\s*$/;

export function scanSource(text: string): ScannedSource {
  const out = text.split('');
  const strings = new Map<number, string>();
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  const blank = (from: number, to: number): void => {
    for (let index = from; index < to; index += 1) if (out[index] !== '\n') out[index] = ' ';
  };
  const skipTemplate = (from: number): void => {
    for (at = from; at < text.length; at += 1) {
      if (text[at] === '\\') at += 1;
      else if (text[at] === '`') break;
      else if (text[at] === '$' && text[at + 1] === '{') {
        blank(from, at);
        templates.push(depth);
        depth += 1;
        at += 2;
        return;
      }
    }
    blank(from, at);
    at += 1;
  };

  while (at < text.length) {
    const char = text[at];
    const start = at;
    if (char === '/' && text[at + 1] === '/') {
      while (at < text.length && text[at] !== '\n') at += 1;
      blank(start, at);
    } else if (char === '/' && text[at + 1] === '*') {
      const end = text.indexOf('*/', at + 2);
      at = end === -1 ? text.length : end + 2;
      blank(start, at);
    } else if (char === "'" || char === '"') {
      for (at += 1; at < text.length && text[at] !== char && text[at] !== '\n'; at += 1) if (text[at] === '\\') at += 1;
      strings.set(start, text.slice(start + 1, at));
      blank(start + 1, at);
      at += 1;
    } else if (char === '`') {
      skipTemplate(at + 1);
    } else if (char === '/' && REGEX_MAY_FOLLOW.test(out.slice(Math.max(0, at - 40), at).join(''))) {
      let inClass = false;
      for (at += 1; at < text.length && text[at] !== '\n' && (inClass || text[at] !== '/'); at += 1) {
        if (text[at] === '\\') at += 1;
        else if (text[at] === '[') inClass = true;
        else if (text[at] === ']') inClass = false;
      }
      blank(start + 1, at);
      at += 1;
    } else {
      if (char === '{') depth += 1;
      if (char === '}') depth -= 1;
      at += 1;
      if (char === '}' && templates.at(-1) === depth) {
        templates.pop();
        skipTemplate(at);
      }
    }
  }
  const code = out.join('');
  return { code, strings, lineAt: (offset) => text.slice(0, offset).split('\n').length };
}

const STATEMENT = /\b(?:import|export)\b(?!\s*\()(?<clause>[\w\s{},*$]*?)\bfrom\s*(?=['"])/g;
const BARE = /\bimport\s*(?=['"])/g;
const CALL = /\bimport\s*\(\s*/g;

/** Every import and re-export of a scanned source: static, type-only, bare, dynamic, and `import('…')` types. */
export function importsOf({ code, strings, lineAt }: ScannedSource): Import[] {
  const found: { offset: number; entry: Import }[] = [];
  for (const match of code.matchAll(STATEMENT)) {
    const clause = match.groups?.['clause']?.trim() ?? '';
    const typeOnly = /^type\s+(?!from\b)[\w{*$]/.test(clause);
    const names = namesOf(clause);
    const entry = {
      specifier: strings.get(match.index + match[0].length),
      line: lineAt(match.index),
      typeOnly: typeOnly || (names.length === 0 && /\btype\b/.test(clause)),
      dynamic: false,
      names: typeOnly ? [] : names,
    };
    found.push({ offset: match.index, entry });
  }
  for (const [pattern, dynamic] of [
    [BARE, false],
    [CALL, true],
  ] as const) {
    for (const match of code.matchAll(pattern)) {
      const { index } = match;
      const typeOnly = /\btypeof\s*$/.test(code.slice(0, index));
      const specifier = strings.get(index + match[0].length);
      found.push({ offset: index, entry: { specifier, line: lineAt(index), typeOnly, dynamic, names: [] } });
    }
  }
  return found.toSorted((a, b) => a.offset - b.offset).map(({ entry }) => entry);
}

function namesOf(clause: string): string[] {
  const [, before = '', braced = ''] = /^([^{]*)(?:\{([^}]*)\})?$/.exec(clause) ?? [];
  const outside = before.split(',').map((item) => item.trim());
  const inside = braced.split(',').map((item) => item.trim());
  return [
    ...outside.filter((item) => item !== '').map((item) => (item.startsWith('*') ? '*' : 'default')),
    ...inside.filter((item) => item !== '' && !item.startsWith('type ')).map((item) => item.split(/\s+as\s+/)[0] ?? ''),
  ];
}
