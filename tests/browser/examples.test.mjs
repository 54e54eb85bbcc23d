// The examples, used by people: each has a browser of their own, the applications run behind the real server.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { startExample } from './examples-support.mjs';
import { launchBrowser, startServer, until } from './support.mjs';

// The history is long, so that a slow machine is not told of a gap. Nobody is gone for being slow, either.
const ARGS = ['--history', '200'];

let browser;
let server;
let example;
let visits = [];

before(async () => {
  browser = await launchBrowser();
  server = await startServer({ args: ARGS });
});

afterEach(async () => {
  await Promise.all(visits.map((page) => page.context().close()));
  visits = [];
  // The next test begins with nobody, and nothing said.
  await again('stop');
});

/** Starts another server at the same address, when the old one has ended in the given way. */
async function again(end, args = ARGS) {
  await server[end]();
  server = await startServer({ port: server.port, args });
}

after(async () => {
  await browser.close();
  await server.stop();
});

/** Opens the example's page in a browser of its own and enters with a name. */
async function enter(name, main) {
  const page = await (await browser.newContext()).newPage();
  visits.push(page);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.open = 0; // its WebSockets
  page.on('websocket', (socket) => {
    page.open++;
    socket.on('close', () => { page.open--; });
  });
  await page.goto(example.url);
  await page.fill('#name', name);
  await page.click('#door button');
  await page.waitForSelector(`${main}:not([hidden])`);
  return page;
}

/** The page goes, but runs on: a browser that has much to do takes its time, and one that keeps the page may show it again. */
async function hide(page) {
  await page.evaluate(() => { dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })); });
  await until('it hears no more', () => page.open === 0);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve))); // what it would do about that has begun
}

function showAgain(page) {
  return page.evaluate(() => { dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); });
}

/** Waits until what `look` sees in the page equals `expected`; if it never does, the failure shows both. */
async function sees(look, expected) {
  let seen;
  try {
    await until('', async () => {
      seen = await look();
      return JSON.stringify(seen) === JSON.stringify(expected);
    });
  } catch {
    assert.deepEqual(seen, expected);
  }
}

for (const name of ['chat', 'php-chat']) describe(`the chat (${name})`, () => {
  before(async () => { example = await startExample(name, server.url); });
  after(() => example.stop());

  // What is of the page alone is the same behind both.
  const once = name === 'chat' ? it : () => {};
  const join = (name) => enter(name, '#room');
  const here = (page) => page.locator('#here .name').allTextContents();
  const texts = (page) => page.locator('#log .text').allTextContents();
  const notices = (page) => page.locator('#log .notice').allTextContents();

  async function say(page, text) {
    await page.fill('#text', text);
    await page.press('#text', 'Enter');
    await page.locator('#log .own .text').getByText(text, { exact: true }).waitFor();
  }

  it('shows everybody who is here, and who comes', async () => {
    const alice = await join('alice');
    await sees(() => here(alice), ['alice']);
    const bob = await join('bob');
    await sees(() => here(alice), ['alice', 'bob']);
    await sees(() => here(bob), ['bob', 'alice']); // oneself first
    await sees(() => notices(alice), ['bob joined']);
    await sees(() => notices(bob), []);
    assert.equal(await alice.locator('#people h2').textContent(), '2 are here');
    assert.deepEqual(await alice.locator('.person:has(.you) .name').allTextContents(), ['alice']);
  });

  it('carries what is said to everybody once and in one order', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await sees(() => here(alice), ['alice', 'bob']);
    const talk = async (page, name) => {
      for (let i = 1; i <= 15; i++) await say(page, `${name} ${i}`);
    };
    await Promise.all([talk(alice, 'alice'), talk(bob, 'bob')]);
    await sees(async () => (await texts(alice)).length, 30);
    await sees(() => texts(bob), await texts(alice));
    for (const name of ['alice', 'bob']) {
      const said = (await texts(alice)).filter((text) => text.startsWith(name));
      assert.deepEqual(said, Array.from({ length: 15 }, (_, i) => `${name} ${i + 1}`));
    }
    assert.ok((await alice.locator('#log .own .text').allTextContents()).every((text) => text.startsWith('alice')));
    assert.deepEqual([alice.errors, bob.errors], [[], []]);
  });

  once('takes the next message while one is on its way, and keeps their order', async () => {
    const alice = await join('alice');
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    await alice.route('**/say', async (route) => { await held; await route.continue(); });
    for (const text of ['one', 'two', 'three']) {
      await alice.fill('#text', text);
      await alice.press('#text', 'Enter');
      assert.equal(await alice.inputValue('#text'), '', 'it is taken');
    }
    release();
    await sees(async () => (await texts(alice)).slice(-3), ['one', 'two', 'three']);
  });

  once('notices at once who leaves or closes the page', async () => {
    const [alice, bob, carol] = [await join('alice'), await join('bob'), await join('carol')];
    await sees(() => here(alice), ['alice', 'bob', 'carol']);
    await bob.click('#leave');
    await bob.waitForSelector('#door:not([hidden])');
    await carol.close();
    await sees(() => here(alice), ['alice']);
    assert.deepEqual((await notices(alice)).slice(-2).sort(), ['bob left', 'carol left']);
  });

  once('notices after a while whose browser has crashed', async () => {
    // Here within seconds.
    await again('stop', [...ARGS, '--max-idle', '1s', '--min-alive', '2s', '--poll-timeout', '2s', '--sweep-interval', '500ms']);
    const [alice, bob] = [await join('alice'), await join('bob')];
    await sees(() => here(alice), ['alice', 'bob']);
    await bob.goto('chrome://crash').catch(() => {});
    await sees(() => here(alice), ['alice']);
    await sees(() => notices(alice), ['bob joined', 'bob left']);
  });

  once('walks in again after a reload', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await bob.reload();
    await bob.waitForSelector('#room:not([hidden])');
    await sees(() => here(bob), ['bob', 'alice']);
    await sees(() => here(alice), ['alice', 'bob']);
    await say(bob, 'back');
    await sees(() => texts(alice), ['back']);
  });

  once('does not join again when it has said goodbye, until its page is shown again', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await sees(() => here(alice), ['alice', 'bob']);
    await hide(bob);
    await sees(() => here(alice), ['alice']);
    await showAgain(bob);
    await sees(() => here(alice), ['alice', 'bob']);
    await say(bob, 'back');
    await sees(() => texts(alice), ['back']);
    assert.deepEqual(await notices(alice), ['bob joined', 'bob left', 'bob joined']);
  });

  it('shows names and texts as they were typed, HTML and JSON too', async () => {
    const eve = await join('<i>eve</i>');
    const alice = await join('alice');
    const typed = [
      '<img src=x onerror="window.harmed = true"><b>bold</b>', '<script>window.harmed = true</script>', '{"type": "unsubscribe"}',
      '{"type": "say", "text": "no"}', '"quoted" \\ & \u2028 😀 ü',
    ];
    for (const text of typed) {
      await eve.fill('#text', text);
      await eve.press('#text', 'Enter');
      await eve.waitForFunction((n) => document.querySelectorAll('#log .text').length === n, typed.indexOf(text) + 1);
    }
    await sees(() => texts(alice), typed);
    await sees(() => here(alice), ['alice', '<i>eve</i>']);
    assert.deepEqual(await alice.locator('#log .message .name').first().textContent(), '<i>eve</i>');
    assert.equal(await alice.locator('#log img, #log b, #log script, #room i').count(), 0);
    assert.equal(await alice.evaluate(() => window.harmed), undefined);
  });

  once('takes no harm from others who publish to its channel', async () => {
    const alice = await join('alice');
    for (const message of ['plain text', 7, null, [], { type: 'unknown' }]) {
      await server.call('new_message', 'a script', message, 'chat-lobby', false);
    }
    await say(alice, 'still here');
    assert.deepEqual(await texts(alice), ['still here']);
    assert.deepEqual(alice.errors, []);
  });

  it('lets only the holder of a key speak', async () => {
    const { client_id, key } = await example.post('/join', { name: 'alice', room: 'lobby' });
    assert.equal((await example.post('/say', { client_id, key, text: 'x' })).status, 200);
    const stranger = await example.post('/join', { name: 'alice', room: 'lobby' });
    assert.notEqual(stranger.client_id, client_id);
    assert.notEqual(stranger.key, key);
    for (const path of ['/say', '/leave']) {
      assert.equal((await example.post(path, { client_id, key: stranger.key, text: 'x' })).status, 403);
      assert.equal((await example.post(path, { client_id, key: 'ü', text: 'x' })).status, 403);
      assert.equal((await example.post(path, { client_id: 'nobody', key, text: 'x' })).status, 410);
    }
    await server.call('create_client', 'elsewhere');
    assert.equal((await example.post('/say', { client_id: 'elsewhere', key, text: 'x' })).status, 410);
  });

  it('refuses what is empty, too long or no object', async () => {
    const room = 'lobby';
    const { client_id, key } = await example.post('/join', { name: 'alice', room });
    assert.equal((await example.post('/join', { name: 'alice', room: 'cellar' })).status, 400);
    const names = ['', '   ', 'x'.repeat(21), 'Administrator', 'a\nb', 7, null, undefined];
    for (const name of names) assert.equal((await example.post('/join', { name, room })).status, 400, `name ${name}`);
    const texts_ = ['', 'x'.repeat(1001), 7, ['x'], undefined];
    for (const text of texts_) assert.equal((await example.post('/say', { client_id, key, text })).status, 400);
    for (const body of ['[]', '"x"', 'null', '{', '']) assert.equal((await example.post('/join', body)).status, 400);
    assert.equal((await example.post('/say', { client_id, key, text: 'x'.repeat(20_000) })).status, 413);
    assert.equal((await example.post('/say', { client_id, key, text: 'half \ud83d' })).status, 200);
  });

  it('shows who comes later what was said, and each room its own', async () => {
    const alice = await join('alice');
    for (const text of ['one', 'two']) await say(alice, text);
    const bob = await join('bob');
    await sees(() => texts(bob), ['one', 'two']);
    await bob.click('#rooms a[href="#music"]');
    await sees(() => here(bob), ['bob']);
    await sees(() => here(alice), ['alice']);
    await say(bob, 'la la');
    await say(alice, 'three');
    assert.deepEqual(await texts(bob), ['la la']);
    await bob.click('#rooms a[href="#lobby"]');
    await sees(() => texts(bob), ['one', 'two', 'three']);
    await sees(() => here(bob), ['bob', 'alice']);
    assert.deepEqual([...alice.errors, ...bob.errors], []);
  });

  once('says so when it was away for longer than the server keeps what is said', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await sees(() => here(alice), ['alice', 'bob']);
    await bob.context().setOffline(true);
    const lines = 230; // 200 are kept
    const message = (i) => ({ type: 'say', text: `line ${i}`, at_ms: i });
    for (let i = 1; i <= lines; i++) await server.call('new_message', 'carol_1', message(i), 'chat-lobby', false);
    await sees(async () => (await texts(alice)).length, lines);
    await bob.context().setOffline(false);
    await bob.getByText('something that was said here is missing').waitFor();
    await sees(async () => (await texts(bob)).at(-1), `line ${lines}`);
    assert.ok((await texts(bob)).length < lines);
  });

  it('joins again when the server does not know its people any more', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await say(alice, 'before');
    await server.kill();
    await alice.fill('#text', 'into the void');
    await alice.press('#text', 'Enter');
    await alice.getByText('The push server does not answer.').waitFor();
    assert.equal(await alice.inputValue('#text'), 'into the void');
    server = await startServer({ port: server.port, args: ARGS });
    // What could not be sent stays in the field: alice presses Enter until it goes.
    await until('alice is back', async () => {
      await alice.press('#text', 'Enter');
      return await alice.inputValue('#text') === '' && (await texts(alice)).length === 2;
    });
    await until('both are back', async () => (await server.call('get_channel_clients', 'chat-lobby')).length === 2);
    await sees(() => here(alice), ['alice', 'bob']);
    await sees(() => here(bob), ['bob', 'alice']);
    await bob.getByText('The connection was lost, joining again').waitFor();
    await say(alice, 'after');
    for (const page of [alice, bob]) await sees(async () => (await texts(page)).at(-1), 'after');
  });
});

describe('the notifications', () => {
  before(async () => { example = await startExample('notifications', server.url); });
  after(() => example.stop());

  const signIn = (name) => enter(name, '#desk');
  const got = (page) => page.locator('#list .text').allTextContents(); // the newest first

  async function notify(page, to, text) {
    await page.fill('#to', to);
    await page.fill('#text', text);
    await page.click('#send button');
    await page.waitForFunction(() => document.querySelector('#send .done').textContent
      || document.querySelector('#send .error').textContent);
    return page.locator('#send .error').textContent();
  }

  it('reach the one user, on every page that user has open', async () => {
    const [alice, bob, bobToo, carol] = [
      await signIn('alice'), await signIn('bob'), await signIn('bob'), await signIn('carol'),
    ];
    assert.equal(await notify(alice, 'bob', 'one'), '');
    assert.equal(await notify(carol, 'bob', '<b>two</b>'), '');
    assert.equal(await notify(alice, 'carol', 'three'), '');
    for (const page of [bob, bobToo]) await sees(() => got(page), ['<b>two</b>', 'one']);
    await sees(() => got(carol), ['three']);
    assert.deepEqual(await got(alice), []);
    assert.deepEqual(await bob.locator('#list .from').allTextContents(), ['carol', 'alice']);
    assert.equal(await bob.locator('#list b').count(), 0);
    assert.deepEqual([alice, bob, bobToo, carol].flatMap((page) => page.errors), []);
  });

  it('are counted in the title until they are read', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    await sees(() => bob.title(), 'Notifications');
    for (const text of ['one', 'two', 'three']) await notify(alice, 'bob', text);
    await sees(() => bob.title(), '(3) Notifications');
    assert.equal(await alice.title(), 'Notifications');
    await bob.getByText('two').click();
    await sees(() => bob.title(), '(2) Notifications');
    await bob.click('#read');
    await sees(() => bob.title(), 'Notifications');
    await notify(alice, 'bob', 'four');
    await sees(() => bob.title(), '(1) Notifications');
    await bob.locator('#list button').first().click();
    assert.equal(await bob.inputValue('#to'), 'alice');
    await sees(() => bob.title(), 'Notifications');
  });

  it('are read in all tabs when they are read in one', async () => {
    const [alice, bob, bobToo] = [await signIn('alice'), await signIn('bob'), await signIn('bob')];
    for (const text of ['one', 'two', 'three']) await notify(alice, 'bob', text);
    for (const page of [bob, bobToo]) await sees(() => page.title(), '(3) Notifications');
    await bob.getByText('two').click();
    for (const page of [bob, bobToo]) await sees(() => page.title(), '(2) Notifications');
    assert.equal(await bobToo.locator('#list .unread').count(), 2);
    await bobToo.click('#read');
    for (const page of [bob, bobToo]) await sees(() => page.title(), 'Notifications');
  });

  it('are refused when nobody of that name is here', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    assert.equal(await notify(alice, 'dave', 'hello?'), 'dave is not here right now.');
    assert.equal(await notify(alice, 'bob', 'hello'), '');
    await bob.click('#leave');
    await bob.waitForSelector('#door:not([hidden])');
    await sees(() => notify(alice, 'bob', 'still there?'), 'bob is not here right now.');
  });

  it('come no more to a page that has gone, and again when it is shown again', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    await hide(bob);
    await sees(() => notify(alice, 'bob', 'still there?'), 'bob is not here right now.');
    await showAgain(bob);
    await sees(() => notify(alice, 'bob', 'hello'), '');
    await sees(() => got(bob), ['hello']);
    assert.equal((await server.call('get_channel_clients', 'user-bob')).length, 1);
  });

  it('come from who they say', async () => {
    const { client_id } = await example.post('/join', { name: 'alice' });
    const mallory = await example.post('/join', { name: 'mallory' });
    const forged = { client_id, key: mallory.key, to: 'mallory', text: 'x' };
    assert.equal((await example.post('/notify', forged)).status, 403);
    assert.equal((await example.post('/read', { ...forged, ids: [1] })).status, 403);
    for (const ids of [undefined, 1, ['1'], Array(101).fill(1)]) {
      assert.equal((await example.post('/read', { ...forged, ids })).status, 400);
    }
    assert.equal((await example.post('/read', '[]')).status, 400);
    // A client of another application: its id looks like alice's, but it is not on her channel.
    const key = await server.call('create_client', 'alice_elsewhere');
    assert.equal((await example.post('/notify', { ...forged, client_id: 'alice_elsewhere', key })).status, 403);
  });

  it('go on when the server does not know the pages any more', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    await again('kill');
    for (const name of ['alice', 'bob']) {
      await until(`${name} is back`, async () => (await server.call('get_channel_clients', `user-${name}`)).length === 1);
    }
    assert.equal(await notify(alice, 'bob', 'again'), '');
    await sees(() => got(bob), ['again']);
  });
});

describe('the orders in Django', () => {
  before(async () => { example = await startExample('django', server.url); });
  after(() => example.stop());

  async function comeIn(name) {
    const page = await (await browser.newContext()).newPage();
    visits.push(page);
    page.errors = [];
    page.on('pageerror', (error) => page.errors.push(error.message));
    await page.goto(example.url);
    await page.fill('#name', name);
    await page.click('#door button');
    await page.waitForSelector('#who');
    return page;
  }

  /** What the page lists; while it reloads, nothing. */
  async function orders(page) {
    const lines = await page.locator('#orders li').allInnerTexts().catch(() => []);
    return lines.map((text) => text.replace(/\s+/g, ' '));
  }

  it('appear at the bar at once, and what is ready with the guest alone', async () => {
    const [bar, alice, bob] = [await comeIn('bar'), await comeIn('alice'), await comeIn('<b>bob</b>')];
    await alice.click('[data-drink=Espresso]');
    await bob.click('[data-drink=Tea]');
    await sees(async () => (await orders(bar)).sort(), ['Espresso for alice Ready', 'Tea for <b>bob</b> Ready']);
    await sees(() => orders(alice), ['Espresso is being made']);
    await bar.locator('li', { hasText: 'alice' }).locator('button').click();
    await sees(() => orders(alice), ['Espresso is ready!']);
    await sees(() => orders(bob), ['Tea is being made']);
    await sees(() => orders(bar), ['Tea for <b>bob</b> Ready']);
    await alice.reload();
    await sees(() => orders(alice), ['Espresso is ready!']);
    assert.deepEqual([bar, alice, bob].flatMap((page) => page.errors), []);
  });

  it('go on when the server does not know the pages any more', async () => {
    const [bar, carol] = [await comeIn('bar'), await comeIn('carol')];
    await server.kill();
    await carol.click('[data-drink=Cappuccino]'); // it is ordered all the same
    server = await startServer({ port: server.port, args: ARGS });
    await sees(async () => (await orders(bar)).at(-1), 'Cappuccino for carol Ready');
    await bar.locator('li', { hasText: 'carol' }).locator('button').click();
    await sees(() => orders(carol), ['Cappuccino is ready!']);
  });

  it('are taken from who has come in, and made at the bar alone', async () => {
    const carol = await comeIn('carol');
    const status = (path, body) => carol.evaluate(async ([path, body]) => {
      const headers = { 'X-CSRFToken': document.body.dataset.token };
      return (await fetch(path, { method: 'POST', headers, body: new URLSearchParams(body) })).status;
    }, [path, body]);
    assert.equal(await status('/order', { drink: 'Poison' }), 400);
    assert.equal(await status('/ready/1', {}), 403);
    assert.equal((await fetch(`${example.url}/order`, { method: 'POST' })).status, 403);
  });
});
