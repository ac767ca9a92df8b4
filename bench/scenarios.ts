import type { Size } from './wire.ts';

type Timing = { rounds: number; seconds: number };

/** `closed`: as many calls as so many connections get answered; `open`: a fixed rate; `stream`: delays of events. */
export type Scenario = { name: string; title: string } & Timing &
  (
    | { kind: 'closed'; size: Size; connections: number; withSdk?: true }
    | { kind: 'open'; rate: number }
    | { kind: 'stream'; streams: number }
  );

export type Plan = {
  scenarios: Scenario[];
  warmUpSeconds: number;
  heldStreams: number;
  /** No disturbed round is repeated after so many seconds. */
  budgetSeconds: number;
};

export function planOf(quick: boolean): Plan {
  const pick = (full: Timing, short: Timing): Timing => (quick ? short : full);
  const small = { kind: 'closed', size: 'small' } as const;
  const large = { kind: 'closed', size: 'large' } as const;
  const short = { rounds: 2, seconds: 1 };
  const scenarios: Scenario[] = [
    {
      name: 'small-32',
      title: '200 B results, 32 connections',
      ...small,
      connections: 32,
      withSdk: true,
      ...pick({ rounds: 7, seconds: 3 }, { rounds: 3, seconds: 1 }),
    },
    {
      name: 'small-1',
      title: '200 B results, 1 connection',
      ...small,
      connections: 1,
      ...pick({ rounds: 5, seconds: 2 }, short),
    },
    {
      name: 'small-256',
      title: '200 B results, 256 connections',
      ...small,
      connections: 256,
      ...pick({ rounds: 5, seconds: 3 }, short),
    },
    {
      name: 'large-32',
      title: '1 MB results, 32 connections',
      ...large,
      connections: 32,
      ...pick({ rounds: 5, seconds: 2 }, short),
    },
    {
      name: 'rate-1000',
      title: '1,000 calls/s, open loop',
      kind: 'open',
      rate: 1_000,
      ...pick({ rounds: 5, seconds: 3 }, short),
    },
    {
      name: 'streams-10',
      title: '10 event streams, an event every 10 ms each',
      kind: 'stream',
      streams: 10,
      ...pick({ rounds: 4, seconds: 2 }, short),
    },
  ];
  if (!quick) {
    scenarios.splice(4, 0, {
      name: 'large-1',
      title: '1 MB results, 1 connection',
      ...large,
      connections: 1,
      rounds: 3,
      seconds: 2,
    });
  }
  return {
    scenarios,
    warmUpSeconds: quick ? 2 : 6,
    heldStreams: quick ? 200 : 1_000,
    budgetSeconds: quick ? 45 : 330,
  };
}
