import type { Form, View } from './walk.ts';

/* Reads a server-rendered page as a person would: its words, its forms, where it goes by itself. */

export interface ParsedForm extends Form {
  method: string;
  action: string;
  hidden: [string, string][];
  submits: { label: string; name?: string; value: string }[];
}

export function viewOf(url: string, html: string): View {
  return {
    url,
    title: unescape(/<title>([^<]*)/i.exec(html)?.[1] ?? ''),
    text: textOf(html.replace(/<head>.*?<\/head>/is, '')),
    refreshes: refreshTarget(html) !== undefined,
    forms: formsOf(html),
  };
}

export function formsOf(html: string): ParsedForm[] {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([, attributes = '', inner = ''], index) => {
    const inputs = [...inner.matchAll(/<(?:input|select|textarea)\b([^>]*)>/gi)].map(([, text = '']) => ({
      type: attribute(text, 'type') ?? 'text',
      name: attribute(text, 'name'),
      value: unescape(attribute(text, 'value') ?? ''),
      checked: /\schecked\b/i.test(text),
    }));
    const submits = [...inner.matchAll(/<button\b([^>]*)>(.*?)<\/button>/gis)].map(([, text = '', label = '']) => ({
      label: textOf(label),
      name: attribute(text, 'name'),
      value: unescape(attribute(text, 'value') ?? ''),
    }));
    const named = inputs.filter((input) => input.name !== undefined);
    return {
      index,
      method: (attribute(attributes, 'method') ?? 'get').toLowerCase(),
      action: attribute(attributes, 'action') ?? '',
      fields: named.filter((input) => !['hidden', 'submit'].includes(input.type)).map((input) => input.name!),
      buttons: submits.map((submit) => submit.label),
      hidden: named
        .filter((input) => input.type === 'hidden' || (['checkbox', 'radio'].includes(input.type) && input.checked))
        .map((input): [string, string] => [input.name!, input.value]),
      submits,
    };
  });
}

function attribute(text: string, name: string): string | undefined {
  const match = new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, 'i').exec(` ${text}`);
  return match?.[1] ?? match?.[2] ?? match?.[3];
}

/** Where `<meta http-equiv="refresh">` leads. */
export function refreshTarget(html: string): string | undefined {
  const tag = /<meta[^>]+http-equiv="refresh"[^>]*>/i.exec(html)?.[0];
  const content = tag === undefined ? undefined : attribute(tag, 'content');
  const target = content === undefined ? undefined : /url=(.*)$/i.exec(content)?.[1];
  return target === undefined ? undefined : unescape(target);
}

function textOf(html: string): string {
  return unescape(html.replaceAll(/<[^>]+>/g, ' '))
    .replaceAll(/\s+/g, ' ')
    .trim();
}

export function unescape(text: string): string {
  return text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll(/&#(\d+);/g, (_all, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll('&amp;', '&');
}
