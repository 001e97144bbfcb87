// Headers, snapshot tables, bitmaps and files that are damaged: check and repair say what QEMU's say, and leave the same.

import { everySecond } from '../../support/every-second.ts';
import { structureDamages } from './structure-damages.ts';
import { judgeLikeQemu } from './judge.ts';

judgeLikeQemu(everySecond(structureDamages));
