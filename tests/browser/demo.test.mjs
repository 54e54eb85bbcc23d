// The page that `--demo` serves: what a visitor sees within ten seconds of the first run.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchBrowser, startServer } from './support.mjs';

let started, server, browser, page, left, right;

before(async () => {
  started = performance.now();
  server = await startServer({ args: ['--demo'] });
  browser = await launchBrowser();
  page = await browser.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  await page.goto(`${server.url}/demo`);
  [left, right] = ['left', 'right'].map((name) => page.frameLocator(`iframe[title=${name}]`));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const sees = (pane, selector, text) => pane.locator(selector, { hasText: text }).first().waitFor();
const say = async (pane, text) => {
  await pane.locator('form input').fill(text);
  await pane.locator('form button').click();
};

test('two panes chat, and say by what', async (t) => {
  for (const pane of [left, right]) {
    await sees(pane, '.state', 'connected');
    await sees(pane, '.transport', 'WebSocket');
  }
  await say(left, 'hello');
  for (const pane of [left, right]) await sees(pane, 'li', 'left: hello');
  t.diagnostic(`${((performance.now() - started) / 1000).toFixed(1)} s from the start of the server and of the browser to the first message`);
});

test('each transport can be switched off, and the next one goes on', async () => {
  for (const [at, next] of ['server-sent events', 'long poll', 'JSONP'].entries()) {
    await right.locator('.transports input').nth(at).uncheck();
    await sees(right, '.transport', next);
    await say(left, `by ${next}`);
    await sees(right, 'li', `left: by ${next}`);
  }
  for (let at = 0; at < 3; at++) await right.locator('.transports input').nth(at).check();
  await sees(right, '.transport', 'WebSocket');
});

test('a network that is broken and mended: what was said comes, once', async () => {
  await right.locator('.network').click();
  await sees(right, '.state', /waiting|connecting/);
  await say(left, 'while you were out');
  await sees(left, 'li', 'while you were out');
  assert.equal(await right.locator('li', { hasText: 'while you were out' }).count(), 0);
  await right.locator('.network').click();
  await sees(right, 'li', 'left: while you were out');
  await sees(right, 'li', /^resumed after .* by /);
  assert.equal(await right.locator('li', { hasText: 'while you were out' }).count(), 1);
});

test('what a channel does not keep is seen as a gap', async () => {
  await right.locator('.network').click();
  await sees(right, '.state', /waiting|connecting/);
  await left.locator('.flood').click();
  await sees(left, 'li', 'left: 150 of 150');
  assert.equal(await left.locator('li.gap').count(), 0);
  await right.locator('.network').click();
  await sees(right, 'li.gap', /^a gap: what was before message \d+ is lost \(count\)$/);
  await sees(right, 'li', 'left: 150 of 150');
  assert.deepEqual(page.errors, []);
});
