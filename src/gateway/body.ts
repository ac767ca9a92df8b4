import type { IncomingMessage } from 'node:http';
import { RPC, type RpcRefusal } from './rpc.ts';

const MAX_BODY = 4 * 1024 * 1024;

/** The whole body in one buffer, within the limit. Exactly one of the two is called, unless the client goes away. */
export function readBody(
  request: IncomingMessage,
  done: (body: Buffer) => void,
  refuse: (refusal: RpcRefusal) => void,
): void {
  const type = request.headers['content-type'];
  if (type === undefined || !/^application\/json\s*(;|$)/i.test(type)) {
    return refuse(refusal(415, 'Content-Type must be application/json.'));
  }
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY) return refuse(tooLarge());
  let first: Buffer | undefined;
  let rest: Buffer[] | undefined;
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    const before = size;
    size += chunk.length;
    if (size > MAX_BODY) {
      // The rest is read and dropped, so that the connection can be used again.
      first = rest = undefined;
      if (before <= MAX_BODY) refuse(tooLarge());
    } else if (first === undefined) first = chunk;
    else (rest ??= [first]).push(chunk);
  });
  request.on('end', () => {
    if (size <= MAX_BODY) done(rest === undefined ? (first ?? Buffer.alloc(0)) : Buffer.concat(rest));
  });
}

function refusal(status: number, message: string): RpcRefusal {
  return { status, code: RPC.invalidRequest, message, id: null };
}

function tooLarge(): RpcRefusal {
  return refusal(413, `The body exceeds ${MAX_BODY} bytes.`);
}
