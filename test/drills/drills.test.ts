import { expect, it } from 'vitest';
import { killAtConnect, killAtStep } from './kills.ts';

it.each([
  ['before_send', 'strict'],
  ['answer_received', 'grace'],
  ['before_commit', 'strict'],
  ['credential_committed', 'strict'],
] as const)(
  'A process killed at %s leaves a grant that works or one that is known to be over, %s.',
  async (step, rotation) => {
    expect((await killAtStep(step, rotation)).verdict.broken).toEqual([]);
  },
);

it('A process killed in a callback once the answer is staged leaves a connection that works.', async () => {
  expect((await killAtConnect('connect_staged')).verdict.broken).toEqual([]);
});
