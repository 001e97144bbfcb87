// The engine that the product runs on: QCOW2 files.

import { Image, judgeHead } from '../engine/image.ts';
import type { Engine } from './engine.ts';

export const qcow2Engine: Engine = {
  open: (options) => Image.open(options),
  create: (path, spec) => Image.create(path, spec),
  judgeHead,
  admit: (options) => Image.admit(options),
};
