// shaveet.js must run where no newer syntax or function is known than ECMAScript 5, and be read in one sitting.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'acorn';
import { scriptFile } from './support.mjs';

const source = readFileSync(scriptFile, 'utf8');

test('it is ECMAScript 5', () => {
  parse(source, { ecmaVersion: 5, sourceType: 'script' });
});

test('it is pure ASCII: pages load it in whatever charset they have', () => {
  assert.match(source, /^[\x00-\x7f]*$/);
});

test('it evaluates nothing', () => {
  assert.doesNotMatch(source, /\beval\b|new Function|document\.write|innerHTML/);
});
