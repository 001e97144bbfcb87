// Turns faults into RFC 9457 problem details: the only place that knows status numbers.

import { faultCodes } from '../base/fault-codes.ts';
import type { FaultCode, FaultKind } from '../base/fault-codes.ts';
import { Fault } from '../base/fault.ts';
import type { ProblemText } from './problem-text.ts';
import { problemTexts, renamedCodes } from './problem-texts.ts';
import type { WireCode } from './problem-texts.ts';

/** A problem as it is sent. */
export interface Problem {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ProblemBody;
}

/** The members that every problem has; others follow by code. */
export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: WireCode;
  readonly requestId: string;
  readonly [member: string]: unknown;
}

/** One problem as `/problems/<code>` explains it. */
export interface ProblemExplanation {
  readonly code: WireCode;
  readonly status: number;
  readonly title: string;
  readonly cause: string;
  readonly cure: string;
}

export const problemMediaType = 'application/problem+json';

const statusByKind: Readonly<Record<FaultKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  timeout: 408,
  conflict: 409,
  locked: 423,
  precondition: 412,
  too_large: 413,
  uri_too_long: 414,
  media_type: 415,
  range: 416,
  unprocessable: 422,
  unsupported: 422,
  headers_too_large: 431,
  corrupt: 500,
  internal: 500,
  unavailable: 503,
  storage: 507,
};

const retryAfterSeconds = 1;

/** Any error as a problem; what is no fault is `internal` and says nothing of itself. */
export function toProblem(error: unknown, request: { readonly instance: string; readonly requestId: string }): Problem {
  const fault = error instanceof Fault ? error : new Fault('internal', {});
  const code = wireCodeOf(fault.code);
  const status = statusOf(code);
  const members = shownMembers(fault, problemTexts[code]);
  const body: ProblemBody = {
    type: `/problems/${code}`,
    title: titleOf(code),
    status,
    detail: detailOf(fault, code),
    instance: request.instance,
    code,
    requestId: request.requestId,
    ...members,
    ...(code === 'image-corrupt' ? { checkHint: checkHint(request.instance) } : {}),
  };
  return { status, headers: headersOf(fault, code), body };
}

/** A problem's bytes, ending with a newline. */
export function printProblem(body: ProblemBody): Buffer {
  return Buffer.from(`${JSON.stringify(body)}\n`);
}

/** The code under which clients know a fault. */
export function wireCodeOf(code: FaultCode): WireCode {
  const { kind } = faultCodes[code];
  if (kind === 'corrupt') return 'image-corrupt';
  if (kind === 'unsupported') return 'unsupported-option';
  if (isRenamed(code)) return renamedCodes[code];
  return code as WireCode;
}

/** All problems, in the order of their statuses. */
export function explainProblems(): readonly ProblemExplanation[] {
  const codes = Object.keys(problemTexts) as WireCode[];
  return codes.map(explainProblem).toSorted((one, other) => one.status - other.status);
}

/** One problem, or undefined when no problem has this code. */
export function findProblem(code: string): ProblemExplanation | undefined {
  return Object.hasOwn(problemTexts, code) ? explainProblem(code as WireCode) : undefined;
}

/** The members that a problem of this code may have beside those that all have. */
export function shownMembersOf(code: WireCode): readonly string[] {
  return code === 'image-corrupt' ? [...problemTexts[code].members, 'checkHint'] : problemTexts[code].members;
}

function explainProblem(code: WireCode): ProblemExplanation {
  const { cause, cure } = problemTexts[code];
  return { code, status: statusOf(code), title: titleOf(code), cause, cure };
}

function isRenamed(code: FaultCode): code is keyof typeof renamedCodes {
  return Object.hasOwn(renamedCodes, code);
}

function statusOf(code: WireCode): number {
  return statusByKind[code === 'image-corrupt' ? 'corrupt' : faultCodes[code].kind];
}

function titleOf(code: WireCode): string {
  return code === 'image-corrupt' ? 'The image is corrupt' : faultCodes[code].title;
}

/** What happened, then what to do next. */
function detailOf(fault: Fault, code: WireCode): string {
  const text: ProblemText = problemTexts[code];
  // A code that lost its name on the way to the wire still says what it found.
  const found = code === fault.code ? undefined : `${faultCodes[fault.code].title}.`;
  const facts = code === 'internal' ? undefined : (text.detail?.(fault.context) ?? found);
  return facts === undefined ? text.cure : `${facts} ${text.cure}`;
}

function shownMembers(fault: Fault, text: ProblemText): Record<string, unknown> {
  const shown = text.members.filter((member) => fault.context[member] !== undefined);
  return Object.fromEntries(shown.map((member) => [member, fault.context[member]]));
}

/** Where to check the image that the request was about. */
function checkHint(instance: string): string {
  const image = /^\/v1\/images\/[^/]+/.exec(instance);
  return `POST ${image === null ? '/v1/images/{image}' : image[0]}/check`;
}

function headersOf(fault: Fault, code: WireCode): Record<string, string> {
  if (code === 'range-not-satisfiable' && typeof fault.context['size'] === 'number') {
    return { 'content-range': `bytes */${fault.context['size']}` };
  }
  if (code === 'method-not-allowed' && Array.isArray(fault.context['allow'])) {
    return { allow: fault.context['allow'].join(', ') };
  }
  if (code === 'unauthenticated') {
    const reason = fault.context['given'] === 'unknown' ? ', error="invalid_token"' : '';
    return { 'www-authenticate': `Bearer realm="qcowd"${reason}` };
  }
  if (statusOf(code) === statusByKind.unavailable) return { 'retry-after': String(retryAfterSeconds) };
  return {};
}
