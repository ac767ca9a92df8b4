import { expect, test } from 'vitest';
import { compileTools } from '../../src/connectors/tools.ts';

const rules = (settings: Partial<Parameters<typeof compileTools>[0]>) =>
  compileTools({ new: 'enable', enabled: [], disabled: [], rename: {}, ...settings });
const list = (...names: string[]) => names.map((name) => ({ name }));
const shown = (view: ReturnType<ReturnType<typeof compileTools>['view']>) =>
  view.filter((entry) => entry.on).map((entry) => entry.publicName);

test('without settings every tool passes and nothing has to be looked into', () => {
  expect(rules({}).passAll).toBe(true);
  expect(rules({}).resolve('a')).toEqual({ upstream: 'a', on: true });
  expect(rules({ disabled: ['a'] }).passAll).toBe(false);
  expect(rules({ new: 'ask' }).passAll).toBe(false);
});

test('with ask, only enabled tools are there; a disabled one never is', () => {
  const ask = rules({ new: 'ask', enabled: ['a', 'b'], disabled: ['b'] });
  expect(shown(ask.view(list('a', 'b', 'c')))).toEqual(['a']);
  expect(ask.resolve('b')).toEqual({ upstream: 'b', on: false });
  expect(ask.resolve('c')).toEqual({ upstream: 'c', on: false });
  expect(ask.view(list('c'))[0]?.reason).toBe('not_enabled_yet');
});

test('a renamed tool answers to its new name only', () => {
  const renamed = rules({ rename: { search: 'find' } });
  expect(shown(renamed.view(list('search', 'other')))).toEqual(['find', 'other']);
  expect(renamed.resolve('find')).toEqual({ upstream: 'search', on: true });
  expect(renamed.resolve('search')).toBeUndefined();
});

test('a new upstream tool cannot take the name that a renamed one has', () => {
  const renamed = rules({ rename: { search: 'find' } });
  const view = renamed.view(list('search', 'find'));
  expect(shown(view)).toEqual(['find']);
  expect(view[1]).toMatchObject({ name: 'find', on: false, reason: 'name_taken' });
  expect(renamed.resolve('find')?.upstream).toBe('search');
});

test('two tools can swap their names', () => {
  const swapped = rules({ rename: { a: 'b', b: 'a' } });
  expect(shown(swapped.view(list('a', 'b')))).toEqual(['b', 'a']);
  expect(swapped.resolve('a')?.upstream).toBe('b');
});
