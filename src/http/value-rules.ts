// What a value should have been, in words for whoever sent another one: instead of the schema library's own messages.

import type { z } from 'zod';

type Issue = Parameters<z.core.$ZodErrorMap>[0];

/** What is wrong with a value; undefined leaves it to the words of the schema. */
export function explainIssue(issue: Issue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return missing;
      // A query that names a value twice comes as a list.
      if (issue.expected === 'string' && Array.isArray(issue.input)) return 'must be one value, not several';
      return `must be ${kindOf(issue.expected)}, not ${kindGiven(issue.input)}`;
    case 'invalid_value': {
      const list = issue.values.map((value) => JSON.stringify(value)).join(', ');
      const rule = issue.values.length === 1 ? `must be ${list}` : `must be one of ${list}`;
      if (Array.isArray(issue.input)) return `${rule}, once`;
      return issue.input === undefined ? `${missing}: it ${rule}` : rule;
    }
    case 'too_small':
      return `must ${verbOf(issue.origin)} at least ${counted(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `must ${verbOf(issue.origin)} at most ${counted(issue.maximum, issue.origin)}`;
    case 'invalid_key': {
      const [inner] = issue.issues;
      return inner?.message === undefined ? undefined : `cannot be called so: ${inner.message}`;
    }
    default:
      return undefined;
  }
}

const missing = 'is missing';

const kinds: Readonly<Record<string, string>> = {
  string: 'a text in quotes',
  number: 'a number without quotes',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object in braces',
  record: 'an object in braces',
  array: 'a list in brackets',
  null: 'null',
};

function kindOf(expected: string): string {
  return kinds[expected] ?? expected;
}

function kindGiven(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'string') return 'a text in quotes';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value);
}

function verbOf(origin: string): string {
  return unitOf(origin) === '' ? 'be' : 'have';
}

function counted(count: number | bigint, origin: string): string {
  const unit = unitOf(origin);
  return `${String(count)}${count === 1 ? unit.replace(/s$/u, '') : unit}`;
}

function unitOf(origin: string): string {
  switch (origin) {
    case 'string':
      return ' characters';
    case 'array':
    case 'set':
      return ' items';
    case 'map':
    case 'record':
    case 'object':
      return ' members';
    default:
      return '';
  }
}
