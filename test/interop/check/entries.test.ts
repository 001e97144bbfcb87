// L1 and L2 entries that are damaged: check and repair say what QEMU's say, and leave the same.

import { everySecond } from '../../support/every-second.ts';
import { entryDamages } from './entry-damages.ts';
import { judgeLikeQemu } from './judge.ts';

judgeLikeQemu(everySecond(entryDamages));
