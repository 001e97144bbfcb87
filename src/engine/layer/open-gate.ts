// Decides which files an image may open because its header names them: none, unless the caller listed them.

import { Fault } from '../../base/fault.ts';

/** A file below an image: the name that the header above holds, and the file it stands for. */
export interface BackingFile {
  readonly fileName: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** The only data file that it may name; undefined or left out for none. */
  readonly dataFile?: DataFileSource | undefined;
}

/** The file that an image may keep its data in: the name that its header holds, and the file it stands for. */
export interface DataFileSource {
  readonly fileName: string;
  readonly path: string;
}

/** What a header says about the file below: its name, and the format if it tells one. */
export interface BackingClaim {
  readonly fileName: string;
  readonly format: string | undefined;
}

/** The file that may be opened, and the files that it may open in turn, nearest first. */
export interface Admission {
  readonly file: BackingFile;
  readonly below: readonly BackingFile[];
}

/** The largest number of files below an image: far more than anybody stacks, far less than exhausts descriptors. */
export const chainDepthMax = 200;

/**
 * Admits the first file of `chain` if it is the one that the header names (T81): names are compared as text and never
 * resolved, the format is the caller's and never probed. Faults `backing-refused` with the name and the reason, and
 * `chain-too-deep`.
 */
export function admitBacking(claim: BackingClaim, chain: readonly BackingFile[]): Admission {
  const { fileName } = claim;
  if (chain.length > chainDepthMax) throw new Fault('chain-too-deep', { depth: chain.length, depthMax: chainDepthMax });
  const [file, ...below] = chain;
  if (file === undefined) throw new Fault('backing-refused', { fileName, reason: 'no file may be opened' });
  if (file.fileName !== fileName) {
    throw new Fault('backing-refused', { fileName, reason: 'another file is expected', expected: file.fileName });
  }
  if (claim.format !== undefined && claim.format !== file.format) {
    throw new Fault('backing-refused', { fileName, reason: 'another format is expected', expected: file.format });
  }
  return { file, below };
}

/**
 * Admits the data file that a header names, or the one it means when it stores no name (DAT-03). Fault
 * `data-file-refused` with the name and the reason.
 */
export function admitDataFile(fileName: string | undefined, admitted: DataFileSource | undefined): DataFileSource {
  if (admitted === undefined) throw new Fault('data-file-refused', { fileName, reason: 'no data file may be opened' });
  if (fileName !== undefined && fileName !== admitted.fileName) {
    throw new Fault('data-file-refused', {
      fileName,
      reason: 'another file is expected',
      expected: admitted.fileName,
    });
  }
  return admitted;
}
