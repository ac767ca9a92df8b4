/** What keeps the protocol right. A test drops one at a time and expects a counterexample. */
export const GUARDS = {
  fence: 'takeIntent writes only while no attempt is open and the generation is the one that was read',
  sameStatus: 'takeIntent writes only while the status is the one that was read',
  deadline: 'another process takes an attempt over only when its deadline has passed',
  recheck: 'the deadline is looked at again right before the request leaves',
  intentFirst: 'an intent is committed before the request leaves',
  persistFence: 'a new pair is stored only under the attempt that asked for it',
  holderFence: 'once an attempt is taken over, the holder before can neither store nor close it',
  reread: 'a refusal is written only while the attempt is still open: else the row that stands now is adopted',
  staysOpen: 'only an answer about the grant closes an attempt that may have been processed before',
  commitBeforeUse: 'a new access token is used only when its pair is stored',
  disconnectFence: 'a disconnect takes the fence away, so that a late answer is not stored',
  sweep: 'an attempt whose process is gone is found and taken over',
} as const;

export type Guard = keyof typeof GUARDS;
