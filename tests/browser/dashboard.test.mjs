// The dashboard in a real browser: what a person sees of a server, and does to it. With SHOTS=DIRECTORY it leaves pictures of
// itself there, at the widths of a phone and of a desk, by day and by night.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createClient, launchBrowser, publish, startPages, startServer, until } from './support.mjs';

const TOKEN = '0123456789abcdef0123456789abcdef';
const NASTY = '<img src=x onerror="document.title=\'broken into\'">';

let browser, server;

before(async () => {
  server = await startServer({ args: ['--max-clients', '100'] });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the dashboard in a browser's profile of its own; what goes wrong in it is in `page.errors`. */
async function open({ url = server.url, ...options } = {}) {
  const context = await browser.newContext(options), page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) page.errors.push(message.text()); });
  await page.goto(`${url}/dashboard`);
  return page;
}

const tile = (page, title) => page.locator('.tile', { hasText: title });
const live = (page) => page.locator('#state.live').waitFor();

/** Waits until a tile's value passes. */
function shows(page, title, isSo) {
  return until(`${title} is so`, async () => isSo(await tile(page, title).locator('.value').innerText()));
}

async function close(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}

test('it opens, and its figures move with what is published', async () => {
  await createClient(server, 'reader', 'room');
  const page = await open();
  await live(page);
  await shows(page, 'Messages in', (text) => text.startsWith('0'));
  assert.equal(await page.locator('#busiest .name').count(), 0);
  let goesOn = true;
  const publishing = (async () => { while (goesOn) await publish(server, 'room', 'hello'); })();
  await shows(page, 'Messages in', (text) => parseFloat(text) > 10);
  await page.locator('#busiest .name', { hasText: 'room' }).waitFor();
  assert.match(await page.title(), /^[\d.]+K?\/s – Shaveet$/);
  goesOn = false;
  await publishing;
  await shows(page, 'Messages in', (text) => text.startsWith('0'));
  assert.match(await tile(page, 'Messages in').locator('.line').getAttribute('d'), /^M[\d. ]+(L[\d. ]+)+$/);
  assert.match(await page.locator('#limits li').first().innerText(), /max-clients\s+2 of 100/);
  await close(page);
});

test('how long deliveries take is told by the slowest of a hundred', async () => {
  const own = await startServer();
  try {
    const key = await createClient(own, 'reader', 'room'), page = await open({ url: own.url });
    await live(page);
    await shows(page, 'Delivery, p99', (text) => text === '–');
    const listening = await fetch(`${own.url}/events?client_id=reader_!!_${key}`);
    await publish(own, 'room', 'hello');
    await shows(page, 'Delivery, p99', (text) => /^≤ \d+\s*ms$/.test(text));
    await shows(page, 'Turn of the loop, p99', (text) => /^≤ [\d.]+\s*(µs|ms)$/.test(text));
    await listening.body.cancel();
    // Of each hundred 98 take up to 2 ms, and two up to 16.
    let hundreds = 0;
    const context = await browser.newContext();
    await context.routeWebSocket(/\/dashboard\/socket/, (socket) => {
      socket.connectToServer().onMessage((text) => {
        const said = JSON.parse(text);
        for (const message of said.messages) {
          const figures = JSON.parse(message.data);
          hundreds++;
          figures.latency = figures.latency.map((_, place) => hundreds * ({ 1: 98, 4: 2 }[place] ?? 0));
          message.data = JSON.stringify(figures);
        }
        socket.send(JSON.stringify(said));
      });
    });
    const slow = await context.newPage();
    await slow.goto(`${own.url}/dashboard`);
    await shows(slow, 'Delivery, p99', (text) => /^≤ 16\s*ms$/.test(text));
    await until('half of them are told too', async () => /p50 ≤ 2 ms/.test(await tile(slow, 'Delivery, p99').innerText()));
    await context.close();
    await close(page);
  } finally {
    await own.stop();
  }
});

test('what is near its limit stands first and is marked, and one may come to look when no others may', async () => {
  const full = await startServer({ args: ['--max-clients', '10'] });
  try {
    for (let at = 0; at < 10; at++) await createClient(full, `crowd-${at}`);
    await assert.rejects(createClient(full, 'one more'), /max-clients/);
    const page = await open({ url: full.url });
    const first = page.locator('#limits li').first();
    await until('it is marked', async () => /near|full/.test(await first.getAttribute('class')));
    assert.match(await first.innerText(), /max-clients/);
    for (let at = 0; at < 8; at++) await full.call('kill_client', `crowd-${at}`);
    await until('it is not any more', async () => !/near|full/.test(await first.getAttribute('class')));
    await close(page);
  } finally {
    await full.stop();
  }
});

test('a channel is found and followed, and its people are found there', async () => {
  await createClient(server, NASTY, 'room-of-one');
  const page = await open();
  await page.fill('#find input', 'room-of');
  await page.click('#found button');
  await publish(server, 'room-of-one', NASTY, NASTY);
  const said = page.locator('#tail .data', { hasText: NASTY });
  await said.waitFor();
  assert.equal(await page.locator('#tail li', { hasText: 'subscribed' }).count(), 1, 'it was said before we looked');
  for (let at = 0; at < 30; at++) await publish(server, 'room-of-one', `line ${at}`);
  await page.locator('#tail .data', { hasText: 'line 29' }).waitFor();
  const lines = await page.locator('#tail .data').allInnerTexts();
  assert.deepEqual(lines.slice(-30), Array.from({ length: 30 }, (_, at) => `line ${at}`), 'each once and in order');
  await page.locator('dialog').getByRole('button', { name: 'Show' }).click();
  await page.locator('dialog .names button', { hasText: NASTY }).click();
  await page.locator('dialog h2', { hasText: NASTY }).waitFor();
  assert.equal(await page.locator('img').count(), 0, 'text is text');
  assert.doesNotMatch(await page.title(), /broken/);
  await server.call('kill_client', NASTY);
  await close(page);
});

test('a client is found, asked about, and kicked when that was asked twice', async () => {
  const key = await createClient(server, 'somebody', 'room');
  await publish(server, 'room', 'for somebody');
  const { next_id: next } = await server.call('channel_info', 'room');
  const page = await open();
  await page.selectOption('#find select', 'clients');
  await page.fill('#find input', 'some');
  await page.click('#found button');
  await page.locator('dialog .names button', { hasText: 'room' }).waitFor();
  await page.getByPlaceholder('channel').fill('room');
  await page.getByPlaceholder('message id').fill(String(next - 1));
  await page.getByRole('button', { name: 'Ask' }).click();
  await page.locator('dialog', { hasText: 'It waits for the page, which does not listen just now' }).waitFor();
  const listening = fetch(`${server.url}/events?client_id=somebody_!!_${key}`);
  const stream = (await listening).body;
  await page.getByRole('button', { name: 'Kick', exact: true }).click();
  assert.deepEqual(await server.call('get_client_channels', 'somebody'), ['room']);
  await page.getByRole('button', { name: 'Kick it' }).click();
  await page.locator('dialog', { hasText: 'The client is forgotten.' }).waitFor();
  let told = '';
  for await (const piece of stream) told += Buffer.from(piece);
  assert.match(told, /event: gone/, 'its page is told');
  await assert.rejects(server.call('get_client_channels', 'somebody'), /KeyError/);
  await page.keyboard.press('Escape');
  await page.locator('#searched', { hasText: 'No client begins so.' }).waitFor();
  await close(page);
});

test('what is lost is told', async () => {
  const key = await createClient(server, 'slow', 'fast');
  const page = await open();
  await page.locator('#losses', { hasText: 'Nothing since the start.' }).waitFor();
  for (let at = 0; at < 150; at++) await publish(server, 'fast', `${at}`);
  await fetch(`${server.url}/message_updates?client_id=slow_!!_${key}&since=`);
  await page.locator('#losses .number.now').waitFor();
  assert.match(await page.locator('#losses').innerText(), /gaps: a channel kept too few\s+1, 1 just now/);
  await close(page);
});

test('it goes on when the server has begun anew', async () => {
  const own = await startServer();
  const page = await open({ url: own.url });
  await live(page);
  await own.kill();
  await page.locator('#state:not(.live)').waitFor();
  const next = await startServer({ port: own.port });
  try {
    await live(page);
    await createClient(next, 'a', 'b');
    await shows(page, 'Clients', (text) => text === '2');
    await close(page);
  } finally {
    await next.stop();
  }
});

test('with a token it asks for it, keeps it for its tab, and forgets it', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'shaveet-dashboard-')), file = path.join(directory, 'token');
  await writeFile(file, TOKEN);
  const closed = await startServer({ args: ['--rpc-token-file', file] });
  try {
    const page = await open({ url: closed.url });
    const enter = async (text) => {
      await page.fill('#token', text);
      await page.getByRole('button', { name: 'Open' }).click();
    };
    await enter('a wrong one');
    await page.locator('#refused', { hasText: 'This is not the token.' }).waitFor();
    assert.ok(await page.locator('main').isHidden());
    await enter(TOKEN);
    await live(page);
    await page.reload();
    await live(page);
    assert.deepEqual(await page.context().cookies(), []);
    await page.getByRole('button', { name: 'Forget the token' }).click();
    await page.locator('#login').waitFor();
    assert.ok(await page.locator('main').isHidden());
    await page.reload();
    await page.locator('#login').waitFor();
    await close(page);
  } finally {
    await closed.stop();
    await rm(directory, { recursive: true });
  }
});

test('pages of other sites reach nothing of it', async () => {
  const pages = await startPages();
  const page = await browser.newPage();
  try {
    await page.goto(pages.add(`<!doctype html><title>evil</title><iframe src="${server.url}/dashboard"></iframe>`));
    const reached = await page.evaluate(async (url) => {
      const tries = ['open', 'call', 'events?client_id=a_!!_b', 'dashboard.mjs', 'message_updates?client_id=a_!!_b&since='].map(
        (path) => fetch(`${url}/dashboard/${path}`, path.length === 4 ? { method: 'POST', body: '{}' } : {}).then(() => path, () => null));
      const scripts = ['dashboard.mjs', 'shaveet.mjs'].map((name) => import(`${url}/dashboard/${name}`).then(() => name, () => null));
      return (await Promise.all([...tries, ...scripts])).filter(Boolean);
    }, server.url);
    assert.deepEqual(reached, []);
    assert.equal(await page.frames()[1].locator('h1').count(), 0, 'it stands in nobody\'s frame');
  } finally {
    await page.close();
    await pages.stop();
  }
});

for (const colorScheme of ['light', 'dark']) {
  for (const [name, width, height, columns] of [['phone', 390, 844, 2], ['desk', 1280, 800, 4]]) {
    test(`it fits a ${name}, in ${colorScheme}`, async () => {
      const page = await open({ viewport: { width, height }, colorScheme });
      await shows(page, 'Clients', (text) => Number(text) > 0);
      const seen = await page.evaluate(() => {
        const tiles = [...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect());
        const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return {
          tooWide: document.documentElement.scrollWidth - innerWidth,
          columns: tiles.filter(({ top }) => top === tiles[0].top).length,
          isDark: red + green + blue < 3 * 128,
          small: [...document.querySelectorAll('body *')].filter((one) => parseFloat(getComputedStyle(one).fontSize) < 11.5).map((one) => one.tagName),
        };
      });
      assert.deepEqual(seen, { tooWide: 0, columns, isDark: colorScheme === 'dark', small: [] });
      if (process.env.SHOTS) await page.screenshot({ path: path.join(process.env.SHOTS, `${name}-${colorScheme}.png`), fullPage: true });
      await close(page);
    });
  }
}
