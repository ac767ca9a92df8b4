import type { Database, Query } from './database.ts';

export type Marks = { instance: string; epoch: number; mark: number };

const NAMES = ['instance_id', 'epoch', 'mark', 'place'] as const;

/** Rows of `instance` that say which database this is. */
export function createEpochStore(database: Database) {
  async function read(query: Query = database.query): Promise<(Marks & { place: string }) | undefined> {
    const rows = await query.selectFrom('instance').selectAll().where('name', 'in', NAMES).execute();
    const found = new Map(rows.map(({ name, value }) => [name, value]));
    const instance = found.get('instance_id');
    if (instance === undefined) return undefined;
    const [epoch, mark] = [Number(found.get('epoch')), Number(found.get('mark'))];
    return { instance, epoch, mark, place: found.get('place') ?? '' };
  }

  async function put(query: Query, marks: Marks & { place: string }): Promise<void> {
    const values = { instance_id: marks.instance, epoch: marks.epoch, mark: marks.mark, place: marks.place };
    for (const name of NAMES) {
      const value = String(values[name]);
      await query
        .insertInto('instance')
        .values({ name, value })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ value }))
        .execute();
    }
  }

  return {
    read,
    /** Does nothing when another process was faster. */
    async create(marks: Marks & { place: string }): Promise<void> {
      await database.transaction(async (query) => {
        const claimed = await query
          .insertInto('instance')
          .values({ name: 'instance_id', value: marks.instance })
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        if (claimed.numInsertedOrUpdatedRows === 1n) await put(query, marks);
      });
    },
    /** Moves the mark on by one; what another process has made of it meanwhile is as good. */
    async advance(marks: Marks): Promise<Marks> {
      await database.query
        .updateTable('instance')
        .set({ value: String(marks.mark + 1) })
        .where('name', '=', 'mark')
        .where('value', '=', String(marks.mark))
        .execute();
      return (await read()) ?? marks;
    },
    async write(marks: Marks & { place: string }): Promise<void> {
      await database.transaction(async (query) => await put(query, marks));
    },
  };
}
