import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { oauthRefusal } from './http.ts';

/** Times are RFC 3339. */
export type Item = {
  id: string;
  title: string;
  note: string;
  done: boolean;
  createdBy: string;
  createdAt: string;
  updatedAt: string;
};

const fields = {
  title: z.string().trim().min(1).max(200),
  note: z.string().max(4_000),
  done: z.boolean(),
};
export const newItemSchema = z.strictObject({
  title: fields.title,
  note: fields.note.default(''),
  done: fields.done.default(false),
});
export const itemPatchSchema = z.strictObject(fields).partial();
export const itemQuerySchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  cursor: z.coerce.number().int().min(0).default(0),
  q: z.string().max(200).optional(),
  done: z.enum(['true', 'false']).optional(),
});

export type Items = ReturnType<typeof createItems>;

const MAX_ITEMS = 10_000;

/** The things that the practice service keeps, in memory: everyone sees all of them. */
export function createItems(options: { clock: Clock }) {
  const items = new Map<string, Item>();
  let last = 0;
  const now = () => new Date(options.clock.now()).toISOString();

  function create(fields: z.output<typeof newItemSchema>, createdBy: string): Item {
    if (items.size >= MAX_ITEMS) throw oauthRefusal('too_many_items', `there are ${MAX_ITEMS} items already`, 409);
    const at = now();
    const item = { id: `item-${(last += 1)}`, ...fields, createdBy, createdAt: at, updatedAt: at };
    items.set(item.id, item);
    return item;
  }

  for (const title of ['Water the plants', 'Post the letter', 'Return the library books']) {
    create({ title, note: '', done: false }, 'practice');
  }

  return {
    create,
    get: (id: string) => items.get(id),
    list(query: z.output<typeof itemQuerySchema>): { items: Item[]; next: string | null; total: number } {
      const words = query.q?.toLowerCase();
      const found = [...items.values()].filter(
        (item) =>
          (words === undefined || `${item.title} ${item.note}`.toLowerCase().includes(words)) &&
          (query.done === undefined || item.done === (query.done === 'true')),
      );
      const end = query.cursor + query.limit;
      return {
        items: found.slice(query.cursor, end),
        next: end < found.length ? String(end) : null,
        total: found.length,
      };
    },
    update(id: string, change: z.output<typeof itemPatchSchema>): Item | undefined {
      const item = items.get(id);
      if (item === undefined) return undefined;
      const changed = { ...item, ...change, updatedAt: now() };
      items.set(id, changed);
      return changed;
    },
    remove: (id: string) => items.delete(id),
  };
}
