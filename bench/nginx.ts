// The peer that sends files without a copy: nginx over one folder. Debian: `apt-get install nginx-light`.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { runCommand } from './processes.ts';

export const isNginxThere = spawnSync('nginx', ['-v']).error === undefined;

export class Nginx {
  readonly port: number;
  readonly #folder: string;
  readonly #words: readonly string[];

  private constructor(folder: string, port: number) {
    this.port = port;
    this.#folder = folder;
    this.#words = ['-p', folder, '-c', join(folder, 'nginx.conf')];
  }

  /** Serves the files of the folder; its own files go there too. One worker, as fast as it is said to be. */
  static async start(folder: string): Promise<Nginx> {
    const port = await freePort();
    writeFileSync(join(folder, 'nginx.conf'), settings(folder, port));
    const nginx = new Nginx(folder, port);
    runCommand('nginx', nginx.#words);
    return nginx;
  }

  /** CPU time of its worker so far. */
  get cpuSeconds(): number {
    const master = readFileSync(join(this.#folder, 'nginx.pid'), 'utf8').trim();
    const [worker = master] = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').trim().split(' ');
    const stat = readFileSync(`/proc/${worker}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }

  end(): void {
    runCommand('nginx', [...this.#words, '-s', 'stop']);
  }
}

const ticksPerSecond = 100;

/** `tcp_nopush` would hold back some answers for 40 ms: that would be no fair peer. */
function settings(folder: string, port: number): string {
  return `worker_processes 1;
daemon on;
user root;
pid ${folder}/nginx.pid;
error_log ${folder}/nginx.err;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  default_type application/octet-stream;
  client_body_temp_path ${folder}/nginx-body;
  proxy_temp_path ${folder}/nginx-proxy;
  fastcgi_temp_path ${folder}/nginx-fastcgi;
  uwsgi_temp_path ${folder}/nginx-uwsgi;
  scgi_temp_path ${folder}/nginx-scgi;
  server { listen 127.0.0.1:${port}; root ${folder}; max_ranges 1; }
}
`;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address === 'object' && address !== null) return address.port;
  throw new Error('no free port');
}
