// What the tests of measuring ask for, unless they want something else.

import type { MeasureSpec } from '../../src/engine/image.ts';
import { plainForm } from './plain-spec.ts';

export const usual: MeasureSpec = { ...plainForm, backing: undefined, luks: undefined };
