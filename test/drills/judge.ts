import type { RefreshEvent } from '../../src/test-server/ledger.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import type { Row } from './process.ts';

export type Verdict = {
  /** Broken promises, by the number that design and docs give them. Empty when all is well. */
  broken: string[];
  refreshes: number;
  rotated: number;
  sameSuccessor: number;
  mostInFlight: number;
  /** Grants that are over at the provider. */
  lost: number;
  /** Of these, how many the gateway says need their owner. */
  known: number;
};

const REFUSED: ReadonlySet<RefreshEvent['outcome']> = new Set([
  'reused_refused',
  'reused_family_revoked',
  'expired',
  'grant_revoked',
  'unknown_token',
]);
const NEEDS_OWNER: ReadonlySet<string> = new Set(['needs_reconnect', 'suspect', 'revoked', 'quarantined']);

/**
 * What the provider's ledger says of the rows of a gateway, after everything has come to rest.
 * @param expected.refreshes exactly so many that brought new tokens
 * @param expected.losses whether the provider's policy makes a loss unavoidable; it must then be known
 */
export function judge(
  service: Pick<TestServer, 'ledger' | 'grants'>,
  rows: readonly Row[],
  expected: { refreshes?: number; losses?: boolean } = {},
): Verdict {
  const broken: string[] = [];
  const events = service.ledger.refreshes();
  const rotated = events.filter(({ outcome }) => outcome === 'rotated' || outcome === 'kept').length;
  const say = (promise: string, what: string): void => void broken.push(`${promise}: ${what}`);

  const inFlight = service.ledger.maxInFlight();
  if (inFlight > 1) say('I3', `${inFlight} refreshes of one credential in flight together`);
  if (expected.refreshes !== undefined && rotated !== expected.refreshes) {
    say('I7', `${rotated} refreshes where ${expected.refreshes} were due`);
  }
  const refusals = new Map<string, number>();
  for (const { token, outcome } of events) {
    if (REFUSED.has(outcome)) refusals.set(token, (refusals.get(token) ?? 0) + 1);
  }
  for (const [token, times] of refusals) if (times > 2) say('I4', `${token} was refused ${times} times`);

  let lost = 0;
  let known = 0;
  for (const grant of service.grants()) {
    const row = rows.find(({ client }) => client === grant.clientId);
    if (row === undefined) continue;
    if (!grant.revoked) {
      if (row.status === 'needs_reconnect' && row.error === null)
        say('I2', `${row.id} needs its owner, without a reason`);
      continue;
    }
    lost += 1;
    if (NEEDS_OWNER.has(row.status)) known += 1;
    else if (!row.open) say('I1', `${row.id} is shown as ${row.status} and its grant is over`);
  }
  if (lost > 0 && expected.losses !== true) say('I2', `${lost} grants were lost`);
  for (const row of rows) {
    if (row.open) say('I1', `${row.id} still has an open attempt`);
    if (row.status === 'needs_reconnect' && expected.losses !== true) say('I2', `${row.id} was given up: ${row.error}`);
  }
  return {
    broken,
    refreshes: events.length,
    rotated,
    sameSuccessor: events.filter(({ outcome }) => outcome === 'same_successor').length,
    mostInFlight: inFlight,
    lost,
    known,
  };
}

export type Result = { drill: string; verdict: Verdict; note: string; ms: number };

/** One line a drill. */
export function table(results: readonly Result[]): string {
  const head = ['drill', 'refreshes', 'new', 'same', 'in flight', 'lost', 'known', 's', 'note'];
  const lines = results.map(({ drill, verdict, note, ms }) => [
    drill,
    String(verdict.refreshes),
    String(verdict.rotated),
    String(verdict.sameSuccessor),
    String(verdict.mostInFlight),
    String(verdict.lost),
    String(verdict.known),
    (ms / 1_000).toFixed(1),
    verdict.broken.length === 0 ? note : verdict.broken.slice(0, 3).join('; '),
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]!.length)));
  return [head, ...lines]
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
