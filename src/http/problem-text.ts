// The form of a problem's texts, and what they take from a fault's context.

import { faultCodes } from '../base/fault-codes.ts';
import type { FaultContext } from '../base/fault.ts';

/** The texts of one problem code. */
export interface ProblemText {
  /** Why this happens; served at `/problems/<code>`. */
  readonly cause: string;
  /** What to do next; served at `/problems/<code>`. */
  readonly cure: string;
  /** The members of a fault's context that clients see. Nothing else leaves the process. */
  readonly members: readonly string[];
  /** What happened this time, from the fault's context; the cure follows it. Undefined says nothing more. */
  readonly detail: ((context: FaultContext) => string | undefined) | undefined;
}

/** A fact as text; `?` stands for one that is not there. */
export function textOf(context: FaultContext, key: string): string {
  const value = context[key];
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '?';
}

/** The option that a reason is about, before it: reasons begin with "must" or name their own subject. */
export function optionOf(context: FaultContext): string {
  const says = textOf(context, 'reason');
  const isPredicate = says.startsWith('must ') || says.startsWith('needs ');
  return isPredicate && context['option'] !== undefined ? `${textOf(context, 'option')} ` : '';
}

export function listOf(context: FaultContext, key: string): readonly unknown[] {
  const value = context[key];
  return Array.isArray(value) ? value : [];
}

/** One violation of `unsafe-image` as a sentence: what its code says, and which file or reason it names. */
export function violationOf(violation: unknown): string {
  const { code, fileName, reason, ...facts } = violation as FaultContext;
  if (code === 'image-corrupt') {
    return `A check finds ${textOf(facts, 'corruptions')} corruptions and ${textOf(facts, 'checkErrors')} check errors.`;
  }
  const title = typeof code === 'string' && isFaultCode(code) ? faultCodes[code].title : String(code);
  const fact = typeof fileName === 'string' ? fileName : reason;
  return typeof fact === 'string' ? `${title}: ${fact}.` : `${title}.`;
}

function isFaultCode(code: string): code is keyof typeof faultCodes {
  return Object.hasOwn(faultCodes, code);
}
