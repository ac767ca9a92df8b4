/** Seals fixed values under fixed keys and nonces: `node test/vault/vectors.ts > test/vault/vectors.json`. */
import { createHash } from 'node:crypto';
import { sealEnvelope } from '../../src/vault/envelope.ts';

const bytes = (label: string, length: number): Buffer =>
  createHash('sha256').update(`valetkey test vector ${label}`).digest().subarray(0, length);

const cases = [
  ['a token', 'k1', 'default', 'connection:cnx_1', 'credential', 1, 'gho_example_token'],
  ['nothing', 'k1', 'default', 'connection:cnx_1', 'credential', 2, ''],
  ['text beyond ASCII', 'k2', 'team-a', 'secret:API_KEY', 'value', 7, 'Grüße, 世界 🔑'],
  ['names with quotes and separators', 'k10', 'team-a', 'row:"a","b"', 'field.with.dots', 0, '{"a":1}'],
] as const;

const vectors = cases.map(([title, id, tenant, row, field, generation, text], index) => {
  const key = bytes(`key ${index}`, 32);
  const nonce = bytes(`nonce ${index}`, 12);
  const context = { tenant, row, field, generation };
  return {
    title,
    key: key.toString('hex'),
    keyId: id,
    nonce: nonce.toString('hex'),
    ...context,
    associatedData: JSON.stringify(['vk1', id, tenant, row, field, generation]),
    text,
    sealed: sealEnvelope({ id, bytes: key }, context, text, nonce),
  };
});
process.stdout.write(`${JSON.stringify(vectors, null, 2)}\n`);
