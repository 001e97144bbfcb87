// Encrypted and packed images, and images with a data file, that are damaged: check and repair say what QEMU's say.

import { everySecond } from '../../support/every-second.ts';
import { layoutDamages } from './layout-damages.ts';
import { judgeLikeQemu } from './judge.ts';

judgeLikeQemu(everySecond(layoutDamages));
