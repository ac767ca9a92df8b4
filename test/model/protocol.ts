import type { Guard } from './guards.ts';
import { accepts, present, use } from './provider.ts';
import { copy, idle, NONE, REPLACED, type ProviderKind, type State, type Worker } from './state.ts';

export type Setup = {
  kind: ProviderKind;
  dropped: ReadonlySet<Guard>;
  /** One process owns the store, so that every attempt it finds at start is a left-over of its own. */
  exclusive: boolean;
  /** Asks for more than can be had: that no grant is ever lost. */
  noLoss?: boolean;
};

export type Transition = {
  /** Function in src/connections, or the fault. */
  name: string;
  worker: number | null;
  fault: boolean;
  next: State;
  /** Set where the step itself breaks a promise. */
  broken?: string;
};

/** Every step that is possible from here. */
export function* transitions(state: State, setup: Setup): Generator<Transition> {
  yield* time(state, setup);
  yield* outside(state, setup);
  // Workers that are in the same state are the same: the first idle one stands for all that hold nothing.
  let idlers = 0;
  for (const [index, worker] of state.workers.entries()) {
    const holds = state.row.intent?.holder === index;
    if (worker.at === 'idle' && !holds && idlers++ > 0) continue;
    yield* steps(state, setup, index, worker);
    if (worker.at !== 'idle') yield* crash(state, setup, index, worker);
  }
}

function* steps(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  switch (worker.at) {
    case 'idle':
      return yield* flight(state, setup, index);
    case 'read':
      return yield* worker.open ? reclaim(state, index, worker) : take(state, setup, index, worker);
    case 'taken':
      return yield* send(state, setup, index, worker);
    case 'sent':
      return yield* provider(state, setup, index, worker);
    case 'lost':
      return yield* lost(state, index, worker);
    case 'got':
      if (typeof worker.answer === 'number') return yield* persist(state, setup, index, worker);
      return worker.answer === 'refused'
        ? yield* bury(state, setup, index, worker)
        : yield* blame(state, setup, index, worker);
    default:
      return worker.at satisfies never;
  }
}

/** `flight` of refresh.ts up to its decision: the row is read, and this process may act on it. */
function* flight(state: State, setup: Setup, index: number): Generator<Transition> {
  const { row } = state;
  if (row.status !== 'active' && row.status !== 'suspect') return;
  if (row.intent === null && row.access === 'fresh') return;
  const usable = row.access !== 'expired';
  const refusedBefore = row.tombstone !== NONE && row.tombstone === row.token;
  if (refusedBefore && (row.status !== 'suspect' || usable)) return;
  const foreign = row.intent !== null && row.intent.holder !== index && !setup.exclusive;
  if (foreign && !row.intent?.deadlinePassed && !setup.dropped.has('deadline')) return;
  if (foreign && setup.dropped.has('sweep')) return;
  const next = copy(state);
  next.workers[index] = {
    ...idle(),
    at: 'read',
    token: row.token,
    usable,
    suspect: row.status === 'suspect',
    open: row.intent !== null,
    sameGeneration: true,
    sameStatus: true,
    sameAttempt: true,
    sameIntent: true,
  };
  yield { name: 'flight: read the row', worker: index, fault: false, next };
}

/** `takeIntent`: compare-and-set, durable before anything leaves. */
function* take(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  if (setup.dropped.has('intentFirst')) {
    const next = copy(state);
    next.workers[index] = { ...worker, at: 'taken' };
    yield { name: 'takeIntent left out', worker: index, fault: false, next };
    return;
  }
  const { row } = state;
  const allowed =
    setup.dropped.has('fence') ||
    (row.intent === null &&
      worker.sameGeneration &&
      (row.status === 'active' || row.status === 'suspect') &&
      (worker.sameStatus || setup.dropped.has('sameStatus')));
  yield* write(state, index, 'takeIntent', allowed, {
    apply(next) {
      const mine = next.workers[index]!;
      next.row.intent = { holder: index, deadlinePassed: false, replay: false };
      for (const other of awake(next)) if (other !== mine) other.sameAttempt = other.sameIntent = false;
      next.workers[index] = { ...mine, at: 'taken', sameAttempt: true, sameIntent: true };
    },
    refused: (next) => void (next.workers[index] = idle()),
    failed: (next) => void (next.workers[index] = idle()),
  });
}

/** `moveIntent`: the same attempt under a new deadline, by compare-and-set on the intent as it was read. */
function* reclaim(state: State, index: number, worker: Worker): Generator<Transition> {
  const allowed = state.row.intent !== null && worker.sameIntent;
  yield* write(state, index, 'moveIntent: take the attempt over', allowed, {
    apply(next) {
      const mine = next.workers[index]!;
      next.row.intent = { holder: index, deadlinePassed: false, replay: true };
      for (const other of awake(next)) {
        if (other === mine) continue;
        if (other.sameAttempt && other.at === 'got' && typeof other.answer === 'number') next.ghost.pairLost = true;
        other.sameIntent = false;
      }
      next.workers[index] = { ...mine, at: 'taken', replay: true };
    },
    refused: (next) => void (next.workers[index] = idle()),
    failed: (next) => void (next.workers[index] = idle()),
  });
}

/** `exchange` of refresh.ts, up to the request. */
function* send(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  const next = copy(state);
  if (worker.late && !setup.dropped.has('recheck')) {
    next.workers[index] = idle();
    yield { name: 'exchange: too late to send', worker: index, fault: false, next };
    return;
  }
  next.workers[index]!.at = 'sent';
  const transition: Transition = { name: 'exchange: the request leaves', worker: index, fault: false, next };
  if (state.workers.some((other) => other.at === 'sent')) transition.broken = 'two refreshes are in flight';
  else if (setup.dropped.has('intentFirst')) transition.broken = 'a refresh leaves without a committed intent';
  else if (state.ghost.refusals >= 2 && worker.token === state.row.token) {
    transition.broken = 'a refresh token is presented after its second refusal';
  }
  yield transition;
}

/** What the provider and the network make of a request. It is decided before the sender's deadline, or never. */
function* provider(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  const answered = copy(state);
  const answer = present(answered, setup.kind, worker.token);
  answered.workers[index] = { ...worker, at: 'got', answer };
  const what = answer === 'refused' ? 'invalid_grant' : 'a new pair';
  yield { name: `provider: ${what}`, worker: index, fault: false, next: answered };
  if (may(state, 'lostAnswers')) {
    const next = copy(state);
    spend(next, 'lostAnswers');
    const went = present(next, setup.kind, worker.token);
    if (went !== 'refused') next.ghost.pairLost = true;
    next.workers[index] = { ...worker, at: 'lost' };
    yield { name: `provider: ${what}, but the answer is lost`, worker: index, fault: true, next };
  }
  if (may(state, 'unprocessed')) {
    const nothing = copy(state);
    spend(nothing, 'unprocessed');
    nothing.workers[index] = { ...worker, at: 'lost' };
    yield { name: 'provider: not processed', worker: index, fault: true, next: nothing };
    const blamed = copy(state);
    spend(blamed, 'unprocessed');
    blamed.workers[index] = { ...worker, at: 'got', answer: 'blamed' };
    yield { name: 'provider: invalid_client', worker: index, fault: true, next: blamed };
  }
}

/** Either `again`, in the same flight, or `postpone`: the attempt stays open, for whoever comes after the back-off. */
function* lost(state: State, index: number, worker: Worker): Generator<Transition> {
  const next = copy(state);
  next.workers[index] = idle();
  yield { name: 'exchange: again', worker: index, fault: false, next };
  yield* write(state, index, 'postpone', worker.sameIntent, {
    apply(after) {
      const mine = after.workers[index]!;
      if (after.row.intent !== null) after.row.intent.deadlinePassed = true;
      for (const other of awake(after)) if (other !== mine) other.sameIntent = false;
      after.workers[index] = idle();
    },
    refused: (after) => void (after.workers[index] = idle()),
    failed: (after) => void (after.workers[index] = idle()),
  });
}

/** `persist.refreshed` with `commitRefresh`: repeated until the store has answered. */
function* persist(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  const allowed =
    setup.dropped.has('persistFence') ||
    (worker.sameAttempt && worker.sameGeneration && (worker.sameIntent || setup.dropped.has('holderFence')));
  const revoked = state.row.status === 'revoked';
  yield* write(state, index, 'commitRefresh', allowed && (!revoked || setup.dropped.has('disconnectFence')), {
    apply(next) {
      const answer = worker.answer as number;
      for (const other of awake(next)) moved(other);
      next.row = { status: 'active', access: 'fresh', token: answer, tombstone: NONE, intent: null };
      next.ghost.refusals = 0;
      next.workers[index] = idle();
    },
    refused(next) {
      // Of a pair that another one has superseded nothing is stored; after a disconnect it is revoked.
      if (revoked) next.provider.alive = false;
      else if (worker.sameGeneration) next.ghost.pairLost = true;
      next.workers[index] = idle();
    },
    failed: (next) => void (next.workers[index]!.held = true),
    broken: revoked ? 'a late answer is stored after a disconnect' : undefined,
  });
  if (worker.held && setup.dropped.has('commitBeforeUse') && state.provider.old !== NONE && setup.kind === 'soft') {
    const next = copy(state);
    use(next);
    yield { name: 'a call uses the pair that is not stored yet', worker: index, fault: false, next };
  }
}

/** `bury`: suspect while the access token is good, else needs_reconnect; nothing is deleted. */
function* bury(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  const fenced = worker.sameAttempt && worker.sameGeneration && (worker.sameIntent || setup.dropped.has('holderFence'));
  const suspect = worker.usable && !worker.suspect;
  yield* write(
    state,
    index,
    suspect ? 'bury: suspect' : 'bury: needs_reconnect',
    fenced || setup.dropped.has('reread'),
    {
      apply(next) {
        const mine = next.workers[index]!;
        for (const other of awake(next)) {
          if (other === mine) continue;
          other.sameStatus = other.sameAttempt = other.sameIntent = false;
        }
        next.row.status = suspect ? 'suspect' : 'needs_reconnect';
        next.row.tombstone = worker.token;
        next.row.intent = null;
        next.ghost.refusals = Math.min(2, next.ghost.refusals + 1);
        next.workers[index] = idle();
      },
      refused: (next) => void (next.workers[index] = idle()),
      failed: (next) => void (next.workers[index] = idle()),
      broken: worker.token === state.row.token ? undefined : 'a refusal of an older token ends a newer one',
    },
  );
}

/** `blameClient` and `misconfigured`: nobody looked at the token, this time. */
function* blame(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  const closes = setup.dropped.has('staysOpen');
  const fenced = worker.sameAttempt && worker.sameGeneration && (worker.sameIntent || setup.dropped.has('holderFence'));
  yield* write(state, index, closes ? 'blameClient: close' : 'blameClient: leave open', fenced, {
    apply(next) {
      const mine = next.workers[index]!;
      for (const other of awake(next)) {
        if (other === mine) continue;
        other.sameIntent = false;
        if (closes) other.sameAttempt = false;
      }
      if (closes) next.row.intent = null;
      else if (next.row.intent !== null) next.row.intent.deadlinePassed = true;
      next.workers[index] = idle();
    },
    refused: (next) => void (next.workers[index] = idle()),
    failed: (next) => void (next.workers[index] = idle()),
  });
}

/** A write and the two ways in which a cut to the database spoils it: before the commit, and after it. */
function* write(
  state: State,
  index: number,
  name: string,
  allowed: boolean,
  effect: {
    apply(next: State): void;
    /** The compare-and-set found another row. */
    refused(next: State): void;
    /** The store threw: whether it committed is not known. */
    failed(next: State): void;
    broken?: string | undefined;
  },
): Generator<Transition> {
  const next = copy(state);
  if (allowed) effect.apply(next);
  else effect.refused(next);
  const plain: Transition = { name: allowed ? name : `${name}: the row has moved`, worker: index, fault: false, next };
  if (allowed && effect.broken !== undefined) plain.broken = effect.broken;
  yield plain;
  if (!may(state, 'databaseCuts')) return;
  const cut = copy(state);
  spend(cut, 'databaseCuts');
  effect.failed(cut);
  yield { name: `${name}: cut before the commit`, worker: index, fault: true, next: cut };
  if (!allowed) return;
  const silent = copy(state);
  const before = { ...silent.workers[index]! };
  effect.apply(silent);
  spend(silent, 'databaseCuts');
  // The row has it, the worker does not know.
  silent.workers[index] = { ...before, sameGeneration: before.sameGeneration && silent.row.token === state.row.token };
  effect.failed(silent);
  if (silent.workers[index]!.at !== 'idle') moved(silent.workers[index]!);
  yield { name: `${name}: cut after the commit`, worker: index, fault: true, next: silent };
}

function* crash(state: State, setup: Setup, index: number, worker: Worker): Generator<Transition> {
  if (!may(state, 'crashes')) return;
  const stop = (next: State): State => {
    spend(next, 'crashes');
    next.workers[index] = idle();
    if (next.row.intent?.holder === index) next.row.intent.holder = -1;
    return next;
  };
  const next = stop(copy(state));
  if (worker.at === 'got' && typeof worker.answer === 'number' && worker.sameGeneration) next.ghost.pairLost = true;
  yield { name: `kill -9 (${worker.at})`, worker: index, fault: true, next };
  if (worker.at !== 'sent') return;
  const processed = copy(state);
  if (present(processed, setup.kind, worker.token) !== 'refused') processed.ghost.pairLost = true;
  yield { name: 'kill -9 (sent), and the request is processed', worker: index, fault: true, next: stop(processed) };
}

function* time(state: State, setup: Setup): Generator<Transition> {
  const { row, provider, budget } = state;
  if (row.access === 'fresh' && budget.expiries > 0) {
    const next = copy(state);
    next.row.access = 'due';
    next.budget.expiries -= 1;
    yield { name: 'time: a refresh is due', worker: null, fault: false, next };
  }
  if (row.access === 'due') {
    const next = copy(state);
    next.row.access = 'expired';
    yield { name: 'time: the access token ends', worker: null, fault: false, next };
  }
  const { intent } = row;
  // A request is over before its deadline: it leaves within 15 seconds of the intent and has 30 of the 45.
  const holder = intent === null ? undefined : state.workers[intent.holder];
  const busy = holder !== undefined && holder.at !== 'idle' && holder.at !== 'read';
  if (intent !== null && !intent.deadlinePassed && holder?.at !== 'sent' && (!busy || may(state, 'holdUps'))) {
    const next = copy(state);
    next.row.intent!.deadlinePassed = true;
    if (busy) {
      spend(next, 'holdUps');
      next.workers[intent.holder]!.late = true;
    }
    yield { name: 'time: the deadline passes', worker: busy ? intent.holder : null, fault: busy, next };
  }
  // Grace lasts longer than an attempt does.
  if (setup.kind === 'grace' && provider.old !== NONE && intent === null && row.token === provider.newest) {
    const next = copy(state);
    use(next);
    yield { name: 'time: the grace of the old token ends', worker: null, fault: false, next };
  }
  const shown = row.status === 'active' || row.status === 'suspect';
  if (setup.kind === 'soft' && provider.old !== NONE && shown && row.token === provider.newest) {
    const next = copy(state);
    use(next);
    yield { name: 'a call uses the stored access token', worker: null, fault: false, next };
  }
}

function* outside(state: State, setup: Setup): Generator<Transition> {
  if (may(state, 'disconnects') && state.row.status !== 'revoked') {
    const next = copy(state);
    spend(next, 'disconnects');
    if (setup.dropped.has('disconnectFence')) next.row.status = 'revoked';
    else {
      for (const worker of awake(next)) moved(worker);
      next.row = { ...next.row, status: 'revoked', intent: null };
    }
    yield { name: 'disconnect', worker: null, fault: true, next };
  }
  if (may(state, 'reconnects') && state.row.status !== 'revoked') {
    const next = copy(state);
    spend(next, 'reconnects');
    for (const worker of awake(next)) {
      moved(worker);
      worker.token = REPLACED;
      if (typeof worker.answer === 'number') worker.answer = REPLACED;
    }
    next.provider = { alive: true, newest: 1, old: NONE };
    next.row = { status: 'active', access: 'fresh', token: 1, tombstone: NONE, intent: null };
    next.ghost = { revokedOutside: false, pairLost: false, refusals: 0 };
    yield { name: 'connect: the person connects again', worker: null, fault: true, next };
  }
  if (may(state, 'revocations') && state.provider.alive) {
    const next = copy(state);
    spend(next, 'revocations');
    next.provider.alive = false;
    next.ghost.revokedOutside = true;
    yield { name: 'the person ends the grant at the provider', worker: null, fault: true, next };
  }
}

type Fault = Exclude<keyof State['budget'], 'faults' | 'expiries'>;

function may({ budget }: State, fault: Fault): boolean {
  return budget.faults > 0 && budget[fault] > 0;
}

function spend({ budget }: State, fault: Fault): void {
  budget.faults -= 1;
  budget[fault] -= 1;
  // Below the common bound the single ones say nothing any more: fewer states that differ in nothing that matters.
  for (const name of Object.keys(budget) as (keyof State['budget'])[]) {
    if (name !== 'expiries' && name !== 'faults') budget[name] = Math.min(budget[name], budget.faults);
  }
}

function awake(state: State): Worker[] {
  return state.workers.filter((worker) => worker.at !== 'idle');
}

function moved(worker: Worker): void {
  worker.sameGeneration = worker.sameStatus = worker.sameAttempt = worker.sameIntent = false;
}

/** Nobody is at work, and no attempt is open that a sweep would look at. */
export function quiet(state: State): boolean {
  return state.row.intent === null && state.workers.every((worker) => worker.at === 'idle');
}

/** What must hold in a state; the promise that does not, else undefined. */
export function violated(state: State, { kind, noLoss = false }: Setup): string | undefined {
  const { row, ghost } = state;
  if (row.status === 'needs_reconnect' && !ghost.revokedOutside) {
    if (noLoss) return 'a grant is lost';
    if (kind !== 'strict') return `a grant is lost at a provider (${kind}) where none need be`;
    if (!ghost.pairLost) return 'a grant is lost although no answer was';
  }
  if (quiet(state) && row.status === 'active' && !ghost.revokedOutside && !accepts(state, kind, row.token)) {
    return 'a connection looks healthy and its provider refuses it';
  }
  return undefined;
}

/** A place to end well: usable, or known to be over. */
export function good(state: State, { kind }: Setup): boolean {
  const { row, ghost } = state;
  if (!quiet(state)) return false;
  if (row.status === 'needs_reconnect' || row.status === 'revoked') return true;
  return row.status === 'active' && (ghost.revokedOutside || accepts(state, kind, row.token));
}
