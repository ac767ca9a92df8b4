import { fork, type ChildProcess } from 'node:child_process';

export type Row = {
  id: string;
  /** At the provider. */
  client: string | null;
  status: string;
  generation: number;
  /** A refresh has no definite answer yet. */
  open: boolean;
  error: string | null;
};

export type Order =
  | { op: 'open'; dataDir: string; url?: string; instance?: string; sweep: boolean }
  | { op: 'connect'; service: string; count: number; refreshToken?: Record<string, unknown> }
  | { op: 'killAt'; step: string }
  | { op: 'move'; ms: number }
  | { op: 'ask'; callers: number }
  | { op: 'load' }
  | { op: 'rows' }
  | { op: 'close' };

export type Asked = { served: number; refused: number; wrong: number };

/** A gateway process of a drill, in the hands of this one. */
export type GatewayProcess = {
  tell(order: Order): Promise<unknown>;
  ask(callers: number): Promise<Asked>;
  rows(): Promise<Row[]>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Resolves when it has died, by itself or not. */
  readonly died: Promise<void>;
  close(): Promise<void>;
};

/** @param entry what to run instead of the sources as they are: a patched copy of them */
export async function startProcess(entry = new URL('./gateway-process.ts', import.meta.url)): Promise<GatewayProcess> {
  const child: ChildProcess = fork(entry, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let last = 0;
  let gone = false;
  const died = new Promise<void>((resolve) => {
    child.once('exit', () => {
      gone = true;
      for (const waiter of waiting.values()) waiter.reject(new Error('the process died'));
      waiting.clear();
      resolve();
    });
  });
  const ready = new Promise<void>((resolve, reject) => {
    waiting.set(0, { resolve: () => resolve(), reject });
  });
  child.on('message', (message: { id: number; value?: unknown; error?: string }) => {
    const one = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error === undefined) one?.resolve(message.value);
    else one?.reject(new Error(message.error));
  });
  await ready;

  const tell = async (order: Order): Promise<unknown> => {
    if (gone) throw new Error('the process died');
    const id = (last += 1);
    const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
    child.send({ id, order });
    return await answer;
  };
  return {
    tell,
    ask: async (callers) => (await tell({ op: 'ask', callers })) as Asked,
    rows: async () => (await tell({ op: 'rows' })) as Row[],
    async kill() {
      if (!gone) child.kill('SIGKILL');
      await died;
    },
    died,
    async close() {
      if (gone) return;
      await tell({ op: 'close' }).catch(() => undefined);
      child.kill('SIGKILL');
      await died;
    },
  };
}
