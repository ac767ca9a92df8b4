/* What a person does between a client's "please sign in" and the client's callback, page by page. */

export interface Form {
  /** Position among the forms of the page. */
  index: number;
  /** Names of the fields that a person can fill. */
  fields: string[];
  /** Labels of the submit buttons. */
  buttons: string[];
}

export interface View {
  url: string;
  title: string;
  /** What a person reads, without markup. */
  text: string;
  forms: Form[];
  /** The page takes the browser on by itself. */
  refreshes: boolean;
}

/** A browser as far as the walk needs one: Chromium, or the plain one without a screen. */
export interface Surface {
  view(): Promise<View>;
  submit(form: Form, values: Record<string, string>, button: string): Promise<void>;
  /** Waits until the page at `from`, which goes on by itself, has become another one. */
  awaitRefresh(from: string): Promise<void>;
  /** Called when the walk is lost; what it returns goes into the error. */
  evidence?(): Promise<string>;
}

export interface Person {
  email: string;
  password: string;
  /** Their account at the service behind the connector. */
  provider?: { username: string; password: string };
}

export interface WalkOptions {
  /** The browser has arrived. */
  until: (view: View) => boolean;
  /** Label to press where a page offers several; the first that fits wins. */
  press?: RegExp[];
}

const consenting = [/^allow\b/i, /^approve\b/i, /^connect\b/i, /^continue\b/i, /^authorize\b/i];

/** Signs in, consents and connects until `until` says that the browser has arrived. Returns the pages passed. */
export async function walk(surface: Surface, person: Person, options: WalkOptions): Promise<View[]> {
  const passed: View[] = [];
  const press = [...(options.press ?? []), ...consenting];
  for (let step = 0; step < 15; step += 1) {
    const view = await surface.view();
    if (options.until(view)) return passed;
    // A page seen a second time with the same words said no to what we did.
    if (passed.some((before) => before.url === view.url && before.text === view.text)) break;
    passed.push(view);
    if (view.refreshes) {
      await surface.awaitRefresh(view.url);
      continue;
    }
    const signIn = view.forms.find((form) => form.fields.includes('password'));
    if (signIn) {
      const values = credentials(signIn, person);
      if (!values) break;
      await surface.submit(signIn, values, signIn.buttons[0] ?? '');
      continue;
    }
    const choice = press
      .flatMap((label) => view.forms.map((form) => ({ form, button: form.buttons.find((text) => label.test(text)) })))
      .find((candidate) => candidate.button !== undefined);
    if (choice?.button === undefined) break;
    await surface.submit(choice.form, {}, choice.button);
  }
  const last = await surface.view();
  if (options.until(last)) return passed;
  const trail = [...passed, last].map((view) => `  ${new URL(view.url).pathname} "${view.title}"`).join('\n');
  const evidence = (await surface.evidence?.()) ?? '';
  throw new Error(`The walk got stuck:\n${trail}\nThe last page says: ${last.text.slice(0, 1200)}\n${evidence}`);
}

function credentials(form: Form, person: Person): Record<string, string> | undefined {
  if (form.fields.includes('email')) return { email: person.email, password: person.password };
  if (person.provider && form.fields.includes('username')) return { ...person.provider };
  return undefined;
}
