/**
 * The state of the model: one connection, its provider, and the processes that may refresh it. Tokens are numbers; only
 * which of them are equal matters, and versions of the row are remembered as "has it moved since I looked".
 */

export const PROVIDERS = ['static', 'soft', 'grace', 'strict'] as const;
/**
 * What becomes of a used refresh token. `static`: nothing; `soft`: it works until its successor is used; `grace`: for a
 * while it answers with the same successor; `strict`: presenting it again ends the grant.
 */
export type ProviderKind = (typeof PROVIDERS)[number];

export type Token = number;
export const NONE = 0;
/** Any token of a grant that a new one has replaced. */
export const REPLACED = -1;

export type Worker = {
  /** `idle`: no flight · `read`: store.find done · `taken`: intent committed · `sent` · `got` an answer · `lost` it. */
  at: 'idle' | 'read' | 'taken' | 'sent' | 'got' | 'lost';
  /** The refresh token of the row as it was read. */
  token: Token;
  /** A token: the new pair; else what the provider said. */
  answer: Token | 'refused' | 'blamed';
  /** As read: the access token is good still; the row was suspect; an attempt was open; it had been sent before. */
  usable: boolean;
  suspect: boolean;
  open: boolean;
  replay: boolean;
  /** Its own deadline has passed. */
  late: boolean;
  /** A commit of its pair has failed, so that the pair exists in this memory only. */
  held: boolean;
  /** Not moved since it was read or written by this worker. */
  sameGeneration: boolean;
  sameStatus: boolean;
  sameAttempt: boolean;
  sameIntent: boolean;
};

export type Row = {
  status: 'active' | 'suspect' | 'needs_reconnect' | 'revoked';
  access: 'fresh' | 'due' | 'expired';
  token: Token;
  /** Stands for the hash of a refused refresh token. */
  tombstone: Token;
  /** `holder` is -1 when that process is gone. */
  intent: { holder: number; deadlinePassed: boolean; replay: boolean } | null;
};

/** How much may still happen; zero ends it. */
export type Budget = {
  /** Of all faults together. */
  faults: number;
  crashes: number;
  lostAnswers: number;
  unprocessed: number;
  databaseCuts: number;
  /** A process stands still, between two steps, until its deadline has passed. */
  holdUps: number;
  expiries: number;
  disconnects: number;
  reconnects: number;
  revocations: number;
};

export type State = {
  provider: { alive: boolean; newest: Token; old: Token };
  row: Row;
  workers: Worker[];
  budget: Budget;
  /** For the properties only: no transition decides by it. */
  ghost: {
    /** The provider ended the grant on its own. */
    revokedOutside: boolean;
    /** A pair was issued and its receiver, or its way there, did not get to store it. */
    pairLost: boolean;
    /** Refusals of the row's refresh token that were written down. */
    refusals: number;
  };
};

export function idle(): Worker {
  return {
    at: 'idle',
    token: NONE,
    answer: NONE,
    usable: false,
    suspect: false,
    open: false,
    replay: false,
    late: false,
    held: false,
    sameGeneration: false,
    sameStatus: false,
    sameAttempt: false,
    sameIntent: false,
  };
}

export function initial(workers: number, budget: Budget): State {
  return {
    provider: { alive: true, newest: 1, old: NONE },
    row: { status: 'active', access: 'fresh', token: 1, tombstone: NONE, intent: null },
    workers: Array.from({ length: workers }, idle),
    budget: { ...budget },
    ghost: { revokedOutside: false, pairLost: false, refusals: 0 },
  };
}

export function copy(state: State): State {
  return {
    provider: { ...state.provider },
    row: { ...state.row, intent: state.row.intent === null ? null : { ...state.row.intent } },
    workers: state.workers.map((worker) => (worker.at === 'idle' ? worker : { ...worker })),
    budget: { ...state.budget },
    ghost: { ...state.ghost },
  };
}

const STEPS: readonly Worker['at'][] = ['idle', 'read', 'taken', 'sent', 'got', 'lost'];
const STATUSES: readonly Row['status'][] = ['active', 'suspect', 'needs_reconnect', 'revoked'];
const ACCESS: readonly Row['access'][] = ['fresh', 'due', 'expired'];

function tokenMatters({ at, answer }: Worker): boolean {
  return at === 'read' || at === 'taken' || at === 'sent' || (at === 'got' && answer === 'refused');
}

/** Of what a worker remembers, the part that a later step of it still looks at. */
function remembered(worker: Worker): number {
  const { at, answer, usable, suspect, open, replay, late, held } = worker;
  const { sameGeneration, sameStatus, sameAttempt, sameIntent } = worker;
  const row = Number(sameGeneration) + Number(sameAttempt) + Number(sameIntent);
  const access = (Number(usable) << 3) | (Number(suspect) << 4);
  switch (at) {
    case 'idle':
      return 0;
    case 'read':
      return open
        ? 1 | (Number(sameIntent) << 1) | access
        : (Number(sameGeneration) << 1) | (Number(sameStatus) << 2) | access;
    case 'taken':
      return row | access | (Number(replay) << 5) | (Number(late) << 6);
    case 'sent':
      return row | access | (Number(replay) << 5);
    case 'lost':
      return Number(sameIntent);
    case 'got':
      if (typeof answer === 'number') return row | (Number(held) << 3);
      return row | (answer === 'refused' ? Number(usable && !suspect) << 3 : Number(replay) << 5);
    default:
      return at satisfies never;
  }
}

/** A key that is the same for states that differ only in the numbering of tokens or the order of workers. */
export function keyOf(state: State): string {
  const { provider, row, budget, ghost, workers } = state;
  const names: Token[] = [NONE];
  const name = (token: Token): number => {
    const at = names.indexOf(token);
    return at >= 0 ? at : names.push(token) - 1;
  };
  const head = [
    Number(provider.alive) | (Number(ghost.revokedOutside) << 1) | (Number(ghost.pairLost) << 2),
    name(provider.newest),
    name(provider.old),
    name(row.token),
    name(row.tombstone),
    STATUSES.indexOf(row.status) * 3 + ACCESS.indexOf(row.access),
    row.intent === null ? 0 : 1 | (Number(row.intent.deadlinePassed) << 1) | (Number(row.intent.replay) << 2),
    row.intent === null || row.intent.holder < 0 ? 0 : 1,
    budget.crashes |
      (budget.lostAnswers << 2) |
      (budget.unprocessed << 4) |
      (budget.databaseCuts << 6) |
      (budget.holdUps << 8),
    budget.expiries |
      (budget.disconnects << 2) |
      (budget.revocations << 3) |
      (budget.reconnects << 4) |
      (ghost.refusals << 5) |
      (budget.faults << 7),
  ];
  const holder = row.intent === null ? -1 : row.intent.holder;
  // Tokens that only workers know get their numbers in the order of the workers, so the order has to come first.
  const shapes = workers.map((worker, index) => {
    const token = tokenMatters(worker) ? names.indexOf(worker.token) : 0;
    const answer =
      typeof worker.answer === 'number' ? names.indexOf(worker.answer) : worker.answer === 'refused' ? 20 : 21;
    const step = STEPS.indexOf(worker.at) * 2 + Number(index === holder);
    const shape = String.fromCharCode(step + 32, token + 40, answer + 40, remembered(worker) + 32);
    return { worker, shape };
  });
  shapes.sort((left, right) => (left.shape < right.shape ? -1 : left.shape > right.shape ? 1 : 0));
  let key = String.fromCharCode(...head.map((value) => value + 32));
  for (const { worker, shape } of shapes) {
    key += shape;
    if (tokenMatters(worker)) key += String.fromCharCode(name(worker.token) + 32);
    if (worker.at === 'got' && typeof worker.answer === 'number') key += String.fromCharCode(name(worker.answer) + 32);
  }
  return key;
}
