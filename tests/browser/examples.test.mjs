// The examples, used by people: each has a browser of their own, the applications run behind the real server.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { startExample } from './examples-support.mjs';
import { launchBrowser, startServer, until } from './support.mjs';

// Who is gone is noticed within seconds. The history is long, so that a slow machine is not told of a gap.
const TIMERS = [
  '--max-idle', '1s', '--min-alive', '2s', '--poll-timeout', '2s', '--sweep-interval', '500ms', '--history', '200',
];

let browser;
let server;
let example;
let visits = [];

before(async () => {
  browser = await launchBrowser();
  server = await startServer({ args: TIMERS });
});

afterEach(async () => {
  await Promise.all(visits.map((page) => page.context().close()));
  visits = [];
  await until('everybody is gone', async () => {
    const channels = ['chat-room', 'user-alice', 'user-bob', 'user-carol', 'user-mallory'];
    const people = await Promise.all(channels.map((channel) => server.call('get_channel_clients', channel)));
    return people.flat().length === 0;
  });
});

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
  await page.goto(example.url);
  await page.fill('#name', name);
  await page.click('#door button');
  await page.waitForSelector(`${main}:not([hidden])`);
  return page;
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

describe('the chat', () => {
  before(async () => { example = await startExample('chat', server.url); });
  after(() => example.stop());

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

  it('notices at once who leaves or closes the page', async () => {
    const [alice, bob, carol] = [await join('alice'), await join('bob'), await join('carol')];
    await sees(() => here(alice), ['alice', 'bob', 'carol']);
    await bob.click('#leave');
    await bob.waitForSelector('#door:not([hidden])');
    await carol.close();
    await sees(() => here(alice), ['alice']);
    assert.deepEqual((await notices(alice)).slice(-2).sort(), ['bob left', 'carol left']);
  });

  it('notices after a while whose browser has crashed', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await sees(() => here(alice), ['alice', 'bob']);
    await bob.goto('chrome://crash').catch(() => {});
    await sees(() => here(alice), ['alice']);
    await sees(() => notices(alice), ['bob joined', 'bob left']);
  });

  it('walks in again after a reload', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await bob.reload();
    await bob.waitForSelector('#room:not([hidden])');
    await sees(() => here(bob), ['bob', 'alice']);
    await sees(() => here(alice), ['alice', 'bob']);
    await say(bob, 'back');
    await sees(() => texts(alice), ['back']);
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

  it('takes no harm from others who publish to its channel', async () => {
    const alice = await join('alice');
    for (const message of ['plain text', 7, null, [], { type: 'unknown' }]) {
      await server.call('new_message', 'a script', message, 'chat-room', false);
    }
    await say(alice, 'still here');
    assert.deepEqual(await texts(alice), ['still here']);
    assert.deepEqual(alice.errors, []);
  });

  it('lets only the holder of a key speak', async () => {
    const { client_id, key } = await example.post('/join', { name: 'alice' });
    assert.equal((await example.post('/say', { client_id, key, text: 'x' })).status, 200);
    const stranger = await example.post('/join', { name: 'alice' });
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
    const { client_id, key } = await example.post('/join', { name: 'alice' });
    const names = ['', '   ', 'x'.repeat(21), 'Administrator', 'a\nb', 7, null, undefined];
    for (const name of names) assert.equal((await example.post('/join', { name })).status, 400, `name ${name}`);
    const texts_ = ['', 'x'.repeat(1001), 7, ['x'], undefined];
    for (const text of texts_) assert.equal((await example.post('/say', { client_id, key, text })).status, 400);
    for (const body of ['[]', '"x"', 'null', '{', '']) assert.equal((await example.post('/join', body)).status, 400);
    assert.equal((await example.post('/say', { client_id, key, text: 'x'.repeat(20_000) })).status, 413);
    assert.equal((await example.post('/say', { client_id, key, text: 'half \ud83d' })).status, 200);
  });

  it('joins again when the server does not know its people any more', async () => {
    const [alice, bob] = [await join('alice'), await join('bob')];
    await say(alice, 'before');
    await server.kill();
    await alice.fill('#text', 'into the void');
    await alice.press('#text', 'Enter');
    await alice.getByText('The push server does not answer.').waitFor();
    assert.equal(await alice.inputValue('#text'), 'into the void');
    server = await startServer({ port: server.port, args: TIMERS });
    // What could not be sent stays in the field: alice presses Enter until it goes.
    await until('alice is back', async () => {
      await alice.press('#text', 'Enter');
      return await alice.inputValue('#text') === '' && (await texts(alice)).length === 2;
    });
    await until('both are back', async () => (await server.call('get_channel_clients', 'chat-room')).length === 2);
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

  it('are refused when nobody of that name is here', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    assert.equal(await notify(alice, 'dave', 'hello?'), 'dave is not here right now.');
    assert.equal(await notify(alice, 'bob', 'hello'), '');
    await bob.click('#leave');
    await bob.waitForSelector('#door:not([hidden])');
    await sees(() => notify(alice, 'bob', 'still there?'), 'bob is not here right now.');
  });

  it('come from who they say', async () => {
    const { client_id } = await example.post('/join', { name: 'alice' });
    const mallory = await example.post('/join', { name: 'mallory' });
    const forged = { client_id, key: mallory.key, to: 'mallory', text: 'x' };
    assert.equal((await example.post('/notify', forged)).status, 403);
    // A client of another application: its id looks like alice's, but it is not on her channel.
    const key = await server.call('create_client', 'alice_elsewhere');
    assert.equal((await example.post('/notify', { ...forged, client_id: 'alice_elsewhere', key })).status, 403);
  });

  it('go on when the server does not know the pages any more', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')];
    await server.kill();
    server = await startServer({ port: server.port, args: TIMERS });
    for (const name of ['alice', 'bob']) {
      await until(`${name} is back`, async () => (await server.call('get_channel_clients', `user-${name}`)).length === 1);
    }
    assert.equal(await notify(alice, 'bob', 'again'), '');
    await sees(() => got(bob), ['again']);
  });
});
