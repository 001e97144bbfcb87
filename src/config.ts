// All settings: one zod schema over the environment, with defaults; frozen slices out.

import { z } from 'zod';

import { isPowerOfTwo } from './base/integers.ts';
import { isLoopback } from './base/loopback.ts';
import { KiB, MiB, TiB } from './base/units.ts';

/** Each part of the service receives its slice. */
export interface Config {
  readonly http: {
    readonly host: string;
    /** 0 takes any free port. */
    readonly port: number;
    /** Names besides loopback that the service is reached by, in lower case. */
    readonly hosts: readonly string[];
    /** A certificate and its key, as paths of PEM files. */
    readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
    /** A list of tokens; without one, and only on a loopback address, nobody is asked for any. */
    readonly tokensFile: string | undefined;
    /** Whether only this machine can reach the address. */
    readonly isLoopback: boolean;
  };
  readonly log: { readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent' };
  readonly data: {
    readonly directory: string;
    /** How much all image files together may occupy, in bytes; undefined for as much as there is. */
    readonly quotaBytes: number | undefined;
  };
  readonly pool: {
    /** Whether data that goes from file to file is copied by the file system; `auto`: where blocks are shared by it. */
    readonly hostCopy: 'auto' | 'always' | 'never';
    readonly engineThreads: number;
    /** Threads that pack clusters. */
    readonly codecThreads: number;
    /** `qemu`: open images hold QEMU's byte locks. */
    readonly locks: 'qemu' | 'none';
    /** How much memory the cached tables of all open images may take together, in bytes. */
    readonly cacheBytes: number;
  };
  readonly images: {
    readonly idleMs: number;
    /** How images are run for which nobody asks for something else; undefined leaves it to the engine. */
    readonly runtime: {
      readonly l2CacheBytes: number | undefined;
      readonly l2CacheEntryBytes: number | undefined;
      readonly refcountCacheBytes: number | undefined;
      readonly cacheBytes: number | undefined;
      readonly cacheCleanSeconds: number | undefined;
    };
  };
}

/** Settings that cannot be used; each line is a sentence for a person. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const prefix = 'QCOWD_';
const threadsMin = 4;
const threadsMax = 256;
/** As many as QEMU has (LIM-10), on a machine with as many cores. */
const codecThreadsDefaultMax = 4;
/** Every open image keeps a little in any case, so less than this would be no limit. */
const cacheBytesMin = 1 * MiB;
const cacheBytesDefault = 256 * MiB;
const cacheBytesMax = 1 * TiB;
/** A name, or an address of IPv4 or (without brackets) of IPv6. */
const hostPattern = /^[a-z0-9_.:-]+$/;
/** What a cached stretch of a table may be, in bytes, and how many of them a cache holds at least (OPT-02). */
const entryBytesMin = 512;
const entryBytesMax = 2 * MiB;
const entryBytesDefault = 4 * KiB;
const cacheEntriesMin = 16;
/** Both caches of an image. */
const imageCacheBytesMin = cacheEntriesMin * (entryBytesMin + entryBytesDefault);
const cleanSecondsMax = 24 * 60 * 60;
const idleMsMax = 24 * 60 * 60 * 1000;

const Settings = z.strictObject({
  QCOWD_HOST: z.string().default('127.0.0.1'),
  QCOWD_PORT: wholeNumber({ min: 0, max: 65_535 }).default(8080),
  QCOWD_DATA_DIR: z.string().min(1, { error: 'a folder' }).default('./data'),
  QCOWD_ENGINE_THREADS: wholeNumber({ min: 1, max: threadsMax }).optional(),
  QCOWD_CODEC_THREADS: wholeNumber({ min: 1, max: threadsMax }).optional(),
  QCOWD_IMAGE_IDLE_MS: wholeNumber({ min: 0, max: idleMsMax }).default(10_000),
  QCOWD_CACHE_BYTES: wholeNumber({ min: cacheBytesMin, max: cacheBytesMax }).default(cacheBytesDefault),
  QCOWD_L2_CACHE_BYTES: wholeNumber({ min: cacheEntriesMin * entryBytesMin, max: cacheBytesMax }).optional(),
  QCOWD_L2_CACHE_ENTRY_BYTES: powerOfTwo({ min: entryBytesMin, max: entryBytesMax }).optional(),
  QCOWD_REFCOUNT_CACHE_BYTES: wholeNumber({ min: cacheEntriesMin * entryBytesDefault, max: cacheBytesMax }).optional(),
  QCOWD_IMAGE_CACHE_BYTES: wholeNumber({ min: imageCacheBytesMin, max: cacheBytesMax }).optional(),
  QCOWD_CACHE_CLEAN_SECONDS: wholeNumber({ min: 0, max: cleanSecondsMax }).optional(),
  QCOWD_QEMU_LOCKS: oneOf(['on', 'off']).default('on'),
  QCOWD_HOST_COPY: oneOf(['auto', 'always', 'never']).default('auto'),
  QCOWD_HOSTS: z
    .string()
    .default('')
    .transform((text) =>
      text
        .toLowerCase()
        .split(',')
        .map((name) => name.trim()),
    )
    .transform((names) => names.filter((name) => name !== ''))
    .refine((names) => names.every((name) => hostPattern.test(name)), {
      error: 'names of hosts without ports, with commas between them',
    }),
  QCOWD_QUOTA_BYTES: wholeNumber({ min: 1, max: Number.MAX_SAFE_INTEGER }).optional(),
  QCOWD_TOKENS_FILE: z.string().optional(),
  QCOWD_TLS_CERT_FILE: z.string().optional(),
  QCOWD_TLS_KEY_FILE: z.string().optional(),
  QCOWD_LOG_LEVEL: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
});

/**
 * Reads the settings out of an environment. An empty value is the default; what Kubernetes injects for a service
 * called qcowd is ignored. Throws {@link ConfigError} for values that cannot be used and for unknown keys of ours.
 */
export function loadConfig(
  environment: Readonly<Record<string, string | undefined>>,
  machine: { readonly cores: number },
): Config {
  const ours = Object.entries(environment).filter(
    ([key, value]) => key.startsWith(prefix) && value !== undefined && value !== '' && !isInjected(key, value),
  );
  const given = Object.fromEntries(ours);
  const result = Settings.safeParse(given);
  if (!result.success) {
    throw new ConfigError(result.error.issues.flatMap((issue) => explainIssue(issue, given)).join('\n'));
  }
  const settings = result.data;
  return Object.freeze({
    http: Object.freeze({
      host: settings.QCOWD_HOST,
      port: settings.QCOWD_PORT,
      hosts: Object.freeze(settings.QCOWD_HOSTS),
      tls: tlsOf({ certFile: settings.QCOWD_TLS_CERT_FILE, keyFile: settings.QCOWD_TLS_KEY_FILE }),
      tokensFile: settings.QCOWD_TOKENS_FILE,
      isLoopback: isLoopback(settings.QCOWD_HOST),
    }),
    log: Object.freeze({ level: settings.QCOWD_LOG_LEVEL }),
    data: Object.freeze({ directory: settings.QCOWD_DATA_DIR, quotaBytes: settings.QCOWD_QUOTA_BYTES }),
    pool: Object.freeze({
      engineThreads: settings.QCOWD_ENGINE_THREADS ?? Math.max(threadsMin, machine.cores),
      codecThreads: settings.QCOWD_CODEC_THREADS ?? Math.min(codecThreadsDefaultMax, machine.cores),
      hostCopy: settings.QCOWD_HOST_COPY,
      locks: settings.QCOWD_QEMU_LOCKS === 'on' ? 'qemu' : 'none',
      cacheBytes: settings.QCOWD_CACHE_BYTES,
    }),
    images: Object.freeze({ idleMs: settings.QCOWD_IMAGE_IDLE_MS, runtime: runtimeOf(settings) }),
  });
}

function runtimeOf(settings: z.output<typeof Settings>): Config['images']['runtime'] {
  const l2CacheBytes = settings.QCOWD_L2_CACHE_BYTES;
  const l2CacheEntryBytes = settings.QCOWD_L2_CACHE_ENTRY_BYTES;
  const fewest = cacheEntriesMin * (l2CacheEntryBytes ?? entryBytesDefault);
  if (l2CacheBytes !== undefined && l2CacheBytes < fewest) {
    throw new ConfigError(`QCOWD_L2_CACHE_BYTES: at least ${fewest}, for ${cacheEntriesMin} entries.`);
  }
  const refcountCacheBytes = settings.QCOWD_REFCOUNT_CACHE_BYTES;
  const cacheBytes = settings.QCOWD_IMAGE_CACHE_BYTES;
  judgeTotal(cacheBytes, {
    QCOWD_L2_CACHE_BYTES: l2CacheBytes,
    QCOWD_REFCOUNT_CACHE_BYTES: refcountCacheBytes,
    least: fewest + cacheEntriesMin * entryBytesDefault,
  });
  return Object.freeze({
    l2CacheBytes,
    l2CacheEntryBytes,
    refcountCacheBytes,
    cacheBytes,
    cacheCleanSeconds: settings.QCOWD_CACHE_CLEAN_SECONDS,
  });
}

/** OPT-04: at most one of the parts stands beside the total, and none is above it. */
function judgeTotal(
  total: number | undefined,
  {
    least,
    ...parts
  }: Readonly<Record<'QCOWD_L2_CACHE_BYTES' | 'QCOWD_REFCOUNT_CACHE_BYTES', number | undefined>> & {
    /** What the shortest caches take. */
    readonly least: number;
  },
): void {
  if (total === undefined) return;
  if (total < least) throw new ConfigError(`QCOWD_IMAGE_CACHE_BYTES: at least ${least}, for two caches.`);
  const given = Object.entries(parts).flatMap(([name, bytes]) => (bytes === undefined ? [] : [{ name, bytes }]));
  for (const { name, bytes } of given) {
    if (bytes > total) throw new ConfigError(`${name}: at most ${total}, which is QCOWD_IMAGE_CACHE_BYTES.`);
  }
  if (given.length > 1) throw new ConfigError(`QCOWD_IMAGE_CACHE_BYTES: set at most one of its parts beside it.`);
}

function tlsOf({ certFile, keyFile }: { readonly certFile: string | undefined; readonly keyFile: string | undefined }) {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile !== undefined && keyFile !== undefined) return Object.freeze({ certFile, keyFile });
  throw new ConfigError('QCOWD_TLS_CERT_FILE and QCOWD_TLS_KEY_FILE go together: set both, or none.');
}

function oneOf<const Values extends readonly string[]>(values: Values): z.ZodType<Values[number], string> {
  return z.enum(values, { error: `one of ${values.join(', ')}` });
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

function wholeNumber({ min, max }: Bounds): z.ZodType<number, string> {
  return numberThat(`a whole number from ${min} to ${max}`, (value) => value >= min && value <= max);
}

function powerOfTwo({ min, max }: Bounds): z.ZodType<number, string> {
  return numberThat(
    `a power of two from ${min} to ${max}`,
    (value) => value >= min && value <= max && isPowerOfTwo(value),
  );
}

/** One sentence for whatever is wrong with it. */
function numberThat(error: string, isGood: (value: number) => boolean): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,16}$/, { error })
    .transform(Number)
    .refine(isGood, { error });
}

/** `QCOWD_PORT=tcp://…`, `QCOWD_PORT_80_TCP…`, `QCOWD_SERVICE_HOST` … */
function isInjected(key: string, value: string): boolean {
  if (key === 'QCOWD_PORT') return value.startsWith('tcp://');
  return key.startsWith('QCOWD_PORT_') || key.startsWith('QCOWD_SERVICE_');
}

/** The setting, what it may be, and what it is. */
function explainIssue(issue: z.core.$ZodIssue, given: Readonly<Record<string, string | undefined>>): readonly string[] {
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(Settings.shape).join(', ');
    return issue.keys.map((key) => `${key} is no setting. There are: ${known}.`);
  }
  const name = issue.path.join('.');
  return [`${name}: ${issue.message}, not ${JSON.stringify(given[name])}.`];
}
