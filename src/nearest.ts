/**
 * The known name that is nearest to a mistyped one: one that it begins, else by Levenshtein distance; undefined when
 * none is near.
 */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const begun =
    name.length < 3 ? [] : known.filter((candidate) => candidate.toLowerCase().startsWith(name.toLowerCase()));
  if (begun.length === 1) return begun[0];
  const [best] = known
    .map((candidate) => ({ candidate, distance: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= Math.max(3, Math.floor(name.length / 2)) ? best.candidate : undefined;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
