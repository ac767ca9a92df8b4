import type { IncomingHttpHeaders } from 'node:http';
import type { Connector } from '../../connector.ts';
import type { Credential } from '../../credential.ts';
import { fail, type ValetkeyError } from '../../../errors.ts';
import { headerText, type Kind, type ReplySink } from '../kind.ts';

/** What an upstream answered to a message of our own. */
export type Answer = {
  status: number;
  headers: IncomingHttpHeaders;
  /** The JSON-RPC message with the id that was asked for, or the only one there is; null when there is none. */
  message: Record<string, unknown> | null;
};

const MAX_ANSWER = 16 * 1024 * 1024;

/**
 * Sends one message of the gateway's own and waits for its answer, in JSON or in an event stream.
 * @throws ValetkeyError what `Kind.exchange` fails with; egress_timeout, egress_too_large
 */
export async function ask(
  kind: Kind,
  connector: Connector,
  credential: Credential | null,
  message: Record<string, unknown>,
  headers: readonly string[],
  signal: AbortSignal,
): Promise<Answer> {
  const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let status = 0;
    let received: IncomingHttpHeaders = {};
    let stream = false;
    const settle = (): void => {
      signal.removeEventListener('abort', giveUp);
      const text = Buffer.concat(chunks).toString('utf8');
      resolve({ status, headers: received, message: find(stream ? dataOf(text) : [text], message['id']) });
    };
    const refuse = (error: ValetkeyError): void => {
      signal.removeEventListener('abort', giveUp);
      reject(error);
    };
    const sink: ReplySink = {
      replyStart(started, startHeaders) {
        status = started;
        received = startHeaders;
        stream = /^text\/event-stream/i.test(headerText(startHeaders, 'content-type'));
      },
      replyData(chunk) {
        size += chunk.length;
        if (size > MAX_ANSWER) {
          exchange.abort();
          return refuse(fail('egress_too_large'));
        }
        chunks.push(chunk);
        if (!stream || message['id'] === undefined) return;
        // A stream may stay open after it has answered.
        const tail = chunk.subarray(-4).toString('latin1');
        if (!/(\n\n|\r\r|\n\r\n)$/.test(tail)) return;
        if (find(dataOf(Buffer.concat(chunks).toString('utf8')), message['id']) !== null) {
          exchange.abort();
          settle();
        }
      },
      replyEnd: settle,
      replyFailed: refuse,
    };
    const giveUp = (): void => {
      exchange.abort();
      refuse(fail('egress_timeout'));
    };
    signal.addEventListener('abort', giveUp, { once: true });
    const exchange = kind.exchange(
      {
        connector,
        method: 'POST',
        headers: ['content-type', 'application/json', 'accept', 'application/json, text/event-stream', ...headers],
        body,
        opening: message['method'] === 'initialize',
        stream: false,
      },
      credential,
      sink,
    );
  });
}

function dataOf(text: string): string[] {
  return text
    .split(/\r\n\r\n|\n\n|\r\r/)
    .map((event) =>
      event
        .split(/\r\n|\r|\n/)
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(line[5] === ' ' ? 6 : 5))
        .join('\n'),
    )
    .filter((data) => data !== '');
}

function find(texts: readonly string[], id: unknown): Record<string, unknown> | null {
  for (const text of texts) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (parsed === null || typeof parsed !== 'object') continue;
      const message = parsed as Record<string, unknown>;
      if (message['method'] === undefined && (texts.length === 1 || message['id'] === id)) return message;
    } catch {
      // What is not JSON is no answer.
    }
  }
  return null;
}
