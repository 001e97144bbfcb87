// Runs on files that nobody has open, or that do not exist: making and measuring an image file, taking a foreign one in.

import type { Steps } from '../engine/image.ts';
import type { Engine } from './engine.ts';
import type { RequestBody } from './messages.ts';
import type {
  AdmitRequest,
  CheckReport,
  CreateRequest,
  ImageDescription,
  JudgeHeadRequest,
  MeasuredSize,
  MeasureRequest,
} from './protocol.ts';

/** A request for such a run. */
export type FileRunRequest = Extract<RequestBody, { readonly kind: 'create' | 'judgeHead' | 'measure' | 'admit' }>;

/** Its steps; nothing is done before the first. */
export function fileRunOf(engine: Engine, body: FileRunRequest): Steps<unknown> {
  switch (body.kind) {
    case 'create':
      return createFile(engine, body.request);
    case 'judgeHead':
      return judgeHead(engine, body.request);
    case 'measure':
      return measureFile(engine, body.request);
    case 'admit':
      return adoptFile(engine, body.request);
  }
}

/** Makes the file and tells what has become of it. */
function* createFile(engine: Engine, request: CreateRequest): Steps<ImageDescription> {
  const { path, spec, backing } = request;
  yield* engine.create(path, spec);
  const image = engine.open({ path, writable: false, backing, dataFile: spec.dataFile });
  try {
    return image.describe();
  } finally {
    image.close();
  }
}

/** Judges what has come of the file; one step. */
function* judgeHead(engine: Engine, request: JudgeHeadRequest): Steps<Record<never, never>> {
  engine.judgeHead(request.head, { backing: request.backing });
  return {};
}

/** Measures a file that there is not yet; one step. */
function* measureFile(engine: Engine, request: MeasureRequest): Steps<MeasuredSize> {
  return engine.measure(request.spec, request.virtualSize);
}

/** Judges the file and makes it sound. */
function* adoptFile(
  engine: Engine,
  request: AdmitRequest,
): Steps<{ description: ImageDescription; report: CheckReport }> {
  const { path, backing, below, repair } = request;
  return yield* engine.admit({ path, backing, below, repair });
}
