// Refcounts, refcount blocks and refcount tables that are damaged: check and repair say what QEMU's say, and leave the same.

import { everySecond } from '../../support/every-second.ts';
import { refcountDamages } from './refcount-damages.ts';
import { judgeLikeQemu } from './judge.ts';

judgeLikeQemu(everySecond(refcountDamages));
