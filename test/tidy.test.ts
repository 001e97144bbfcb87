// Holds the house to its own rules: who may import whom, how a file looks, which words and facts stay outside.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { faultCodes } from '../src/base/fault-codes.ts';
import { entries, exceptions, fileLinesMax, mayTouchTheWorld, rooms } from './support/house-plan.ts';
import type { Room } from './support/house-plan.ts';
import {
  describeSource,
  globDocuments,
  readRepositoryFile,
  readSourceFiles,
  repositoryHas,
} from './support/source-files.ts';
import type { Import, SourceFile } from './support/source-files.ts';
import { flushPlaces } from './simulation/flush-places.ts';

const files = readSourceFiles(['src', 'routes', 'openapi', 'test', 'bench']);
const product = files.filter((file) => file.path.startsWith('src/') || file.path.startsWith('routes/'));
const byPath: ReadonlyMap<string, SourceFile> = new Map(files.map((file) => [file.path, file]));
/** Rules about the whole house hold from the day on which every face has its class and the process its entry. */
const standing = repositoryHas('src/main.ts') && !product.some((file) => /^export declare class /m.test(file.text));

describe('the house', () => {
  test('has a room for every file', () => {
    expectNone(files.filter((file) => roomOf(file.path) === undefined).map((file) => file.path));
  });

  test('imports downwards only', () => {
    expectNone(files.flatMap((file) => file.imports.flatMap((used) => importProblems(file, used))));
  });

  test('names exceptions only while they are needed', () => {
    const needless = exceptions.imports.filter(({ from, to }) => {
      const file = byPath.get(from);
      return file?.imports.some((used) => used.target === to && !roomAllows(file.path, used)) !== true;
    });
    const short = exceptions.longFiles.filter(({ path }) => (byPath.get(path)?.lineCount ?? 0) <= fileLinesMax);
    expectNone([...needless.map(({ from, to }) => `${from} -> ${to}`), ...short.map(({ path }) => path)]);
  });

  test('has no circles', () => {
    expectNone(circles());
  });

  test('has no file that nothing leads to', () => {
    if (!standing) return;
    const reached = new Set<string>();
    const walk = (path: string): void => {
      if (reached.has(path)) return;
      reached.add(path);
      for (const used of byPath.get(path)?.imports ?? []) if (used.ours) walk(used.target);
    };
    entries.forEach(walk);
    for (const { path } of exceptions.unreached) {
      assert.ok(!reached.has(path), `${path} is reached: it is no exception any more`);
      reached.add(path);
    }
    expectNone(product.filter((file) => !reached.has(file.path)).map((file) => file.path));
  });
});

describe('every file', () => {
  test('opens with a sentence that says what the room is', () => {
    const withRoom = files.filter((file) => !file.path.endsWith('.test.ts'));
    expectNone(withRoom.filter((file) => !/^\/\/ [A-Z0-9`"].*[.:]\)?$/.test(opening(file))).map((file) => file.path));
  });

  test(`has at most ${fileLinesMax} lines`, () => {
    const excepted = new Set(exceptions.longFiles.map(({ path }) => path));
    const long = files.filter((file) => file.lineCount > fileLinesMax && !excepted.has(file.path));
    expectNone(long.map((file) => `${file.path} has ${file.lineCount} lines`));
  });

  test('has a kebab-case name', () => {
    expectNone(
      files.map((file) => file.path).filter((path) => !/^([a-z0-9]+(-[a-z0-9]+)*[/.])+(test\.)?ts$/.test(path)),
    );
  });

  test('does without `any`, enums, default exports, `export *`, namespaces and `!`', () => {
    expectNone(files.flatMap((file) => file.banned.map(({ line, what }) => `${file.path}:${line} ${what}`)));
  });

  test('does more than forward to other files', () => {
    expectNone(files.filter((file) => file.onlyForwards).map((file) => file.path));
  });

  test('leaves nothing for later', () => {
    const marker = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);
    expectNone(files.filter((file) => marker.test(file.text)).map((file) => file.path));
  });

  test('switches no test off', () => {
    const off = /\b(test|it|describe|suite)\.(skip|only|todo)\b|\b(skip|only|todo): true\b/;
    const tests = files.filter((file) => file.path.endsWith('.test.ts'));
    expectNone(tests.filter((file) => off.test(file.text)).map((file) => file.path));
  });
});

describe('the product', () => {
  test('does not write to the console', () => {
    expectNone(product.filter((file) => /\bconsole\./.test(file.text)).map((file) => file.path));
  });

  test('asks for time, chance and environment in its entries only', () => {
    const allowed: ReadonlySet<string> = new Set(mayTouchTheWorld);
    const strict = product.filter((file) => !allowed.has(file.path));
    expectNone(strict.flatMap((file) => file.worldly.map(({ line, what }) => `${file.path}:${line} ${what}`)));
  });

  test('awaits nothing inside the engine', () => {
    const engine = product.filter((file) => file.path.startsWith('src/engine/'));
    const awaiting = /\basync\s|\bawait\s|\bPromise\b|\.then\(/;
    expectNone(engine.filter((file) => awaiting.test(withoutComments(file.text))).map((file) => file.path));
  });
});

describe('the table of flushes', () => {
  test('has a row for every place in the engine that flushes, and for no other', () => {
    const rows = readRepositoryFile('docs/durability.md').matchAll(
      /^\| `([\w.-]+\.ts [^`]+)` \| (?:stays: |noticed by )/gm,
    );
    assert.deepEqual(Array.from(rows, ([, name]) => name).toSorted(), [...flushPlaces().values()].toSorted());
  });
});

describe('the table of faults', () => {
  const codes = Object.keys(faultCodes);

  test('names codes in kebab-case', () => {
    expectNone(codes.filter((code) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(code)));
  });

  test('has no code that nothing uses', () => {
    if (!standing) return;
    const users = product.filter((file) => !tablesOfCodes.has(file.path));
    expectNone(codes.filter((code) => !users.some((file) => file.literals.has(code))));
  });

  test('has a cause and a cure for every code that reaches the wire', () => {
    const names = ['problem-texts', 'job-problem-texts', 'key-problem-texts', 'image-problem-texts'];
    const paths = names.map((name) => `src/http/${name}.ts`);
    const [path = ''] = paths;
    const texts = paths.map((each) => byPath.get(each)?.text ?? '').join('\n');
    const missing = codes.filter((code) => !isFoldedIntoAnother(code) && !texts.includes(`'${code}'`));
    expectNone(missing.map((code) => `${code} is not in ${path}`));
  });
});

describe('the documents', () => {
  test('give a reason for every package, and for no other', () => {
    const manifest = readManifest();
    const page = readRepositoryFile('docs/dependencies.md');
    const explained = new Set(Array.from(page.matchAll(/^\| `([^`]+)` \|/gm), (row) => row[1]));
    const used = new Set(manifest);
    expectNone([
      ...manifest.filter((name) => !explained.has(name)).map((name) => `${name} has no row in docs/dependencies.md`),
      ...[...explained].filter((name) => !used.has(name ?? '')).map((name) => `${name} is not in package.json`),
    ]);
  });

  test('let npx fetch what is tried here, with all that it needs beside it', () => {
    const versions = readVersions();
    const commands = ['README.md', 'docs/client.md'].flatMap((page) =>
      Array.from(readRepositoryFile(page).matchAll(/^npx .+$/gm), ([command]) => ({ page, command })),
    );
    assert.ok(commands.length > 0, 'the pages name commands');
    const wanting = commands.flatMap(({ page, command }) => {
      const named = Array.from(command.matchAll(/ ((?:@[\w-]+\/)?[\w-]+)@([\w.-]+)/g), (found) => found.slice(1));
      const needed = named.flatMap(([name = '']) => peersOf(name));
      return [
        ...named.filter(([name = '', version]) => versions[name] !== version).map(([name]) => name),
        ...needed.filter((peer) => !named.some(([name]) => name === peer)),
      ].map((name) => `${page}: ${command}: not as in package.json: ${name}`);
    });
    expectNone(wanting);
  });

  test('list every setting with the README', () => {
    const config = byPath.get('src/config.ts');
    if (config === undefined) return;
    const settings = new Set(Array.from(config.text.matchAll(/^ {2}(QCOWD_[A-Z0-9_]+):/gm), (key) => key[1]));
    const listed = new Set(
      Array.from(readRepositoryFile('README.md').matchAll(/^\| `(QCOWD_\w+)`/gm), (row) => row[1]),
    );
    assert.ok(settings.size > 0, 'src/config.ts names settings');
    assert.deepEqual([...listed].toSorted(), [...settings].toSorted());
  });

  test('show every room of the plan', () => {
    const page = readRepositoryFile('docs/architecture.md');
    expectNone(rooms.filter((room) => !page.includes(`| \`${room.path}\` |`)).map((room) => room.path));
  });

  test('explain every row of the format that code and tests quote', () => {
    const explained = explainedRows();
    const quoted = quotedRows(files);
    assert.ok(quoted.length > 0, 'rows are quoted');
    const strange = quoted.filter(({ id }) => !explained.has(id)).map(({ id, path }) => `${path} quotes ${id}`);
    expectNone([...new Set(strange)]);
  });

  test('explain no row of the format that no test quotes', () => {
    const tests = files.filter((file) => file.path.startsWith('test/'));
    const quoted = new Set(quotedRows(tests).map(({ id }) => id));
    expectNone([...explainedRows()].filter((id) => !quoted.has(id)));
  });

  test('link only to what is there', () => {
    const pages = globDocuments();
    assert.ok(pages.includes('README.md'), 'the pages are found');
    expectNone(pages.flatMap(brokenLinks));
  });
});

describe('the rules', () => {
  test('see an import of every form', () => {
    const forms = [
      `import { a } from './a.ts';`,
      `import type { A } from './a.ts';`,
      `export { a } from './a.ts';`,
      `export type A = import('./a.ts').A;`,
      `const a = await import('./a.ts');`,
      `const a = new URL('./a.ts', import.meta.url);`,
    ];
    for (const form of forms) {
      const targets = describeSource('src/pool/b.ts', form).imports.map((used) => used.target);
      assert.deepEqual(targets, ['src/pool/a.ts'], form);
    }
  });

  test('see what is banned', () => {
    const banned = [
      'let a: any;',
      'enum A { b }',
      'export default 1;',
      'export default function a() {}',
      `export * from './a.ts';`,
      'const b = a!;',
      'namespace A {}',
    ];
    for (const text of banned) assert.equal(describeSource('src/a.ts', text).banned.length, 1, text);
    const worldly = ['Date.now();', 'process.env.A;', 'new Date();', 'Math.random();'];
    for (const text of worldly) assert.equal(describeSource('src/a.ts', text).worldly.length, 1, text);
    assert.equal(describeSource('src/a.ts', 'new Date(time);').worldly.length, 0);
    assert.equal(describeSource('src/a.ts', `declare module 'fastify' {}`).banned.length, 0);
  });

  test('see an arrow that runs up', () => {
    const upwards = describeSource('src/base/a.ts', `import type { A } from '../pool/protocol.ts';`);
    assert.equal(upwards.imports.flatMap((used) => importProblems(upwards, used)).length, 1);
    const sideways = describeSource('src/engine/format/a.ts', `import { readSync } from 'node:fs';`);
    assert.equal(sideways.imports.flatMap((used) => importProblems(sideways, used)).length, 1);
  });
});

/** Files that hold codes as data: being named there is not being used. */
const tablesOfCodes: ReadonlySet<string> = new Set([
  'src/base/fault-codes.ts',
  'src/http/problem-texts.ts',
  'src/http/job-problem-texts.ts',
]);

/** Faults about a broken file reach the wire as `image-corrupt` or `unsafe-image`, with their own code as a detail. */
function isFoldedIntoAnother(code: string): boolean {
  const row = Object.entries(faultCodes).find(([name]) => name === code)?.[1];
  return row?.kind === 'corrupt' || row?.kind === 'unsupported';
}

function roomOf(path: string): Room | undefined {
  const fitting = rooms.filter((room) => path === room.path || (room.path.endsWith('/') && path.startsWith(room.path)));
  return fitting.toSorted((a, b) => b.path.length - a.path.length)[0];
}

function importProblems(file: SourceFile, used: Import): readonly string[] {
  if (used.ours && file.path.startsWith('src/') && !repositoryHas(used.target) && used.target.endsWith('.ts')) {
    return [`${file.path}:${used.line} imports ${used.target}, which is not there`];
  }
  const excepted = exceptions.imports.some(({ from, to }) => from === file.path && to === used.target);
  if (excepted || roomAllows(file.path, used)) return [];
  const room = roomOf(file.path);
  const rows = used.ours ? room?.mayImport : room?.packages;
  return [
    `${file.path}:${used.line} imports ${used.target}; ` +
      `${room?.path ?? 'it'} may import ${rows === undefined || rows.length === 0 ? 'none' : rows.join(', ')}`,
  ];
}

function roomAllows(path: string, used: Import): boolean {
  const room = roomOf(path);
  if (room === undefined) return false;
  if (!used.ours) return room.packages.some((name) => packageFits(name, used.target));
  if (!used.target.endsWith('.ts')) return true;
  const own = room.path.endsWith('/') ? used.target.startsWith(room.path) : false;
  return own || room.mayImport.some((place) => used.target === place || isInside(used.target, place));
}

function isInside(path: string, place: string): boolean {
  return place.endsWith('/') && path.startsWith(place);
}

/** `node:fs` allows `node:fs/promises` too, a package its sub-paths, `@scope/*` a scope. */
function packageFits(allowed: string, name: string): boolean {
  if (allowed === '*' || allowed === name || name.startsWith(`${allowed}/`)) return true;
  return allowed.endsWith('/*') && name.startsWith(allowed.slice(0, -1));
}

/** Every circle once, as `a -> b -> a`. A thread's entry named by its URL starts anew and closes no circle. */
function circles(): readonly string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const used of byPath.get(path)?.imports ?? []) {
      if (used.ours && !used.byUrl) walk(used.target, [...trail, path]);
    }
    done.add(path);
  };
  for (const file of files) walk(file.path, []);
  return found;
}

/** The comment lines that a file begins with. */
function opening(file: SourceFile): string {
  const lines = file.text.replace(/^#!.*\n/, '').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  const sentence = lines.slice(0, end < 0 ? lines.length : end).map((line) => line.slice(2).trim());
  const first = sentence.findIndex((line) => /[.:]\)?$/.test(line));
  return first < 0 ? '' : `// ${sentence.slice(0, first + 1).join(' ')}`;
}

/** The ids of the rows of the format and of what is done with it. */
function explainedRows(): ReadonlySet<string> {
  const pages = ['docs/format-rows.md', 'docs/operation-rows.md'].map(readRepositoryFile);
  return new Set(
    pages.flatMap((page) => Array.from(page.matchAll(/^\| ([A-Z]{3}-\w+|T\d\d) \|/gm), ([, id = '']) => id)),
  );
}

function quotedRows(some: readonly SourceFile[]): readonly { readonly id: string; readonly path: string }[] {
  const rowId =
    /\b(?:(?:FMT|BIT|EXT|MAP|SUB|REF|CMP|ENC|DAT|SNT|BMP|CRE|AMD|OPT|OPS|ORD|CHK|LIM)-\w?\d+[a-d]?|T\d\d)\b/g;
  return some.flatMap(({ path, text }) => Array.from(text.matchAll(rowId), ([id]) => ({ id, path })));
}

/** Every package that package.json names. */
function readManifest(): readonly string[] {
  return Object.keys(readVersions());
}

/** The packages of all kinds, and their versions. */
function readVersions(): Readonly<Record<string, string>> {
  const manifest = JSON.parse(readRepositoryFile('package.json')) as Record<string, Record<string, string>>;
  return { ...manifest['dependencies'], ...manifest['devDependencies'], ...manifest['optionalDependencies'] };
}

/** What a package wants to find beside it. */
function peersOf(name: string): readonly string[] {
  const { peerDependencies } = JSON.parse(readRepositoryFile(`node_modules/${name}/package.json`)) as {
    readonly peerDependencies?: Readonly<Record<string, string>>;
  };
  return Object.keys(peerDependencies ?? {});
}

/** Links of a page to files of the repository that are not there. */
function brokenLinks(page: string): readonly string[] {
  const folder = page.includes('/') ? page.slice(0, page.lastIndexOf('/') + 1) : '';
  return Array.from(readRepositoryFile(page).matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g), (link) => link[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => !repositoryHas(`${folder}${target}`))
    .map((target) => `${page} links to ${target}`);
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '');
}

/** Fails with every broken place on its own line. */
function expectNone(broken: readonly string[]): void {
  assert.ok(broken.length === 0, `\n  ${broken.join('\n  ')}\n`);
}
