// Every hostile image: at most 1 MiB each, made without QEMU.

import { hostileHeaders } from './hostile-headers.ts';
import type { HostileImage } from './hostile-headers.ts';
import { hostileTables } from './hostile-tables.ts';

export const hostileImages: readonly HostileImage[] = [...hostileHeaders, ...hostileTables];
