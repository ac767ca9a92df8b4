import { html, type Html } from './page.ts';

/** What was wrong with a form: a sentence, and the field that it is about. */
export type FormProblem = { field: string; message: string };

export type Field = {
  name: string;
  label: string;
  type: 'text' | 'email' | 'password';
  /** HTML autofill token, so that browsers and password managers know what belongs here. */
  autocomplete: string;
  value?: string | undefined;
  hint?: string | undefined;
  optional?: boolean;
  readonly?: boolean;
};

/** A labelled control; its hint and its problem are read out with it (WCAG 1.3.1, 3.3.1, 3.3.2). */
export function formField(field: Field, options: { problem?: FormProblem | undefined; focus?: boolean } = {}): Html {
  const { name } = field;
  const problem = options.problem?.field === name ? options.problem : undefined;
  const hint = field.hint === undefined ? '' : html`<p class="field-hint" id="${name}-hint">${field.hint}</p>`;
  const error = problem === undefined ? '' : html`<p class="field-problem" id="${name}-problem">${problem.message}</p>`;
  const described = [field.hint === undefined ? '' : `${name}-hint`, problem === undefined ? '' : `${name}-problem`]
    .filter((id) => id !== '')
    .join(' ');
  const focus = problem !== undefined || (options.focus === true && options.problem === undefined);
  return html`<div class="field">
    <label for="${name}"
      >${field.label}${field.optional === true ? html` <span class="soft">(optional)</span>` : ''}</label
    >
    ${hint} ${error}
    <input
      id="${name}"
      name="${name}"
      type="${field.type}"
      autocomplete="${field.autocomplete}"
      value="${field.value ?? ''}"
      ${field.type === 'text' ? '' : html`autocapitalize="none" spellcheck="false"`}
      ${field.optional === true ? '' : html`required`}
      ${field.readonly === true ? html`readonly` : ''}
      ${described === '' ? '' : html`aria-describedby="${described}"`}
      ${problem === undefined ? '' : html`aria-invalid="true"`}
      ${focus ? html`autofocus` : ''}
    />
  </div>`;
}

/** Above the form, so that nobody has to search for what went wrong; it leads to the field. */
export function problemSummary(problem: FormProblem | undefined): Html {
  if (problem === undefined) return html``;
  return html`<div class="problem" role="alert">
    <p><strong>That did not work.</strong></p>
    <p><a href="#${problem.field}">${problem.message}</a></p>
  </div>`;
}
