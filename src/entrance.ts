// Who may come in, by files that an operator keeps: tokens and a certificate, read at the start and again when asked.

import { readFile } from 'node:fs/promises';

import { StartError } from './base/start-error.ts';
import { AccessTokens, TokenListError } from './services/access-tokens.ts';
import { keepAdminToken } from './store/admin-token.ts';

export interface EntranceOptions {
  readonly tokensFile: string | undefined;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Whether only this machine can reach the address. */
  readonly isLoopback: boolean;
  readonly dataDirectory: string;
  /** So many random bytes. */
  readonly entropy: (length: number) => Buffer;
}

/** PEM, both. */
export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export class Entrance {
  /** Undefined: nobody is asked for a token. */
  readonly tokens: AccessTokens | undefined;
  readonly certificate: Certificate | undefined;
  /** Where the token is that the service made for itself, if it did. */
  readonly adminTokenPath: string | undefined;
  readonly #options: EntranceOptions;

  private constructor(parts: {
    readonly options: EntranceOptions;
    readonly tokens: AccessTokens | undefined;
    readonly certificate: Certificate | undefined;
    readonly adminTokenPath: string | undefined;
  }) {
    this.#options = parts.options;
    this.tokens = parts.tokens;
    this.certificate = parts.certificate;
    this.adminTokenPath = parts.adminTokenPath;
  }

  /** An address that others can reach is never without tokens. Throws {@link StartError}. */
  static async open(options: EntranceOptions): Promise<Entrance> {
    const certificate = await readCertificate(options);
    if (options.tokensFile !== undefined) {
      const text = await readTokens(options.tokensFile);
      const tokens = listOf(options.tokensFile, () => AccessTokens.list(text));
      return new Entrance({ options, tokens, certificate, adminTokenPath: undefined });
    }
    if (options.isLoopback) return new Entrance({ options, tokens: undefined, certificate, adminTokenPath: undefined });
    const { path, token } = await keepAdminToken(options.dataDirectory, () => newToken(options));
    const tokens = AccessTokens.single('admin-token', token);
    return new Entrance({ options, tokens, certificate, adminTokenPath: path });
  }

  /** Reads the list of tokens again; the old one stays when it cannot be used. Throws {@link StartError}. */
  async reloadTokens(): Promise<void> {
    const { tokensFile } = this.#options;
    if (tokensFile === undefined) return;
    const text = await readTokens(tokensFile);
    listOf(tokensFile, () => this.tokens?.replace(text));
  }

  /** Reads the certificate again. Throws {@link StartError}. */
  async rereadCertificate(): Promise<Certificate | undefined> {
    return readCertificate(this.#options);
  }
}

/** In bytes. */
const tokenLength = 32;

function newToken({ entropy }: EntranceOptions): string {
  return `qcowd_${entropy(tokenLength).toString('base64url')}`;
}

async function readTokens(path: string): Promise<string> {
  return (await readSetting('QCOWD_TOKENS_FILE', path)).toString();
}

function listOf<Result>(path: string, parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof TokenListError)) throw error;
    throw new StartError(`QCOWD_TOKENS_FILE: ${path} cannot be used: ${error.message}.`);
  }
}

async function readCertificate({ tls }: EntranceOptions): Promise<Certificate | undefined> {
  if (tls === undefined) return undefined;
  const cert = await readSetting('QCOWD_TLS_CERT_FILE', tls.certFile);
  const key = await readSetting('QCOWD_TLS_KEY_FILE', tls.keyFile);
  return { cert, key };
}

async function readSetting(setting: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(`${setting}: the file cannot be read (${reason}). Correct the path or its permissions.`);
  }
}
