// Bitmaps that are damaged: check and repair say what QEMU's say, and leave the same.

import { everySecond } from '../../support/every-second.ts';
import { bitmapDamages } from './bitmap-damages.ts';
import { judgeLikeQemu } from './judge.ts';

judgeLikeQemu(everySecond(bitmapDamages));
