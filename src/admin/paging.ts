import { z } from 'zod';
import { fail } from '../errors.ts';

export const pageQuery = z.strictObject({
  cursor: z.string().max(1_024).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});

export const pageOf = (item: z.ZodType): z.ZodType => z.object({ items: z.array(item), next: z.string().nullable() });

/**
 * One page of what is already in order of `key`. The cursor names the last key that was sent, so that what appears or
 * goes in between shifts nothing.
 */
export function page<Item, Shown>(
  items: readonly Item[],
  key: (item: Item) => string,
  query: { cursor?: string | undefined; limit: number },
  show: (item: Item) => Shown,
): { items: Shown[]; next: string | null } {
  const after = query.cursor === undefined ? undefined : decode(query.cursor);
  const from = after === undefined ? 0 : items.findIndex((item) => key(item) > after);
  const part = from === -1 ? [] : items.slice(from, from + query.limit);
  const last = part.at(-1);
  const more = from !== -1 && from + query.limit < items.length && last !== undefined;
  return { items: part.map(show), next: more ? Buffer.from(key(last)).toString('base64url') : null };
}

function decode(cursor: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) throw fail('invalid_request', { message: 'cursor: is not one of ours.' });
  return Buffer.from(cursor, 'base64url').toString();
}
