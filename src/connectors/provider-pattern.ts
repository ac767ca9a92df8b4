/**
 * The patterns of catalogue files: a small part of the language of regular expressions, in which matching cannot take
 * more than quadratic time: literals, classes, groups and alternatives; a repetition only of one character or class, and
 * at most two without a bound in a row of characters. No look-around, no back references, nothing nested.
 */
export type Pattern = {
  readonly source: string;
  /** Values longer than a host name never match. */
  readonly test: (value: string) => boolean;
  /** How every matching text ends: what stands there literally, and whether that is the whole text. */
  readonly endings: readonly Ending[];
};

type Ending = { text: string; whole: boolean };
type Piece = { endings: Ending[]; repeats: number };

const MAX_VALUE = 253;
const MAX_PATTERN = 300;
const MAX_ENDINGS = 200;
const UNKNOWN: Ending = { text: '', whole: false };

/** @throws Error in words for the author of the file */
export function compilePattern(source: string): Pattern {
  if (source.length > MAX_PATTERN) throw new Error(`is longer than ${MAX_PATTERN} characters`);
  if (!source.startsWith('^') || !source.endsWith('$') || /(?:^|[^\\])(?:\\\\)*\\\$$/.test(source)) {
    throw new Error('must be anchored: ^…$');
  }
  const reader = createReader(source.slice(1, -1));
  const { endings } = reader.alternatives();
  if (!reader.done()) throw new Error('has a ) that closes nothing');
  const regexp = new RegExp(`^(?:${source.slice(1, -1)})$`, 'u');
  return { source, endings, test: (value) => value.length <= MAX_VALUE && regexp.test(value) };
}

function createReader(text: string) {
  let at = 0;

  function alternatives(): Piece {
    const found = [sequence()];
    while (text[at] === '|') {
      at += 1;
      found.push(sequence());
    }
    return {
      endings: bounded(found.flatMap((one) => one.endings)),
      repeats: Math.max(...found.map((one) => one.repeats)),
    };
  }

  function sequence(): Piece {
    let endings: Ending[] = [{ text: '', whole: true }];
    let repeats = 0;
    while (at < text.length && text[at] !== '|' && text[at] !== ')') {
      const piece = repeated();
      repeats += piece.repeats;
      if (repeats > 2) throw new Error('has more than two repetitions without a bound in a row');
      endings = bounded(
        piece.endings.flatMap((end) => (end.whole ? endings.map((before) => joined(before, end)) : [end])),
      );
    }
    return { endings, repeats };
  }

  function repeated(): Piece {
    const group = text[at] === '(';
    const piece = group ? inGroup() : single();
    const quantifier = /^(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})/.exec(text.slice(at))?.[0];
    if (quantifier === undefined) return piece;
    at += quantifier.length;
    if (text[at] === '?' || text[at] === '+' || text[at] === '*') throw new Error('repeats a repetition');
    if (quantifier === '?') return { ...piece, endings: [...piece.endings, { text: '', whole: true }] };
    if (group) throw new Error('repeats a group');
    const endless = quantifier === '*' || quantifier === '+' || quantifier.endsWith(',}');
    return { endings: [UNKNOWN], repeats: endless ? 1 : 0 };
  }

  function inGroup(): Piece {
    at += 1;
    if (text[at] === '?') {
      if (!text.startsWith('?:', at)) throw new Error('may group with ( ) and (?: ) only');
      at += 2;
    }
    const inside = alternatives();
    if (text[at] !== ')') throw new Error('has a ( that is not closed');
    at += 1;
    return inside;
  }

  function single(): Piece {
    const char = text[at] ?? '';
    if (char === '[') {
      const found = /^\[\^?(?:[A-Za-z0-9 _.:@~/-]|\\[.\\/-])+\]/.exec(text.slice(at))?.[0];
      if (found === undefined) throw new Error('has a class that is not plain');
      if (found.startsWith('[^')) throw new Error('may say what fits, not what does not');
      at += found.length;
      return { endings: [UNKNOWN], repeats: 0 };
    }
    if (char === '\\') {
      const escaped = text[at + 1] ?? '';
      if (!/^[.\-/]$/.test(escaped)) throw new Error(`has an escape that is not allowed: \\${escaped}`);
      at += 2;
      return { endings: [{ text: escaped, whole: true }], repeats: 0 };
    }
    if (!/^[A-Za-z0-9_:/@ -]$/.test(char)) throw new Error(`has ${JSON.stringify(char)} where it means nothing here`);
    at += 1;
    return { endings: [{ text: char, whole: true }], repeats: 0 };
  }

  return { alternatives, done: () => at === text.length };
}

const joined = (before: Ending, end: Ending): Ending => ({ text: before.text + end.text, whole: before.whole });

function bounded(endings: Ending[]): Ending[] {
  if (endings.length > MAX_ENDINGS) throw new Error('has too many alternatives');
  return endings;
}
