import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { z } from 'zod';

const assignmentSchema = z.object({
  /** The fake MCP server of one scenario. */
  serverUrl: z.url(),
  scenario: z.string(),
  protocolVersion: z.string(),
  context: z
    .object({ client_id: z.string().optional(), client_secret: z.string().optional(), issuer: z.string().optional() })
    .default({}),
});

export type Assignment = z.output<typeof assignmentSchema>;

export interface Desk {
  url: string;
  /** What each scenario came to, in words, for the failure message of a test. */
  journal: Map<string, string>;
  close(): Promise<void>;
}

/**
 * Takes the suite's assignments from its adapter processes.
 * @param atOnce how many run side by side; the others wait, so that a slow machine does not time all of them out
 */
export async function openDesk(run: (assignment: Assignment) => Promise<void>, atOnce = 4): Promise<Desk> {
  const journal = new Map<string, string>();
  const waiting: (() => void)[] = [];
  let free = atOnce;

  async function turn(): Promise<void> {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  }
  function done(): void {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  }

  const server = createServer((request, response) => {
    void (async () => {
      let scenario = 'unreadable assignment';
      await turn();
      try {
        const assignment = assignmentSchema.parse(await json(request));
        ({ scenario } = assignment);
        await run(assignment);
        journal.set(scenario, 'done');
        response.end('done');
      } catch (error) {
        const words = error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error);
        journal.set(scenario, words);
        response.statusCode = 500;
        response.end(words);
      } finally {
        done();
      }
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    journal,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
