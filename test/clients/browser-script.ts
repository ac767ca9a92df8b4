import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface BrowserScript {
  /** For the variable BROWSER: a program that opens its first argument. */
  path: string;
  /** URLs that were opened. */
  opened: string[];
  /** What went wrong on the way; a test that ends well has none. */
  failures: unknown[];
  close(): Promise<void>;
}

/**
 * A desktop's "open this in the browser", for clients that run as processes of their own:
 * a script that hands the URL to this process, where `open` drives somebody's browser.
 */
export async function startBrowserScript(
  folder: string,
  open: (url: string) => Promise<unknown>,
): Promise<BrowserScript> {
  const opened: string[] = [];
  const failures: unknown[] = [];
  const walks: Promise<void>[] = [];
  const server = createServer((request, response) => {
    let url = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => {
      url += chunk;
    });
    request.on('end', () => {
      opened.push(url);
      walks.push(
        open(url).then(
          () => undefined,
          (error: unknown) => {
            failures.push(error);
          },
        ),
      );
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const path = join(folder, 'open-in-browser');
  const code = `fetch("http://127.0.0.1:${port}/", { method: "POST", body: process.argv[1] })`;
  await writeFile(path, `#!/bin/sh\nexec '${process.execPath}' -e '${code}' "$1"\n`, { mode: 0o755 });
  return {
    path,
    opened,
    failures,
    async close() {
      await Promise.all(walks);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
