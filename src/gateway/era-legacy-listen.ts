import type { Credential } from '../connectors/credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import { ask } from '../connectors/kinds/mcp/ask.ts';
import { asValetkeyError } from '../errors.ts';
import { hear, isObject, Reply, type Json } from './era-messages.ts';
import { isLegacySession, type LegacySession, type LegacySessions } from './era-legacy-session.ts';
import { META } from './era-translate.ts';

const CHANGES: readonly [filter: string, capability: string, method: string][] = [
  ['toolsListChanged', 'tools', 'notifications/tools/list_changed'],
  ['promptsListChanged', 'prompts', 'notifications/prompts/list_changed'],
  ['resourcesListChanged', 'resources', 'notifications/resources/list_changed'],
];
const UPDATED = 'notifications/resources/updated';
const MAX_URIS = 100;

/**
 * `subscriptions/listen` at a service that has sessions: a session of its own, whose stream brings what was wished for
 * as far as the service offers it. It ends with the subscription.
 */
export class LegacyListen implements Exchange {
  readonly #doors: { kind: Kind; sessions: LegacySessions };
  readonly #request: UpstreamRequest;
  readonly #credential: Credential | null;
  readonly #id: unknown;
  readonly #params: Json;
  readonly #reply: Reply;
  #session: LegacySession | undefined;
  #stream: Exchange | undefined;
  #over = false;

  constructor(
    doors: { kind: Kind; sessions: LegacySessions },
    request: UpstreamRequest,
    credential: Credential | null,
    message: Json,
    sink: ReplySink,
  ) {
    this.#doors = doors;
    this.#request = request;
    this.#credential = credential;
    this.#id = message['id'];
    this.#params = isObject(message['params']) ? message['params'] : {};
    this.#reply = new Reply(sink, this);
  }

  begin(): void {
    this.#run().catch((thrown: unknown) => {
      if (!this.#over) this.#reply.fail(asValetkeyError(thrown));
      this.#close();
    });
  }

  async #run(): Promise<void> {
    const session = await this.#doors.sessions.takeOwn(this.#request, this.#credential, this.#params);
    if (!isLegacySession(session)) return this.#reply.refuse(session);
    this.#session = session;
    if (this.#over) return this.#close();
    const { capabilities } = session.introduction;
    const filter = isObject(this.#params['notifications']) ? this.#params['notifications'] : {};
    const honoured: Json = {};
    const methods = new Set<string>();
    for (const [wish, capability, method] of CHANGES) {
      const offer = capabilities[capability];
      if (filter[wish] !== true || !isObject(offer) || offer['listChanged'] !== true) continue;
      honoured[wish] = true;
      methods.add(method);
    }
    const uris = await this.#subscribe(session, filter['resourceSubscriptions']);
    if (uris.length > 0) {
      honoured['resourceSubscriptions'] = uris;
      methods.add(UPDATED);
    }
    if (this.#over) return this.#close();
    this.#note('notifications/subscriptions/acknowledged', { notifications: honoured });
    if (methods.size === 0) return this.#finish();
    this.#listen(session, methods);
  }

  async #subscribe(session: LegacySession, wanted: unknown): Promise<string[]> {
    const { resources } = session.introduction.capabilities;
    if (!Array.isArray(wanted) || !isObject(resources) || resources['subscribe'] !== true) return [];
    const { connector } = session;
    const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
    const uris: string[] = [];
    for (const uri of wanted.slice(0, MAX_URIS)) {
      const message = { id: session.nextId++, method: 'resources/subscribe', params: { uri } };
      const answer = await ask(this.#doors.kind, connector, this.#credential, message, session.headers, signal);
      if (isObject(answer.message?.['result'])) uris.push(String(uri));
    }
    return uris;
  }

  #listen(session: LegacySession, methods: ReadonlySet<string>): void {
    this.#stream = this.#doors.kind.exchange(
      {
        connector: session.connector,
        method: 'GET',
        headers: ['accept', 'text/event-stream', ...session.headers],
        body: null,
        opening: false,
        stream: true,
      },
      this.#credential,
      hear({
        message: (message) => {
          const { id, method, params } = message;
          if (typeof method !== 'string') return;
          if (id !== undefined) {
            const answer = method === 'ping' ? { id, result: {} } : { id, error: { code: -32601, message: 'No.' } };
            return this.#doors.sessions.tell(session, answer);
          }
          if (methods.has(method)) this.#note(method, isObject(params) ? params : {});
        },
        // Nothing will come; the client listens anew when it likes.
        refused: () => this.#finish(),
        ended: () => this.#finish(),
        failed: (error) => {
          if (!this.#over) this.#reply.fail(error);
          this.#close();
        },
      }),
    );
  }

  #note(method: string, params: Json): void {
    const meta = isObject(params['_meta']) ? params['_meta'] : {};
    const _meta = { ...meta, [META.subscription]: this.#id };
    this.#reply.note({ jsonrpc: '2.0', method, params: { ...params, _meta } });
  }

  #finish(): void {
    if (!this.#over) {
      this.#reply.result(this.#id, { resultType: 'complete', _meta: { [META.subscription]: this.#id } });
    }
    this.#close();
  }

  #close(): void {
    this.#over = true;
    this.#stream?.abort();
    if (this.#session !== undefined) this.#doors.sessions.release(this.#session);
    this.#session = undefined;
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  abort(): void {
    this.#reply.over = true;
    this.#close();
  }
}
