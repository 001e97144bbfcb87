// Speaks HTTP by the byte, for what well-behaved clients never send.

import { connect } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

/** An answer as it came. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  /** All bytes of the connection, interim answers too. */
  readonly text: string;
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Sends text and reads until the server closes the connection, or for `waitMs`. The last answer counts. */
export async function exchange(
  server: Server,
  request: string,
  options: { readonly waitMs: number },
): Promise<RawAnswer> {
  const socket = connect(portOf(server), '127.0.0.1');
  const pieces: Buffer[] = [];
  const timer = setTimeout(() => socket.destroy(), options.waitMs);
  socket.on('data', (piece) => pieces.push(piece));
  await new Promise<void>((resolve) => {
    socket.on('close', () => resolve());
    socket.on('error', () => resolve());
    socket.write(request);
  });
  clearTimeout(timer);
  return parseAnswer(Buffer.concat(pieces).toString('latin1'));
}

function parseAnswer(text: string): RawAnswer {
  const last = text.slice(Math.max(0, text.lastIndexOf('HTTP/1.1 ')));
  const end = last.indexOf('\r\n\r\n');
  const [line = '', ...lines] = last.slice(0, end).split('\r\n');
  const headers = lines.map((header): [string, string] => {
    const colon = header.indexOf(':');
    return [header.slice(0, colon).toLowerCase(), header.slice(colon + 1).trim()];
  });
  return { status: Number(line.split(' ')[1]), headers: new Map(headers), body: last.slice(end + 4), text };
}
