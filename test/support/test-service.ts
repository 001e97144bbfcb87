// The whole service over a folder of its own, on the calling thread, for tests of its routes.

import type { Response } from 'supertest';

import { createApplication } from '../../src/app.ts';
import type { Application } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { requestsTo } from './http-client.ts';
import type { HttpClient } from './http-client.ts';
import { tempFolder } from './temp-folder.ts';

/** A running service, and requests to it. */
export interface TestService extends AsyncDisposable, HttpClient {
  readonly application: Application;
  readonly folder: string;
  /** Makes an image; the body of the answer. */
  readonly create: (body: Readonly<Record<string, unknown>>) => Promise<ImageBody>;
  /** Writes bytes at an offset. */
  readonly write: (image: string, offset: number, bytes: Buffer) => Promise<Response>;
}

/** What tests look at in an image. */
export interface ImageBody {
  readonly id: string;
  readonly name: string;
  readonly virtualSize: number;
  readonly generation: number;
  readonly version: number;
  readonly [member: string]: unknown;
}

/** `change` are settings beside those that every test has. */
export async function startTestService(change: Readonly<Record<string, string>> = {}): Promise<TestService> {
  const folder = tempFolder();
  const settings = {
    QCOWD_DATA_DIR: folder.path,
    QCOWD_LOG_LEVEL: 'silent',
    QCOWD_PORT: '0',
    // The file system of the tests does not decide what they see.
    QCOWD_HOST_COPY: 'never',
    ...change,
  };
  const application = await createApplication({
    config: loadConfig(settings, { cores: 1 }),
    identity: { name: 'qcowd', version: '0.0.0-test' },
    engine: 'inline',
  });
  await application.listen();
  const client = requestsTo(application.server.server);
  const write = async (image: string, offset: number, bytes: Buffer): Promise<Response> =>
    client
      .put(`/v1/images/${image}/data`)
      .set('Content-Range', `bytes ${offset}-${offset + bytes.length - 1}/*`)
      .send(bytes)
      .expect(204);
  const create = async (body: Readonly<Record<string, unknown>>): Promise<ImageBody> => {
    const answer = await client.post('/v1/images', body).expect(201);
    return answer.body as ImageBody;
  };
  return {
    application,
    folder: folder.path,
    ...client,
    create,
    write,
    [Symbol.asyncDispose]: async () => {
      await application.stop();
      folder[Symbol.dispose]();
    },
  };
}

/** The code of a problem. */
export function codeOf(response: Response): string {
  return (response.body as { readonly code: string }).code;
}

/** The pointers of an invalid request. */
export function pointersOf(response: Response): readonly string[] {
  const { errors } = response.body as { readonly errors: readonly { readonly pointer: string }[] };
  return errors.map(({ pointer }) => pointer);
}

/** Bytes that look alike nowhere. */
export function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0 || 1;
  for (let index = 0; index < length; index += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
