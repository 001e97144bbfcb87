// Encrypted images for tests: made and looked at with QEMU's tools, opened with ours.

import { Image } from '../../src/engine/image.ts';
import type { BackingFile, DataFileSource } from '../../src/engine/image.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { qemuImg, runTool } from './qemu-img.ts';

export const passphrase = 'correct horse';
/** What every tool is told before its other options. */
export const secret = ['--object', `secret,id=key,data=${passphrase}`] as const;

/** What `encrypt.*` says beside the secret, such as `cipher-mode=cbc`. */
export type EncryptOptions = Readonly<Record<string, string>>;

/** Makes an encrypted image. */
export function createEncrypted(
  path: string,
  image: {
    readonly format: 'luks' | 'aes';
    readonly encrypt: EncryptOptions;
    readonly options: string;
    readonly size: string;
    /** Whether a backing file is only named, not opened: QEMU would need its secret. */
    readonly isBaseUnread?: boolean;
  },
): void {
  const unread = image.isBaseUnread === true ? ['-u'] : [];
  const encrypt = { 'format': image.format, 'key-secret': 'key', ...image.encrypt };
  const words = Object.entries(encrypt).map(([name, value]) => `encrypt.${name}=${value}`);
  const options = [...words, image.options].filter((word) => word !== '').join(',');
  qemuImg('create', '-q', ...secret, ...unread, '-f', 'qcow2', '-o', options, path, image.size);
}

/** What qemu-img and qemu-io are told to open. */
export function qemuOptions(path: string): string {
  return `driver=qcow2,encrypt.key-secret=key,file.filename=${path}`;
}

/** Runs qemu-io commands over the unlocked image; every one must succeed. */
export function qemuIoEncrypted(path: string, commands: readonly string[]): string {
  const args = [...secret, '-t', 'unsafe', '--image-opts', qemuOptions(path)];
  const answer = runTool('qemu-io', args, `${commands.join('\n')}\nquit\n`);
  const complaint = /^.*(?:failed|error|invalid|not found|No such).*$/im.exec(answer.stdout + answer.stderr);
  if (answer.exit !== 0 || complaint !== null) throw new Error(`qemu-io ${path}: ${complaint?.[0] ?? answer.stderr}`);
  return answer.stdout;
}

/** The exit code of `qemu-img check` over the unlocked image: 0 is clean. */
export function checkEncrypted(path: string): number {
  return runTool('qemu-img', ['check', '-q', ...secret, '--image-opts', qemuOptions(path)], '').exit;
}

/** Runs a qemu-img verb over the unlocked image; it must succeed. */
export function qemuImgEncrypted(verb: string, path: string, ...args: readonly string[]): string {
  return qemuImg(verb, ...secret, ...args, '--image-opts', qemuOptions(path));
}

/** Writes the whole disk as a raw file. */
export function qemuImgConvert(path: string, target: string): void {
  qemuImg('convert', ...secret, '-t', 'unsafe', '-O', 'raw', '--image-opts', qemuOptions(path), target);
}

/** Opens with ours and unlocks. */
export function openUnlocked(
  path: string,
  use: {
    readonly writable: boolean;
    readonly backing: readonly BackingFile[];
    readonly dataFile?: DataFileSource | undefined;
  },
): Image {
  const image = Image.open({ path, ...use, locks: 'qemu', caches: undefined });
  image.unlock(volumeKeyOf(image));
  return image;
}

export function volumeKeyOf(image: Image): Uint8Array {
  return deriveHere(image.findVolumeKey(new TextEncoder().encode(passphrase)));
}
