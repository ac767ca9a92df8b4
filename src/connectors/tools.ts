import type { ToolSettings } from './connector.ts';

/** A tool as an upstream lists it; everything besides the name is passed through. */
export type UpstreamTool = { name: string; [member: string]: unknown };

export type ToolEntry = {
  /** The upstream's name. */
  name: string;
  /** What clients see and call. */
  publicName: string;
  on: boolean;
  /** Why it is off. `name_taken`: a renamed tool has its name. */
  reason: 'on' | 'disabled' | 'not_enabled_yet' | 'name_taken';
  tool: UpstreamTool;
};

export type ToolRules = {
  /** True when every tool passes as it is, so that lists and calls need not be looked into. */
  readonly passAll: boolean;
  /** For a call: the upstream's name, and whether the tool is on; undefined when no tool can have that public name. */
  resolve(publicName: string): { upstream: string; on: boolean } | undefined;
  /** For a list. */
  view(tools: readonly UpstreamTool[]): ToolEntry[];
};

export function compileTools(settings: ToolSettings): ToolRules {
  const enabled = new Set(settings.enabled);
  const disabled = new Set(settings.disabled);
  const renamed = new Map(Object.entries(settings.rename));
  const original = new Map([...renamed].map(([upstream, shown]) => [shown, upstream]));

  // `disabled` wins, so that a tool named in both lists stays shut.
  const isOn = (upstream: string): boolean =>
    !disabled.has(upstream) && (settings.new === 'enable' || enabled.has(upstream));

  return {
    passAll: settings.new === 'enable' && disabled.size === 0 && renamed.size === 0,
    resolve(publicName) {
      const upstream = original.get(publicName) ?? (renamed.has(publicName) ? undefined : publicName);
      return upstream === undefined ? undefined : { upstream, on: isOn(upstream) };
    },
    view: (tools) =>
      tools.map((tool) => {
        const publicName = renamed.get(tool.name) ?? tool.name;
        const owner = original.get(publicName);
        const taken = owner !== undefined && owner !== tool.name;
        const on = isOn(tool.name) && !taken;
        const reason = on ? 'on' : taken ? 'name_taken' : disabled.has(tool.name) ? 'disabled' : 'not_enabled_yet';
        return { name: tool.name, publicName, on, reason, tool };
      }),
  };
}
