import type { Connector } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Account } from './account.ts';
import type { Connection } from './connection.ts';
import { captured, onlyAt, urlWith } from './rules.ts';
import type { ConnectionStore } from './store.ts';
import { parseBody } from './token-answer.ts';

export type Lookups = {
  /**
   * Asks the service what it tells after a connect only, such as which tenant the grant is for, and notes it beside the
   * credential, which is stored by now. Never throws; what is not learned is asked again with the next call of this.
   */
  complete(row: Connection, connector: Connector, accessToken: string): Promise<Account | undefined>;
};

export function createLookups(options: { store: ConnectionStore; egress: Egress; log: Log }): Lookups {
  const { store, egress, log } = options;

  async function ask(url: string, authorization: string): Promise<unknown> {
    const answer = await egress.request(url, {
      headers: { authorization, accept: 'application/json' },
      timeoutMs: 5_000,
      maxBytes: 256 * 1024,
    });
    if (answer.status < 200 || answer.status >= 300) return undefined;
    const text = answer.body.toString('utf8').trim();
    return text.startsWith('[') ? (JSON.parse(text) as unknown) : parseBody({ body: text, contentType: '' });
  }

  return {
    async complete(row, connector, accessToken) {
      const rules = connector.oauth?.rules;
      if (rules === undefined || row.terms === null) return undefined;
      let { terms } = row;
      let account: Account | undefined;
      for (const lookup of rules.lookups) {
        const known = terms.values ?? {};
        const missing = lookup.take.filter((name) => known[name] === undefined);
        if (missing.length === 0 && (lookup.label === undefined || row.accountLabel !== null)) continue;
        const url = urlWith(rules, lookup.url, known);
        if (url === null) continue;
        try {
          const body = await ask(
            url,
            lookup.authorization.replaceAll('{access_token}', () => accessToken),
          );
          const found = captured(rules, 'lookup', (path) => onlyAt(body, path), missing);
          if (Object.keys(found).length > 0) {
            const next = { ...terms, values: { ...known, ...found } };
            if (await store.changeTerms({ ...row, terms }, next)) terms = next;
          }
          if (Object.keys(found).length < missing.length) {
            log.warn({ connection: row.id, url: new URL(url).origin }, 'a look-up told less than was expected');
          }
          const subject = told(body, lookup.subject);
          const label = told(body, lookup.label);
          if (label !== undefined || subject !== undefined)
            account ??= { subject: subject ?? null, label: label ?? null };
        } catch (error) {
          log.warn({ err: asValetkeyError(error), connection: row.id }, 'a look-up after the connect failed');
        }
      }
      return account;
    },
  };
}

function told(body: unknown, path: string | undefined): string | undefined {
  const value = path === undefined ? undefined : onlyAt(body, path);
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string') return undefined;
  return (
    text
      .replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
      .trim()
      .slice(0, 200) || undefined
  );
}
