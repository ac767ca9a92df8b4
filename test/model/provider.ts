import { NONE, REPLACED, type ProviderKind, type State, type Token } from './state.ts';

/** One refresh at the provider, which decides without a pause: a new pair, or `refused`. Changes `state`. */
export function present(state: State, kind: ProviderKind, token: Token): Token | 'refused' {
  const { provider } = state;
  if (!provider.alive || token === REPLACED) return 'refused';
  const fresh = (): Token => Math.max(...tokensOf(state)) + 1;
  if (kind === 'static') return token === provider.newest ? token : 'refused';
  if (token === provider.newest) {
    provider.old = kind === 'strict' ? NONE : token;
    provider.newest = fresh();
    return provider.newest;
  }
  if (kind === 'grace' && token === provider.old) return provider.newest;
  if (kind === 'soft') {
    if (token !== provider.old) return 'refused';
    // The answer that went before was never used, so that it is replaced.
    provider.newest = fresh();
    return provider.newest;
  }
  provider.alive = false;
  return 'refused';
}

/** Whether a refresh with this token would bring a new pair. */
export function accepts(state: State, kind: ProviderKind, token: Token): boolean {
  const { alive, newest, old } = state.provider;
  return alive && (token === newest || (kind !== 'static' && kind !== 'strict' && token === old));
}

/** A call that carries the newest access token: from here on a soft provider forgets the old refresh token. */
export function use(state: State): void {
  state.provider.old = NONE;
}

function tokensOf({ provider, row, workers }: State): Token[] {
  const answers = workers.map((worker) => (typeof worker.answer === 'number' ? worker.answer : NONE));
  return [
    provider.newest,
    provider.old,
    row.token,
    row.tombstone,
    ...workers.map((worker) => worker.token),
    ...answers,
  ];
}
