import { isForm, oauthRefusal, readForm, readJson, refuseDuplicates, Refusal, type Exchange } from './http.ts';
import type { Policy } from './options.ts';

export type TokenRequest = { parameters: URLSearchParams; clientId: string; policy: Policy };

/**
 * The parameters of a token request, from where this client's policy wants them.
 * @throws {Refusal} 415 or 400 when they come another way, 429 is not judged here
 */
export async function readTokenRequest(
  { req, query }: Exchange,
  policyOf: (clientId: string) => Policy,
): Promise<TokenRequest> {
  const header = req.headers.authorization;
  const of = (parameters: URLSearchParams): TokenRequest => {
    const clientId = (parameters.get('client_id') ?? basicId(header)).slice(0, 80);
    return { parameters, clientId, policy: policyOf(clientId) };
  };
  refuseDuplicates(query);
  const asked = of(query);
  if (req.method === 'GET' || (query.has('grant_type') && asked.policy.parametersIn === 'query')) return asked;
  if (isForm(req)) {
    const request = of(await readForm(req));
    if (request.policy.parametersIn === 'form') return request;
    throw oauthRefusal('invalid_request', `send the parameters as ${request.policy.parametersIn}`);
  }
  // Only a server or a client whose policy says so takes JSON; whose it is, the body tells.
  if (/^application\/json\b/i.test(req.headers['content-type'] ?? '')) {
    const document = await readJson(req);
    const texts = Object.entries(document).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
    const request = of(new URLSearchParams(texts));
    if (request.policy.parametersIn === 'json') return request;
  }
  throw oauthRefusal('invalid_request', 'the body must be application/x-www-form-urlencoded', 415);
}

/** Only to find the policy and a fault before the client is authenticated. */
function basicId(header: string | undefined): string {
  const encoded = /^basic +(\S+)$/i.exec(header ?? '')?.[1] ?? '';
  try {
    return decodeURIComponent(Buffer.from(encoded, 'base64').toString('utf8').split(':', 1)[0]!);
  } catch {
    return '';
  }
}

/** Whether this client refreshes here: `/auth/token` and `/auth/refresh` by POST or GET are three places. */
export function refuseWrongPlace(grantType: string, place: Policy['refreshAt'], policy: Policy): void {
  if (grantType === 'refresh_token' && policy.refreshAt !== place) {
    throw oauthRefusal('unsupported_grant_type', 'refreshes go to another address');
  }
  if (grantType !== 'refresh_token' && place !== 'token') throw new Refusal(404, { error: 'not_found' });
}
