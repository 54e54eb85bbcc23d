// Whoever copies the blocks of docs/guide, as they stand and in their order, has a chat.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser, pause, until } from './support.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const START_MS_MAX = 120_000; // pip and cargo, on a busy machine

const guide = await readFile(`${ROOT}docs/guide/README.md`, 'utf8');
const blocks = [...guide.matchAll(/^```(\w+)\n(.*?)^```/gms)].map(([, language, code]) => ({ language, code }));
const terminals = [];
let directory;
let browser;

/** Runs a block in a shell of its own: its output so far, and its end. */
function terminal(code, cwd) {
  const child = spawn('bash', ['-ec', code], { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const running = { output: '', ended: new Promise((resolve) => child.once('close', resolve)) };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => { running.output += text; });
  }
  running.interrupt = async () => {
    try { process.kill(-child.pid, 'SIGINT'); } catch { /* it has ended */ }
    await running.ended;
  };
  terminals.push(running);
  return running;
}

async function says(running, words) {
  const limit = Date.now() + START_MS_MAX;
  let hasEnded = false;
  running.ended.then(() => { hasEnded = true; });
  while (!running.output.includes(words)) {
    assert.ok(!hasEnded && Date.now() < limit, `in vain for "${words}": ${running.output}`);
    await pause(50);
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

before(async () => {
  for (const port of [8082, 5000]) assert.ok(await isFree(port), `port ${port}, which the guide uses, is in use`);
  directory = await mkdtemp(`${tmpdir()}/guide-`);
  await symlink(`${ROOT}clients`, `${directory}/clients`);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  for (const running of terminals.reverse()) await running.interrupt();
  await rm(directory, { recursive: true });
});

it('is a chat', async () => {
  assert.deepEqual(blocks.map(({ language }) => language), ['sh', 'sh', 'python', 'html', 'sh', 'sh', 'text']);
  const [server, setup, app, page, run, call, answer] = blocks.map(({ code }) => code);
  const chat = `${directory}/chat`;

  let shaveet = terminal(server, ROOT);
  await says(shaveet, 'listening on http://127.0.0.1:8082');
  const prepared = terminal(setup, directory);
  assert.equal(await prepared.ended, 0, prepared.output);
  await writeFile(`${chat}/app.py`, app);
  await writeFile(`${chat}/templates/index.html`, page);
  await says(terminal(run, chat), 'Running on http://127.0.0.1:5000');

  // Two windows of one browser, and another browser.
  const [ours, another] = [await browser.newContext(), await browser.newContext()];
  const visit = async (name, context = ours) => {
    const visitor = await context.newPage();
    await visitor.goto('http://127.0.0.1:5000/');
    await say(visitor, name);
    await visitor.getByText(`${name}: subscribed`).waitFor();
    return visitor;
  };
  const say = async (visitor, text) => {
    await visitor.fill('#text', text);
    await visitor.press('#text', 'Enter');
  };
  const sees = (visitor, text) => visitor.getByText(text, { exact: true }).waitFor();

  const [alice, bob] = [await visit('alice'), await visit('bob')];
  await sees(alice, 'bob: subscribed');
  await say(alice, 'hello <b>bob</b>');
  for (const visitor of [alice, bob]) await sees(visitor, 'alice: hello <b>bob</b>');
  await say(bob, 'hello alice');
  for (const visitor of [alice, bob]) await sees(visitor, 'bob: hello alice');

  const called = terminal(call, directory);
  await called.ended;
  assert.equal(called.output, answer);
  for (const visitor of [alice, bob]) await sees(visitor, 'curl: hello');

  const carol = await visit('carol', another);
  assert.deepEqual(await carol.locator('#log span').allTextContents(), [
    'alice: hello <b>bob</b>', 'bob: hello alice', 'curl: hello',
  ]);

  // Ctrl-C, and the same block again.
  await shaveet.interrupt();
  shaveet = terminal(server, ROOT);
  await says(shaveet, 'listening on http://127.0.0.1:8082');
  await until('all are back', async () => {
    const response = await fetch('http://127.0.0.1:8082/', {
      method: 'POST', body: JSON.stringify({ method: 'get_channel_clients', params: ['chat'] }),
    });
    return (await response.json()).result.length === 3;
  });
  await say(alice, 'still here');
  for (const visitor of [alice, bob, carol]) await sees(visitor, 'alice: still here');
});
