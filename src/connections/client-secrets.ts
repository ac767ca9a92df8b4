import { hashToken } from '../ids.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import { judge } from './token-answer.ts';
import type { TokenEndpoint } from './token-request.ts';

/**
 * Tries the client secrets of a roll-over in order. The next one is tried on `invalid_client` only: client authentication
 * comes before anything is looked at, so that no code and no refresh token was spent by then. The one that works goes first
 * from then on.
 */
export function withRollOver(tokens: TokenEndpoint, options: { log: Log }): TokenEndpoint {
  const promoted = new Map<string, string>();
  return {
    ...tokens,
    async send(request) {
      const { client, endpoint } = request;
      const [first, ...others] = inOrder(
        [client.secret, ...(client.otherSecrets ?? [])].filter((secret) => secret !== undefined),
        promoted.get(`${endpoint} ${client.clientId}`),
      );
      if (others.length === 0 || first === undefined) return await tokens.send(request);
      let answer = await tokens.send({ ...request, client: { ...client, secret: first } });
      for (const secret of others) {
        const judged = judge(answer);
        if (judged.kind !== 'refusal' || judged.code !== 'invalid_client') break;
        answer = await tokens.send({ ...request, client: { ...client, secret } });
        const again = judge(answer);
        if (again.kind === 'refusal' && again.code === 'invalid_client') continue;
        promoted.set(`${endpoint} ${client.clientId}`, hashToken(secret.unwrap()));
        options.log.warn(
          { endpoint, clientId: client.clientId },
          'the service takes another client secret than the first',
        );
      }
      return answer;
    },
  };
}

function inOrder(secrets: readonly Secret[], promoted: string | undefined): Secret[] {
  if (promoted === undefined) return [...secrets];
  const isPromoted = (secret: Secret): boolean => hashToken(secret.unwrap()) === promoted;
  return [...secrets.filter(isPromoted), ...secrets.filter((secret) => !isPromoted(secret))];
}
