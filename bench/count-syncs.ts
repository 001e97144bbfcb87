// Preloaded into every thread of a service: each fdatasync leaves a byte in the file that SYNC_LOG names.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const log = fs.openSync(process.env['SYNC_LOG'] ?? '/dev/null', 'a');
const mark = Buffer.from('.');
const { fdatasyncSync } = fs;
fs.fdatasyncSync = (descriptor: number): void => {
  fs.writeSync(log, mark);
  fdatasyncSync(descriptor);
};
syncBuiltinESMExports();
