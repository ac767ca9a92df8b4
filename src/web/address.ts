import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

/**
 * Who asks, by network address. A proxy on this machine is believed about whom it speaks for: the last entry of
 * `X-Forwarded-For` is the one that it added itself, those before it are whatever the client claimed.
 */
export function clientAddress(request: IncomingMessage): string {
  const peer = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  if (peer !== '::1' && !peer.startsWith('127.')) return peer;
  const header = request.headers['x-forwarded-for'];
  const claimed = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',').at(-1)?.trim() ?? '';
  return isIP(claimed) === 0 ? peer : claimed;
}
