/**
 * A script is text: its first line is a sentence, then
 *
 *     === practice.yaml        a file, until the next ===
 *     $ valetkey connectors …  runs it in a folder of its own; `< text` after it is its standard input
 *     ? 1                      its exit code, 0 when left out
 *     > pattern                its standard output matches
 *     ! pattern                its standard error matches
 *     x text                   neither holds this text
 *
 * `{name}` stands for a value that the test gives. A `#` begins a comment.
 */
export type Step = {
  line: number;
  args: string[];
  stdin: string;
  code: number;
  out: string[];
  err: string[];
  without: string[];
};

export type Script = { title: string; files: Map<string, string>; steps: Step[] };

export function parseScript(text: string): Script {
  const lines = text.split('\n');
  const script: Script = { title: (lines[0] ?? '').replace(/^#\s*/, ''), files: new Map(), steps: [] };
  let file: { name: string; lines: string[] } | undefined;
  for (const [index, line] of lines.entries()) {
    if (index === 0) continue;
    if (line.startsWith('===')) {
      if (file !== undefined) script.files.set(file.name, `${file.lines.join('\n')}\n`);
      const name = line.slice(3).trim();
      file = name === '' ? undefined : { name, lines: [] };
      continue;
    }
    if (file !== undefined) {
      file.lines.push(line);
      continue;
    }
    if (line.trim() === '' || line.startsWith('#')) continue;
    const sign = line[0];
    const rest = line.slice(2);
    const step = script.steps.at(-1);
    if (sign === '$') {
      const args = words(rest.replace(/^valetkey ?/, ''));
      script.steps.push({ line: index + 1, args, stdin: '', code: 0, out: [], err: [], without: [] });
    } else if (step === undefined) throw new Error(`line ${index + 1}: nothing was run yet`);
    else if (sign === '?') step.code = Number(rest);
    else if (sign === '>') step.out.push(rest);
    else if (sign === '!') step.err.push(rest);
    else if (sign === 'x') step.without.push(rest);
    else if (sign === '<') step.stdin += `${rest}\n`;
    else throw new Error(`line ${index + 1}: ${line}`);
  }
  return script;
}

/** Split at spaces; quotes keep words together. */
function words(text: string): string[] {
  return [...text.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, single, double, bare]) => single ?? double ?? bare ?? '',
  );
}

/** `{name}` replaced, where there is such a value. */
export function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\{([a-z]+)\}/g, (whole, name: string) => values[name] ?? whole);
}

/** A pattern whose values are taken literally. */
export function pattern(text: string, values: Readonly<Record<string, string>>): RegExp {
  const escaped = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, value.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')]),
  );
  return new RegExp(fill(text, escaped), 'm');
}
