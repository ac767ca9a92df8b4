import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { classify } from '../../src/connections/refusal.ts';
import { at, captured } from '../../src/connections/rules.ts';
import { judge, type TokenAnswer } from '../../src/connections/token-answer.ts';
import { loadProviders } from '../../src/connectors/provider.ts';
import { rulesOf } from '../../src/connectors/provider-rules.ts';

/* What services answer, after their documentation: one file for each provider, test/providers/NAME.json. */
type Recorded = {
  what: string;
  status: number;
  type?: string;
  body: unknown;
  /** `lives` and `grantLives` are seconds from the request. */
  tokens?: Record<string, unknown>;
  refusal?: { class: string; code: string };
};

const FOLDER = join(import.meta.dirname, '../providers');
const SENT = 1_800_000_000_000;
const providers = loadProviders();

const recorded = readdirSync(FOLDER).flatMap((file) => {
  const name = file.replace(/\.json$/, '');
  const answers = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Recorded[];
  return answers.map((answer): [string, string, Recorded] => [name, answer.what, answer]);
});

it.each(recorded)('%s is understood when it sends %s', (name, _what, { status, type, body, tokens, refusal }) => {
  const row = providers.get(name);
  if (row === undefined) throw new Error(`there is no provider ${name}`);
  const rules = rulesOf(row, {});
  const raw = {
    status,
    contentType: type ?? 'application/json',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    retryAfterMs: null,
    sentAt: SENT,
  };
  const judged = judge(raw, rules);
  const outcome = judged.kind === 'tokens' ? normal(judged.tokens) : classify(raw, judged, rules.errors);
  expect(outcome).toMatchObject(tokens ?? refusal ?? { nothing: 'recorded' });

  function normal({ members, expiresAt, grantExpiresAt, ...rest }: TokenAnswer) {
    const seconds = (time: number | null): number | null => (time === null ? null : (time - SENT) / 1_000);
    return {
      ...rest,
      lives: seconds(expiresAt),
      grantLives: seconds(grantExpiresAt),
      captured: captured(rules, 'token_response', (path) => at(members, path)),
    };
  }
});
