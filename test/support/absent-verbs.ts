// Verbs of an open image that the small engine of the pool's tests does not have.

import { Fault } from '../../src/base/fault.ts';
import { PlainImage } from './plain-image.ts';

export class AbsentVerbs extends PlainImage {
  readonly empty = notHere;
  readonly rebase = notHere;
  readonly commit = notHere;
  readonly digest = notHere;
  readonly compareWith = notHere;
  readonly setRuntime = notHere;
  readonly bitmaps = notHere;
  readonly bitmap = notHere;
  readonly dirtyExtents = notHere;
  readonly createBitmap = notHere;
  readonly deleteBitmap = notHere;
  readonly clearBitmap = notHere;
  readonly setBitmapEnabled = notHere;
  readonly mergeBitmaps = notHere;
}

function notHere(): never {
  throw new Fault('unsupported-option', {});
}
