// Long work: answered as usual when it is over in time, as a job otherwise.

import type { FastifyReply, FastifyRequest } from 'fastify';

import type { FaultCode } from '../src/base/fault-codes.ts';
import { Fault } from '../src/base/fault.ts';
import { sendAnswer } from '../src/http/answer.ts';
import type { Answer } from '../src/http/answer.ts';
import { patienceOf } from '../src/http/preferences.ts';
import { toProblem } from '../src/http/problem.ts';
import type { Job as JobValue, JobKind, JobResults, Services, WorkControl } from '../src/services/services.ts';
import { createdAnswer, imageAnswer, receiptAnswer } from './answers.ts';
import { claimOf } from './claims.ts';
import { passphrasesOf } from './passphrases.ts';
import { ImageParams } from './schemas/common.ts';
import { Job, printJob } from './schemas/jobs.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { json, problemResponse } from './schemas/problem.ts';
import type { JsonResponse } from './schemas/problem.ts';
import { printSnapshot } from './schemas/snapshots.ts';
import { printReport } from './schemas/upkeep.ts';

/** A long work as a route asks for it. */
export interface LongWork<Kind extends JobKind> {
  readonly kind: Kind;
  /** The image by id or name; undefined for one that is only being made. */
  readonly image: string | undefined;
  /** What is needed to do it again after a crash. */
  readonly options: unknown;
  /** From when on it waits; see the service of jobs. */
  readonly waitsFrom: 'now' | 'admission' | 'never';
  /** The idempotency key. */
  readonly key: string | undefined;
  readonly work: (control: WorkControl) => Promise<JobResults[Kind]>;
}

/** Does it; the answer is that of the verb, or 202 with the job when it takes longer than the client waits. */
export async function performWork<Kind extends JobKind>(
  services: Services,
  request: FastifyRequest,
  { work, ...asked }: LongWork<Kind>,
): Promise<Answer> {
  const claim = claimOf(request);
  const passphrases = passphrasesOf(request);
  const { waitMs, applied } = patienceOf(request.headers);
  const waiting = { waitMs, requestId: request.id, claim };
  const outcome = await services.jobs.perform({ ...asked, ...waiting }, (control) => work({ ...control, passphrases }));
  const answer =
    outcome.kind === 'over' ? answers[asked.kind](outcome.value, outcome.imageId) : acceptedAnswer(outcome.job);
  // Who wanted an answer at once and got the usual one has not been followed.
  const followed = asked.waitsFrom !== 'never' && (outcome.kind !== 'over' || waitMs > 0);
  if (applied === undefined || !followed) return answer;
  return { ...answer, headers: { ...answer.headers, 'preference-applied': applied } };
}

/** A long work on the image that the path names. */
interface LongVerbWork<Kind extends JobKind, Options> extends Pick<LongWork<Kind>, 'kind'> {
  /** What is needed to do it again after a crash. */
  readonly options: Options;
  readonly work: (image: string, options: Options, control: WorkControl) => Promise<JobResults[Kind]>;
}

type ImageRequest = FastifyRequest & { readonly params: { readonly image: string } };

/** The same for verbs without more to say. */
export async function answerWork<Kind extends JobKind, Options>(
  services: Services,
  exchange: { readonly request: ImageRequest; readonly reply: FastifyReply },
  { kind, options, work }: LongVerbWork<Kind, Options>,
): Promise<FastifyReply> {
  const { request, reply } = exchange;
  const { image } = request.params;
  const asked = { kind, image, options, waitsFrom: 'now', key: undefined } as const;
  return await sendAnswer(
    reply,
    await performWork(services, request, { ...asked, work: (control) => work(image, options, control) }),
  );
}

/** A job with what it led to. */
export function showJob(job: JobValue): ReturnType<typeof printJob> {
  return printJob(job, { result: resultOf(job), problem: problemOf(job) });
}

/** What the schema of every long verb on an image has, beside its words and its body. */
export function longVerb<Success extends object>(success: Success): LongVerb<Success> {
  return {
    params: ImageParams,
    headers: ClaimHeaders,
    response: { ...success, ...jobResponse(), ...problemResponse() },
  };
}

interface LongVerb<Success> {
  readonly params: typeof ImageParams;
  readonly headers: typeof ClaimHeaders;
  readonly response: Success & ReturnType<typeof jobResponse> & ReturnType<typeof problemResponse>;
}

/** The response of every long verb besides its success. */
export function jobResponse(): { 202: JsonResponse<typeof Job> } {
  return { 202: json('It takes longer than the client waits (`Prefer`): the job, which `Location` names', Job) };
}

/** What each kind answers with. */
const answers: { readonly [Kind in JobKind]: (value: JobResults[Kind], imageId: string) => Answer } = {
  'create': createdAnswer,
  'import': createdAnswer,
  'copy': createdAnswer,
  'compact': (compacted) => ({ status: 200, headers: {}, body: { ...compacted } }),
  'resize': imageAnswer,
  'digest': ({ digest, generation }) => ({
    status: 200,
    headers: {},
    body: { algorithm: 'sha256', digest, generation },
  }),
  'compare': (comparison) => ({ status: 200, headers: {}, body: { ...comparison } }),
  'check': (report) => ({ status: 200, headers: {}, body: printReport(report) }),
  'repair': (report) => ({ status: 200, headers: {}, body: printReport(report) }),
  'empty': imageAnswer,
  'amend': imageAnswer,
  'rebase': imageAnswer,
  'commit': imageAnswer,
  'flatten': imageAnswer,
  'zero': receiptAnswer,
  'discard': receiptAnswer,
  'snapshot-create': (snapshot, imageId) => ({
    status: 201,
    headers: { location: `/v1/images/${imageId}/snapshots/${snapshot.id}` },
    body: printSnapshot(snapshot),
  }),
  'snapshot-delete': () => ({ status: 204, headers: {}, body: undefined }),
  'snapshot-revert': imageAnswer,
};

export const snapshotAnswer = answers['snapshot-create'];

const retryAfterSeconds = 1;

function acceptedAnswer(job: JobValue): Answer {
  const headers = { 'location': `/v1/jobs/${job.id}`, 'retry-after': String(retryAfterSeconds) };
  return { status: 202, headers, body: showJob(job) };
}

function resultOf(job: JobValue): unknown {
  if (job.result === undefined) return undefined;
  // The result is of the job's kind: whoever ended the job has put it there.
  const print = answers[job.kind] as (value: unknown, imageId: string) => Answer;
  return print(job.result, job.imageId ?? '').body;
}

function problemOf(job: JobValue): object | undefined {
  if (job.fault === undefined) return undefined;
  const fault = new Fault(job.fault.code as FaultCode, job.fault.context);
  const instance = job.imageId === undefined ? `/v1/jobs/${job.id}` : `/v1/images/${job.imageId}`;
  return toProblem(fault, { instance, requestId: job.requestId }).body;
}
