import { describe, expect, it } from 'vitest';
import { GUARDS, type Guard } from './guards.ts';
import { EVERY_TEST, play, readable, type ScenarioName } from './scenario.ts';
import { PROVIDERS, type ProviderKind } from './state.ts';

describe('the refresh protocol, in every interleaving', () => {
  it.each(EVERY_TEST.flatMap((scenario) => PROVIDERS.map((kind) => [scenario, kind] as const)))(
    'keeps its promises with %s at a provider that is %s',
    (scenario, kind) => {
      const { counterexample, states, depth } = play(scenario, kind);
      expect(counterexample === undefined ? 'kept' : readable(counterexample)).toBe('kept');
      // A model that stops early keeps every promise.
      expect(states).toBeGreaterThan(1_000);
      expect(depth).toBeGreaterThan(15);
    },
  );

  it.each(PROVIDERS)('loses a grant for good only where there is no second try, and then knows it: %s', (kind) => {
    const { counterexample } = play('three processes, two refreshes in a row', kind, [], true);
    if (counterexample !== undefined) console.info(`The one loss\n${readable(counterexample)}\n`);
    const last = counterexample?.trace.at(-1) ?? 'none';
    expect(last).toMatch(kind === 'strict' ? /^[ABC] {2}bury: needs_reconnect$/ : /^none$/);
  });
});

type Case = {
  guard: Guard;
  kind: ProviderKind;
  promise: string;
  /** Steps of the shortest way to break it. */
  steps: number;
  scenario?: ScenarioName;
};

describe('each guard of the protocol is needed', () => {
  const cases: Case[] = [
    { guard: 'fence', kind: 'static', promise: 'two refreshes are in flight', steps: 7 },
    { guard: 'deadline', kind: 'static', promise: 'two refreshes are in flight', steps: 7 },
    { guard: 'recheck', kind: 'static', promise: 'two refreshes are in flight', steps: 8 },
    { guard: 'intentFirst', kind: 'static', promise: 'a refresh leaves without a committed intent', steps: 4 },
    { guard: 'reread', kind: 'static', promise: 'a refusal of an older token ends a newer one', steps: 7 },
    { guard: 'disconnectFence', kind: 'static', promise: 'a late answer is stored after a disconnect', steps: 7 },
    {
      guard: 'persistFence',
      kind: 'strict',
      promise: 'a connection looks healthy and its provider refuses it',
      steps: 7,
    },
    {
      guard: 'holderFence',
      kind: 'strict',
      promise: 'a connection looks healthy and its provider refuses it',
      steps: 11,
    },
    {
      guard: 'staysOpen',
      kind: 'strict',
      promise: 'a connection looks healthy and its provider refuses it',
      steps: 11,
    },
    {
      guard: 'sameStatus',
      kind: 'static',
      promise: 'a refresh token is presented after its second refusal',
      steps: 15,
    },
    {
      guard: 'commitBeforeUse',
      kind: 'soft',
      promise: 'a grant is lost at a provider (soft) where none need be',
      steps: 14,
    },
    { guard: 'sweep', kind: 'static', promise: 'from here no good end can be reached', steps: 4 },
  ];

  it.each(cases)('without `$guard`: $promise', ({ guard, kind, promise, steps }) => {
    const { counterexample } = play('three processes, three faults', kind, [guard]);
    const found = counterexample === undefined ? 'none' : readable(counterexample);
    console.info(`Without "${GUARDS[guard]}"\n${found}\n`);
    expect(found.split('\n')[0]).toBe(`${promise}:`);
    expect(counterexample?.trace.length).toBe(steps);
  });

  it('and none is without a test', () => {
    expect(new Set(cases.map(({ guard }) => guard))).toEqual(new Set(Object.keys(GUARDS)));
  });
});
