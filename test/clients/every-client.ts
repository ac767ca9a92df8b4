import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Profile } from '../browser/profile.ts';
import { startBrowserScript } from './browser-script.ts';
import { runInspector } from './inspector.ts';
import { connectMcpRemote } from './mcp-remote.ts';
import { createScratch } from './scratch.ts';
import { connectSdkClient, textOf } from './sdk-client.ts';

export interface Meeting {
  /** An endpoint with the practice service's tools, behind authorization. */
  url: string;
  /** The browser of a person whose account at the practice service is alice. */
  profile: Profile;
  close(): Promise<void>;
}

/** Each real client registers, opens a browser for alice, and calls `whoami` as her. */
export function everyClientMeets(arrange: () => Promise<Meeting>): void {
  let meeting: Meeting;
  beforeAll(async () => {
    meeting = await arrange();
  });
  afterAll(() => meeting?.close());
  afterEach(() => expect(meeting.profile.complaints).toEqual([]));

  it.each(['legacy', 'modern'] as const)('lets the SDK client of the %s era sign in and call', async (era) => {
    const { client, close, opened } = await connectSdkClient({
      url: meeting.url,
      era,
      authorize: (url) => meeting.profile.authorize(url),
    });
    expect(textOf(await client.callTool({ name: 'whoami', arguments: {} }))).toContain('alice');
    expect(opened).toHaveLength(1);
    await close();
  });

  it('lets mcp-remote sign in and call', async () => {
    const scratch = await createScratch();
    onTestFinished(() => scratch.remove());
    const script = await startBrowserScript(scratch.home, (url) => meeting.profile.authorize(url));
    const remote = await connectMcpRemote(meeting.url, script.path, scratch);
    onTestFinished(() => remote.close());
    const { tools } = await remote.client.listTools();
    expect(tools.map((tool) => tool.name)).toContain('whoami');
    expect(textOf(await remote.client.callTool({ name: 'whoami', arguments: {} }))).toContain('alice');
    await remote.close();
    await script.close();
    expect(script.failures).toEqual([]);
    expect(script.opened).toHaveLength(1);
  });

  it('lets the inspector sign in and call', async () => {
    const scratch = await createScratch();
    onTestFinished(() => scratch.remove());
    const script = await startBrowserScript(scratch.home, (url) => meeting.profile.authorize(url));
    const call = ['--method', 'tools/call', '--tool-name', 'whoami'];
    const run = await runInspector(meeting.url, call, scratch, script.path);
    await script.close();
    expect(script.failures).toEqual([]);
    expect(run).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('alice') });
  });
}
