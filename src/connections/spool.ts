import { mkdirSync, openSync, closeSync, fsyncSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ConnectionId, TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Connection } from './connection.ts';
import type { Sealing } from './sealing.ts';
import type { TokenAnswer } from './token-answer.ts';

/** A refreshed pair that the store would not take; sealed, one file an attempt. */
type Spooled = {
  tenant: TenantId;
  id: ConnectionId;
  generation: number;
  attempt: string;
  /** The holder's intent, as it stood in the row. */
  intent: string | null;
  answer: TokenAnswer;
  sentAt: number;
};

export type Spool = {
  /** On disk when it returns. False when it could not be written, which is logged. */
  write(row: Connection, attempt: string, answer: TokenAnswer, sentAt: number): Promise<boolean>;
  remove(attempt: string): void;
  all(): Promise<Spooled[]>;
};

const fileSchema = z.object({
  tenant: z.string(),
  id: z.string(),
  generation: z.number().int(),
  attempt: z.string().regex(/^att_[a-z0-9]+$/),
  intent: z.string().nullable(),
  sealed: z.string(),
});

/** @param options.dir made when the first pair is written; without one nothing is spooled */
export function createSpool(options: { dir: string | undefined; sealing: Sealing; log: Log }): Spool {
  const { dir, sealing, log } = options;
  const fileOf = (folder: string, attempt: string): string => join(folder, `${attempt}.json`);
  const field = (generation: number): string => `spool ${generation}`;

  return {
    async write(row, attempt, answer, sentAt) {
      if (dir === undefined) return false;
      try {
        const { tenant, id, generation } = row;
        const sealed = await sealing.sealFor(tenant, id, field(generation), { answer, sentAt });
        mkdirSync(dir, { recursive: true, mode: 0o700 });
        const file = openSync(fileOf(dir, attempt), 'w', 0o600);
        try {
          writeSync(file, JSON.stringify({ tenant, id, generation, attempt, intent: row.intentText, sealed }));
          fsyncSync(file);
        } finally {
          closeSync(file);
        }
        return true;
      } catch (error) {
        log.error({ err: error, connection: row.id }, 'a refreshed credential could not be spooled either');
        return false;
      }
    },
    remove(attempt) {
      if (dir !== undefined) rmSync(fileOf(dir, attempt), { force: true });
    },
    async all() {
      const found: Spooled[] = [];
      for (const name of dir === undefined ? [] : list(dir)) {
        try {
          const file = fileSchema.parse(JSON.parse(readFileSync(join(dir ?? '', name), 'utf8')));
          const tenant = file.tenant as TenantId;
          const id = file.id as ConnectionId;
          const opened = await sealing.openFor<Pick<Spooled, 'answer' | 'sentAt'>>(
            tenant,
            id,
            field(file.generation),
            file.sealed,
          );
          const { generation, attempt, intent } = file;
          found.push({ tenant, id, generation, attempt, intent, ...opened });
        } catch (error) {
          log.error({ err: error, file: name }, 'a spooled credential does not open; it is left where it is');
        }
      }
      return found;
    },
  };
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.endsWith('.json'));
  } catch {
    return [];
  }
}
