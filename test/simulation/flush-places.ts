// Every place in the engine that asks for a flush, found in its source.

import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const engine = fileURLToPath(new URL('../../src/engine/', import.meta.url));

/** Wrappers and real files: they are what is asked, and no part of the write order. */
const filesOnly: ReadonlySet<string> = new Set(['file/tracked-file.ts', 'file/node-file.ts']);

const asksForFlush = /\.(?:flush|settle)\(\)/;
const startsFunction = /^(?:export )?function\*? (\w+)|^ {2}(?:static |get )?\*?(#?\w+)(?:<[^>]*>)?\([^;]*\{$/;

/**
 * Place (`operations/snapshot.ts:92`) to name (`snapshot.ts deleteSnapshot 2`): the function, and which of its flushes it
 * is where it has several. Names outlive changes of the lines around.
 */
export function flushPlaces(): ReadonlyMap<string, string> {
  const found: { readonly place: string; readonly owner: string }[] = [];
  for (const path of globSync('**/*.ts', { cwd: engine }).toSorted()) {
    if (filesOnly.has(path)) continue;
    let owner = '';
    for (const [index, line] of readFileSync(`${engine}${path}`, 'utf8').split('\n').entries()) {
      const start = startsFunction.exec(line);
      if (start !== null) owner = `${path.slice(path.lastIndexOf('/') + 1)} ${start.slice(1).find(Boolean) ?? ''}`;
      if (asksForFlush.test(line) && !/^\s*(?:\*|\/\/)/.test(line)) {
        found.push({ place: `${path}:${String(index + 1)}`, owner });
      }
    }
  }
  return new Map(
    found.map(({ place, owner }) => {
      const siblings = found.filter((one) => one.owner === owner);
      const number = siblings.findIndex((one) => one.place === place) + 1;
      return [place, siblings.length === 1 ? owner : `${owner} ${String(number)}`];
    }),
  );
}
