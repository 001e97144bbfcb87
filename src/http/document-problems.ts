// Problems in the OpenAPI document: a schema for each code, and the answers of an operation that may meet them.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { AnswerHeader } from './document-headers.ts';
import { everywhere, headerReferences } from './document-headers.ts';
import { explainProblems, findProblem, problemMediaType, shownMembersOf, toProblem } from './problem.ts';
import type { ProblemExplanation } from './problem.ts';
import type { WireCode } from './problem-texts.ts';

/** A member that some problems have: a schema and a value that fits it, undefined where none is shown. */
export interface ProblemMember {
  readonly schema: object;
  readonly example: unknown;
}

/** Members by name, or by `code.name` where a name means something else with one code. */
export type ProblemMembers = Readonly<Record<string, ProblemMember>>;

/** What any operation may meet, whatever it does. */
const everyProblem = [
  'invalid-request',
  'forbidden',
  'request-timeout',
  'uri-too-long',
  'unsupported-media-type',
  'headers-too-large',
  'internal',
  'draining',
] as const satisfies readonly WireCode[];

/** The name of a code's schema: `ImageNotFoundProblem`. */
function problemSchemaName(code: string): string {
  return `${pascalCase(code)}Problem`;
}

/** A schema for every code, built on the one of all problems. */
export function problemSchemas(members: ProblemMembers): Readonly<Record<string, object>> {
  return Object.fromEntries(
    explainProblems().map(({ code, cause }) => {
      const own = shownMembersOf(code).map((name) => [name, memberOf(members, { code, name }).schema]);
      const named = Object.fromEntries(own) as Readonly<Record<string, object>>;
      const properties = { code: { type: 'string', enum: [code] }, ...named };
      const base = { $ref: '#/components/schemas/Problem' };
      return [
        problemSchemaName(code),
        { description: cause, allOf: [base, { type: 'object', properties, required: ['code'] }] },
      ];
    }),
  );
}

/** An example of every problem, under the name of its schema. */
export function problemExamples(members: ProblemMembers): Readonly<Record<string, object>> {
  return Object.fromEntries(
    explainProblems().map((problem) => [problemSchemaName(problem.code), exampleOf(problem, members)]),
  );
}

/** The answer to a request that meets one of the problems of a status. */
export interface ProblemAnswer {
  readonly status: number;
  /** A name for an answer that says few things, as many operations say them: `InternalOrIoError`. */
  readonly name: string | undefined;
  readonly answer: object;
}

/** An answer that can say more than this is that of one operation only. */
const namedCodesMax = 3;

/** The answers of an operation that may meet these problems and those that every operation may, by status. */
export function problemAnswers(codes: readonly WireCode[]): readonly ProblemAnswer[] {
  const known = [...new Set<WireCode>([...everyProblem, ...codes])].map(explained);
  const statuses = [...new Set(known.map(({ status }) => status))].toSorted((one, other) => one - other);
  return statuses.map((status) => {
    const alike = known.filter((problem) => problem.status === status).toSorted(byCode);
    const name = alike.length > namedCodesMax ? undefined : alike.map(({ code }) => pascalCase(code)).join('Or');
    return { status, name, answer: answerOf(alike) };
  });
}

function answerOf(problems: readonly ProblemExplanation[]): object {
  const references = problems.map(({ code }) => ({ $ref: `#/components/schemas/${problemSchemaName(code)}` }));
  const mapping = Object.fromEntries(problems.map(({ code }, index) => [code, references[index]?.$ref]));
  const discriminator = { propertyName: 'code', mapping };
  const examples = problems.map(({ code }) => [code, { $ref: `#/components/examples/${problemSchemaName(code)}` }]);
  return {
    description: problems.map(({ code, title }) => `\`${code}\`: ${title}.`).join('\n\n'),
    headers: headerReferences([everywhere.sends, ...headersOf(problems)]),
    content: {
      [problemMediaType]: {
        schema: references.length === 1 ? references[0] : { oneOf: references, discriminator },
        examples: Object.fromEntries(examples) as object,
      },
    },
  };
}

function headersOf(problems: readonly ProblemExplanation[]): readonly AnswerHeader[] {
  const [first] = problems;
  if (first?.status === 401) return ['WWW-Authenticate'];
  if (first?.status === 416) return ['Content-Range?'];
  return first?.status === 503 ? ['Retry-After'] : [];
}

function exampleOf({ code, title }: ProblemExplanation, members: ProblemMembers): object {
  const shown = shownMembersOf(code)
    .map((name) => [name, memberOf(members, { code, name }).example])
    .filter(([, value]) => value !== undefined);
  const context = Object.fromEntries(shown) as Readonly<Record<string, unknown>>;
  const request = { instance: '/v1/images/vm1', requestId: '0f1c7a52-6f0e-4a43-9c36-0a6a3c1d2b58' };
  const { body } = toProblem(new Fault(code === 'image-corrupt' ? 'l2-entry-invalid' : code, context), request);
  return { summary: title, value: body };
}

function memberOf(members: ProblemMembers, { code, name }: { readonly code: string; readonly name: string }) {
  return present(members[`${code}.${name}`] ?? members[name], `the member ${name} of the problem ${code} has a schema`);
}

function explained(code: WireCode): ProblemExplanation {
  return present(findProblem(code), `a problem is called ${code}`);
}

function byCode(one: ProblemExplanation, other: ProblemExplanation): number {
  return one.code < other.code ? -1 : 1;
}

function pascalCase(code: string): string {
  return code
    .split('-')
    .map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`)
    .join('');
}
