// What is in static/: small without a build step, an npm package without a dependency, and types that say what is true.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { transform } from 'esbuild';
import ts from 'typescript';
import { createClient, publish, startServer } from './support.mjs';

const folder = fileURLToPath(new URL('../../static/', import.meta.url));
const run = promisify(execFile);
const BYTES_MAX = 6 * 1024;

test('the module is under 6 KB, minified and gzipped', async (t) => {
  const { code } = await transform(await readFile(`${folder}shaveet.mjs`, 'utf8'), { minify: true, format: 'esm', target: 'es2022' });
  const { length } = gzipSync(code, { level: 9 });
  t.diagnostic(`${length} bytes of ${BYTES_MAX}`);
  assert.ok(length < BYTES_MAX, `${length} bytes`);
});

test('the module imports nothing, evaluates nothing, and is pure ASCII', async () => {
  const source = await readFile(`${folder}shaveet.mjs`, 'utf8');
  assert.doesNotMatch(source, /^import |\bimport\(|\beval\b|new Function|document\.write|innerHTML/m);
  assert.match(source, /^[\x00-\x7f]*$/);
});

/** What tsc --strict has to say about a program that uses the types: the text of the line and the complaint. */
function complaints(program) {
  const name = `${folder}program.mts`;
  const options = {
    strict: true, noEmit: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false,
    module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'], types: [],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => path === name || fileExists(path);
  host.getSourceFile = (path, version) =>
    (path === name ? ts.createSourceFile(path, program, version) : getSourceFile(path, version));
  return ts.getPreEmitDiagnostics(ts.createProgram([name], options, host))
    .map(({ file, start, messageText }) => {
      const at = file?.getLineAndCharacterOfPosition(start).line;
      return [program.split('\n')[at], ts.flattenDiagnosticMessageText(messageText, '\n')];
    });
}

// The package refers to itself by its name, as its exports allow.
const HEAD = `import { Shaveet, type Client, type Gap, type Message, type Options, type Status, type Transport } from 'shaveet';
  declare const s: Shaveet; declare const client: Client;`;

test('a program that does what the API allows passes tsc --strict', () => {
  assert.deepEqual(complaints(`${HEAD}
    const transports: readonly Transport[] = ['websocket', 'jsonp'];
    const options: Options = { clientId: 'bob', key: 'x', url: '/push', transports, renew: async () => client,
                               shared: false, keepPosition: true, upgradeMs: 1000 };
    const made: Shaveet = new Shaveet(options).on('room', (message) => { const text: string = message.data; });
    s.on('gap', (gap) => { const next: number = gap.next_id; const wider: Gap = gap; });
    s.on('status', ({ state, waitMs }) => { if (state === 'waiting') waitMs.toFixed(); });
    s.on('expired', ({ clientId }) => { clientId.length; });
    const name: string = 'any';
    const listener = (message: Message) => {};
    s.on(name, listener).off(name, listener);
    s.channel('gap').on((message) => { const from: string = message.from; }).close();
    for await (const message of s.channel('room')) { const id: number = message.id; }
    const status: Status = s.status;
    const transport: Transport | null = status.transport;
    export {};`), []);
});

test('what makes no sense is refused by tsc --strict, each line once', () => {
  const lines = [
    "new Shaveet({ clientId: 'bob', key: 'x', transports: ['pigeon'] });",
    "new Shaveet({ clientId: 'bob' });",
    "new Shaveet({ clientId: 'bob', key: 'x', renew: async () => 'bob' });",
    "s.on('gap', (gap) => gap.data);",
    "s.on('room', (message) => message.next_id);",
    "if (s.status.state === 'dead') s.close();",
    's.status = s.status;',
  ];
  assert.deepEqual(complaints([HEAD, ...lines, 'export {};'].join('\n')).map(([line]) => line), lines);
});

test('what npm pack makes works where it is unpacked, in Node too', async (t) => {
  const place = await mkdtemp(join(tmpdir(), 'shaveet-'));
  t.after(() => rm(place, { recursive: true }));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', place], { cwd: folder });
  const [{ filename, files }] = JSON.parse(stdout);
  assert.deepEqual(files.map(({ path }) => path).sort(),
    ['README.md', 'package.json', 'shaveet.d.ts', 'shaveet.js', 'shaveet.mjs']);
  await writeFile(join(place, 'package.json'), '{"private": true}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${filename}`], { cwd: place });

  const server = await startServer({ args: ['--presence', 'off'] });
  t.after(() => server.stop());
  const key = await createClient(server, 'bob', 'room');
  await publish(server, 'room', 'hello');
  await writeFile(join(place, 'program.mjs'), `
    import { Shaveet } from 'shaveet';
    const [url, key] = process.argv.slice(2), s = new Shaveet({ url, clientId: 'bob', key });
    for await (const { data } of s.channel('room')) {
      console.log(data);
      s.close();
    }`);
  // It ends by itself: nothing is left behind that would keep it.
  assert.equal((await run('node', ['program.mjs', server.url, key], { cwd: place })).stdout, 'hello\n');
  await assert.rejects(run('node', ['-e', "import('shaveet').then(({ Shaveet }) => new Shaveet({ clientId: 'a', key: 'b' }))"],
    { cwd: place }), /the option url is missing/);
});
