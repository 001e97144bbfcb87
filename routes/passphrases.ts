// What a request brings for encrypted images.

import type { FastifyRequest } from 'fastify';

import { passphrasesIn } from '../src/http/image-passphrase.ts';
import { Passphrases } from '../src/services/services.ts';

/** From `Image-Passphrase`; undefined without it. Faults `invalid-request`. */
export function passphrasesOf(request: Pick<FastifyRequest, 'headers'>): Passphrases | undefined {
  const given = passphrasesIn(request);
  return given && Passphrases.of(given);
}
