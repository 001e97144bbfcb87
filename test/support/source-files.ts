// Reads the house's own TypeScript files and tells what the tidy test asks about them.

import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

/** The root of the repository. */
const repositoryRoot = fileURLToPath(new URL('../..', import.meta.url));

/** One import or re-export of a file; a type-only one counts. */
export interface Import {
  /** A path from the root for a file of ours, else the specifier of a package or built-in. */
  readonly target: string;
  readonly ours: boolean;
  readonly line: number;
  /** Loads a thread's entry or a data file instead of importing it. */
  readonly byUrl: boolean;
}

/** A piece of syntax that the house does without, or that only some files may use. */
export interface Finding {
  readonly line: number;
  readonly what: string;
}

/** One TypeScript file of ours. */
export interface SourceFile {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lineCount: number;
  readonly imports: readonly Import[];
  /** `any`, enums, default exports, `export *`, `!`, namespaces. */
  readonly banned: readonly Finding[];
  /** Uses of the time, of chance and of the environment. */
  readonly worldly: readonly Finding[];
  /** Every string literal. */
  readonly literals: ReadonlySet<string>;
  /** Nothing in the file but imports and re-exports. */
  readonly onlyForwards: boolean;
}

/** Every TypeScript file under the given folders. */
export function readSourceFiles(folders: readonly string[]): readonly SourceFile[] {
  return folders
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: repositoryRoot }))
    .map((file) => file.split(path.sep).join('/'))
    .toSorted()
    .map(readSourceFile);
}

/** Every page of prose: at the root and under `docs/`. */
export function globDocuments(): readonly string[] {
  return globSync(['*.md', 'docs/**/*.md'], { cwd: repositoryRoot }).map((file) => file.split(path.sep).join('/'));
}

/** Whether the repository has this file. */
export function repositoryHas(file: string): boolean {
  return existsSync(path.join(repositoryRoot, file));
}

/** The text of a file of the repository. */
export function readRepositoryFile(file: string): string {
  return readFileSync(path.join(repositoryRoot, file), 'utf8');
}

function readSourceFile(file: string): SourceFile {
  return describeSource(file, readRepositoryFile(file));
}

/** What the tidy test wants to know of a file with this text at this path. */
export function describeSource(file: string, text: string): SourceFile {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true, ts.ScriptKind.TS);
  const imports: Import[] = [];
  const banned: Finding[] = [];
  const worldly: Finding[] = [];
  const literals = new Set<string>();

  const visit = (node: ts.Node): void => {
    const line = tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
    const specifier = importedBy(node);
    if (specifier !== undefined) imports.push({ ...resolve(file, specifier.text), line, byUrl: specifier.byUrl });
    const ban = bannedSyntax(node);
    if (ban !== undefined) banned.push({ line, what: ban });
    const use = worldlyUse(node);
    if (use !== undefined) worldly.push({ line, what: use });
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) literals.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(tree);

  return {
    path: file,
    text,
    lineCount: text.split('\n').length - 1,
    imports,
    banned,
    worldly,
    literals,
    onlyForwards: tree.statements.length > 0 && tree.statements.every(forwards),
  };
}

/** `import … from 'x'`, `export … from 'x'`, `import('x')`, `import type`, `new URL('./x', import.meta.url)`. */
function importedBy(node: ts.Node): { readonly text: string; readonly byUrl: boolean } | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return literalText(node.moduleSpecifier);
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return literalText(node.argument.literal);
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return literalText(node.arguments[0]);
  }
  if (!ts.isNewExpression(node) || node.expression.getText() !== 'URL') return undefined;
  const target = literalText(node.arguments?.[0]);
  if (target?.text.endsWith('.ts') !== true) return undefined;
  return { text: target.text, byUrl: true };
}

function literalText(node: ts.Node | undefined): { readonly text: string; readonly byUrl: boolean } | undefined {
  if (node === undefined || !ts.isStringLiteralLike(node)) return undefined;
  return { text: node.text, byUrl: false };
}

function resolve(from: string, specifier: string): { readonly target: string; readonly ours: boolean } {
  if (!specifier.startsWith('.')) return { target: specifier, ours: false };
  return { target: path.posix.normalize(path.posix.join(path.posix.dirname(from), specifier)), ours: true };
}

function bannedSyntax(node: ts.Node): string | undefined {
  if (node.kind === ts.SyntaxKind.AnyKeyword) return '`any`: say what it is, or `unknown`';
  if (ts.isEnumDeclaration(node)) return 'an enum: use a union of literals';
  if (ts.isExportAssignment(node)) return 'a default export: export by name';
  if (node.kind === ts.SyntaxKind.DefaultKeyword && ts.canHaveModifiers(node.parent)) {
    return 'a default export: export by name';
  }
  if (ts.isExportDeclaration(node) && node.exportClause === undefined) return '`export *`: import from the owner';
  if (ts.isNonNullExpression(node)) return '`!`: assert that it is there, with `present`';
  if (ts.isModuleDeclaration(node) && ts.isIdentifier(node.name)) return 'a namespace: use a file';
  return undefined;
}

const worldlyNames: ReadonlySet<string> = new Set([
  'process.env',
  'Date.now',
  'Math.random',
  'performance.now',
  'process.hrtime',
  'crypto.randomUUID',
  'crypto.getRandomValues',
]);
const worldlyFunctions: ReadonlySet<string> = new Set([
  'randomUUID',
  'randomBytes',
  'randomInt',
  'randomFillSync',
  'getRandomValues',
]);

function worldlyUse(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) {
    const name = node.getText();
    return worldlyNames.has(name) ? name : undefined;
  }
  if (ts.isImportSpecifier(node)) {
    const name = (node.propertyName ?? node.name).text;
    return worldlyFunctions.has(name) ? name : undefined;
  }
  const asksForNow = ts.isNewExpression(node) && node.expression.getText() === 'Date' && node.arguments?.length === 0;
  return asksForNow ? 'new Date()' : undefined;
}

function forwards(statement: ts.Statement): boolean {
  return ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement);
}
