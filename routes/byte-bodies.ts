// Bodies that are bytes: taken from the raw stream whatever they call themselves, but never out of a form.

import { Fault } from '../src/base/fault.ts';
import type { App } from '../src/http/schema.ts';

/** Lets the routes of this scope read their bodies themselves. */
export function takeAnyBody(app: App): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('multipart/form-data', (_request, _payload, done) => {
    done(new Fault('unsupported-media-type', { mediaType: 'multipart/form-data' }));
  });
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(null, undefined);
  });
}
