// Prefer (RFC 7240): how long a client waits for the end of long work.

import type { IncomingHttpHeaders } from 'node:http';

const waitSecondsDefault = 5;
export const waitSecondsMax = 60;

/**
 * The wait in milliseconds: `wait=N` in seconds, at most 60; `respond-async` alone does not wait; 5 seconds without.
 * Preferences are wishes: one that cannot be read, or is not known, is as if it were not there.
 */
export function waitMsOf(headers: IncomingHttpHeaders): number {
  const given = headers['prefer'];
  if (given === undefined) return waitSecondsDefault * 1000;
  const preferences = (Array.isArray(given) ? given.join(',') : given)
    .split(',')
    .map((text) => text.trim().toLowerCase());
  const wait = preferences.map(waitOf).find((seconds) => seconds !== undefined);
  if (wait !== undefined) return Math.min(wait, waitSecondsMax) * 1000;
  return preferences.some((text) => nameOf(text) === 'respond-async') ? 0 : waitSecondsDefault * 1000;
}

function waitOf(preference: string): number | undefined {
  const match = /^wait\s*=\s*"?(\d{1,9})"?\s*(;|$)/.exec(preference);
  return match === null ? undefined : Number(match[1]);
}

function nameOf(preference: string): string {
  return (/^[^\s=;]*/.exec(preference) ?? [''])[0];
}
