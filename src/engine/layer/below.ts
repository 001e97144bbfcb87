// What is met beneath an image belongs to the layer below: its corruption is told apart from the image's own.

import { Fault } from '../../base/fault.ts';

/** Asks the layer below; a corruption that it meets says in its facts how far down it was met. */
export function askBelow<Answer>(ask: () => Answer): Answer {
  try {
    return ask();
  } catch (error) {
    if (!(error instanceof Fault) || error.kind !== 'corrupt') throw error;
    throw new Fault(error.code, { ...error.context, layersBelow: layersBelow(error) + 1 });
  }
}

/** How many layers beneath the image a corruption was met; 0 for the image itself. */
export function layersBelow(fault: Fault): number {
  const met = fault.context['layersBelow'];
  return typeof met === 'number' ? met : 0;
}
