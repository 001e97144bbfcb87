// The data directory: image files by id, staging files, the catalog's file; publish, unlink, free space.

import type { FileIdentity } from './file-identity.ts';

export declare class DataDirectory {
  readonly catalogPath: string;
  static open(path: string): Promise<DataDirectory>;
  identify(id: string): Promise<FileIdentity | undefined>;
}
