import { deriveKey, openCompact, sealCompact } from './envelope.ts';
import type { KeyRing } from './data-keys.ts';

/** Seals short-lived values that travel through a client: session ids, states. Synchronous: the keys are in memory. */
export type Box = {
  /** @param aad what the value is bound to; `open` needs the same text */
  seal(aad: string, bytes: Uint8Array): string;
  /** Undefined for whatever was not sealed by this box under this `aad`. */
  open(aad: string, text: string): Buffer | undefined;
};

/** `<key id>.<nonce, ciphertext and tag>` under a key derived for this purpose alone. */
export function createBox(ring: KeyRing, purpose: string): Box {
  const derived = new Map<string, Buffer>();
  const keyOf = (id: string): Buffer | undefined => {
    let key = derived.get(id);
    const source = ring.byId.get(id);
    if (key === undefined && source !== undefined) {
      key = deriveKey(source.bytes, `box/${purpose}`);
      derived.set(id, key);
    }
    return key;
  };
  return {
    seal(aad, bytes) {
      const { id } = ring.newest;
      return `${id}.${sealCompact(keyOf(id) as Buffer, aad, bytes)}`;
    },
    open(aad, text) {
      const dot = text.indexOf('.');
      const key = dot === -1 ? undefined : keyOf(text.slice(0, dot));
      return key === undefined ? undefined : openCompact(key, aad, text.slice(dot + 1));
    },
  };
}
