// What a job leaves that was cut in its middle, judged by qemu-img when the next process has opened it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { runTool } from '../support/qemu-img.ts';
import { makeTemplate, tear } from '../support/torn-jobs.ts';
import type { Template } from '../support/torn-jobs.ts';

/** Clean, or leaks (CHK-14). */
const soundExits: readonly number[] = [0, 3];

describe('a job that changes tables and was killed in its middle', { timeout: 300_000 }, () => {
  let template: Template;
  before(async () => {
    template = await makeTemplate();
  });
  after(() => {
    template[Symbol.dispose]();
  });

  const steps = {
    'shrink': 1,
    'repair': 0,
    'empty': 2,
    'snapshot-create': 3,
    'snapshot-delete': 3,
    'snapshot-revert': 3,
  } as const;
  for (const kind of Object.keys(steps) as (keyof typeof steps)[]) {
    test(`${kind} leaves what QEMU finds sound`, async () => {
      const cut = { kind, step: steps[kind], ending: 'crash', judgeFile: checkWithQemu } as const;
      assert.ok((await tear(template, cut)) !== undefined);
    });
  }
});

function checkWithQemu(path: string): void {
  const { exit, stderr } = runTool('qemu-img', ['check', '-f', 'qcow2', path], '');
  assert.ok(soundExits.includes(exit), `${exit}: ${stderr}`);
}
