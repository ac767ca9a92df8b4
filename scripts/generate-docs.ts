/**
 * `npm run docs` writes the pages that are read off the sources; `--check` writes nothing and exits 1 when one of them
 * is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SETTINGS } from '../src/config.ts';
import { ERRORS, ValetkeyError, type ErrorCode } from '../src/errors.ts';
import { storagePage } from './storage-page.ts';

const ROOT = join(import.meta.dirname, '..');

const WRITTEN = '<!-- Written by npm run docs. Change the source that is named below, not this page. -->';

/** Every generated page, by its path in the checkout. */
export async function generatedPages(): Promise<Record<string, string>> {
  return {
    'docs/settings.md': settingsPage(SETTINGS),
    'docs/errors.md': errorsPage(readFileSync(join(ROOT, 'src/errors.ts'), 'utf8')),
    'docs/storage.md': `${WRITTEN}\n${await storagePage(join(ROOT, 'src/database'))}`,
  };
}

type Setting = { variable: string; key: string; default: string; meaning: string; secret?: true };

export function settingsPage(settings: readonly Setting[]): string {
  const cell = (text: string): string => text.replaceAll('|', String.raw`\|`);
  const rows = settings.map(
    ({ variable, key, meaning, secret, ...setting }) =>
      `| \`${variable}\` | \`${key}\` | ${cell(setting.default)} | ${cell(meaning)}${secret === true ? ' Secret: `config show` hides it.' : ''} |`,
  );
  return `${WRITTEN}
# Settings

From \`src/config.ts\`. A setting is a variable of the environment, or a key of \`valetkey.yaml\`; the environment wins.
A name that is not listed is refused, with the nearest one that is. \`valetkey config show\` prints what holds and where
it came from. \`VALETKEY_URL\` and \`VALETKEY_TOKEN\` are no settings of the gateway: they tell the command line which
gateway to talk to, and as whom.

| variable | key | default | meaning |
|---|---|---|---|
${rows.join('\n')}
`;
}

/** @param source of the catalogue: its comments name the room that the codes below them belong to */
export function errorsPage(source: string): string {
  const lines: string[] = [];
  const listed = new Set<string>();
  const catalogue = source.slice(source.indexOf('export const ERRORS'), source.indexOf('} as const satisfies'));
  for (const [, room, code] of catalogue.matchAll(/^ {2}(?:\/\/ (.+)|(\w+): entry\()/gm)) {
    if (room !== undefined) lines.push(`## ${room.charAt(0).toUpperCase()}${room.slice(1)}`, '');
    if (code === undefined) continue;
    const { status, message, hint } = ERRORS[code as ErrorCode];
    const oauth = new ValetkeyError(code as ErrorCode).oauth;
    lines.push(`### ${code}`, '', message, '', `- What to do: ${hint}`);
    lines.push(`- HTTP status ${status}; at an OAuth endpoint \`${oauth}\``, '');
    listed.add(code);
  }
  const left = Object.keys(ERRORS).filter((code) => !listed.has(code));
  if (left.length > 0) throw new Error(`src/errors.ts: not found in the catalogue's text: ${left.join(', ')}`);
  return `${WRITTEN}
# Error codes

From \`src/errors.ts\`. Every failure carries one of these codes, a sentence that is safe to show, a hint, and, where it
belongs to a longer exchange, a flow id that leads to it in the log and the audit. Decide on the code: the sentence may
be more specific than the one here, and may change. The admin API answers \`application/problem+json\` with \`code\`,
\`detail\`, \`hint\` and \`flow\`; the command line prints \`error:\` and \`hint:\`. The status of a service behind the
gateway never becomes the gateway's own.

${lines.join('\n').trimEnd()}
`;
}

if (import.meta.main) {
  const check = process.argv.includes('--check');
  for (const [path, text] of Object.entries(await generatedPages())) {
    let present: string | undefined;
    try {
      present = readFileSync(join(ROOT, path), 'utf8');
    } catch {
      present = undefined;
    }
    if (present === text) continue;
    if (check) {
      console.error(`${path} is out of date: npm run docs`);
      process.exitCode = 1;
    } else {
      writeFileSync(join(ROOT, path), text);
      console.log(`${path} written`);
    }
  }
}
