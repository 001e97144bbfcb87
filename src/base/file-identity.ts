// What tells a file from a changed or exchanged one.

import type { Brand } from './brand.ts';

/** Inode, length and time of the last change of a file, as one opaque text to compare. */
export type FileIdentity = Brand<string, 'FileIdentity'>;
