// Prefer (RFC 7240): how long a client waits for the end of long work.

import type { IncomingHttpHeaders } from 'node:http';

const waitSecondsDefault = 5;
export const waitSecondsMax = 60;

/** How long a client waits. */
export interface Patience {
  readonly waitMs: number;
  /** The preference that says so, for `Preference-Applied`; undefined when the client said nothing of it. */
  readonly applied: string | undefined;
}

/**
 * `wait=N` in seconds, at most 60; `respond-async` alone does not wait; 5 seconds without. Preferences are wishes: one
 * that cannot be read, or is not known, is as if it were not there.
 */
export function patienceOf(headers: IncomingHttpHeaders): Patience {
  const given = headers['prefer'];
  const usual = { waitMs: waitSecondsDefault * 1000, applied: undefined };
  if (given === undefined) return usual;
  const preferences = (Array.isArray(given) ? given.join(',') : given)
    .split(',')
    .map((text) => text.trim().toLowerCase());
  const wait = preferences.map(waitOf).find((seconds) => seconds !== undefined);
  if (wait !== undefined) {
    const seconds = Math.min(wait, waitSecondsMax);
    return { waitMs: seconds * 1000, applied: `wait=${seconds}` };
  }
  const atOnce = preferences.some((text) => nameOf(text) === 'respond-async');
  return atOnce ? { waitMs: 0, applied: 'respond-async' } : usual;
}

function waitOf(preference: string): number | undefined {
  const match = /^wait\s*=\s*"?(\d{1,9})"?\s*(;|$)/.exec(preference);
  return match === null ? undefined : Number(match[1]);
}

function nameOf(preference: string): string {
  return (/^[^\s=;]*/.exec(preference) ?? [''])[0];
}
