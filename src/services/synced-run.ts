// A long run that writes much of an image: what it has written goes to the disk while it goes on.

import type { ServiceParts } from './service-parts.ts';
import type { WorkControl } from './work-control.ts';

/**
 * Does a run, with a control that also begins syncs of the file of `imageId` as it goes forwards; the run itself promises
 * what is durable. Without a control nobody hears how far it is, and nothing is synced ahead.
 */
export async function whileSynced<Result>(
  { directory }: Pick<ServiceParts, 'directory'>,
  work: { readonly imageId: string; readonly control: WorkControl | undefined },
  run: (control: WorkControl | undefined) => Promise<Result>,
): Promise<Result> {
  const { imageId, control } = work;
  if (control === undefined) return run(undefined);
  const syncs = await directory.openSyncs(imageId);
  let passed = 0;
  const onProgress = (done: number, total: number): void => {
    control.onProgress(done, total);
    syncs.passed(Math.max(0, done - passed));
    passed = done;
  };
  try {
    return await run({ ...control, onProgress });
  } finally {
    await syncs.close();
  }
}
