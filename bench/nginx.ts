import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { answering, end, freePort, run } from './child.ts';
import type { Target } from './target.ts';
import { childrenOf } from './usage.ts';
import { PATH, STATIC_TOKEN } from './wire.ts';

const NGINX = '/usr/sbin/nginx';

export async function nginxVersion(): Promise<string> {
  return /nginx\/(\S+)/.exec(await run(NGINX, ['-v']))?.[1] ?? 'unknown';
}

/** What many put in front of a service today: one static header, no idea who calls. One worker, as one process of ours. */
export async function startNginx(upstream: string, folder: string): Promise<Target> {
  const port = await freePort();
  mkdirSync(join(folder, 'logs'), { recursive: true });
  const config = join(folder, 'nginx.conf');
  writeFileSync(config, configuration(new URL(upstream).host, port, folder));
  const child = spawn(NGINX, ['-p', folder, '-c', config, '-g', 'daemon off;'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${NGINX} did not start`);
  await answering(`http://127.0.0.1:${port}/up`, child);
  return {
    name: 'nginx',
    url: `http://127.0.0.1:${port}${PATH}`,
    token: 'whatever-the-client-has',
    pids: [pid, ...childrenOf(pid)],
    close: () => end(child),
  };
}

function configuration(upstream: string, port: number, folder: string): string {
  const owner = userInfo();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `${owner.uid === 0 ? `user ${owner.username};` : ''}
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/logs/error.log warn;
events { worker_connections 16384; }
worker_rlimit_nofile 16384;
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  keepalive_requests 1000000000;
  upstream service { server ${upstream}; keepalive 512; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /up { return 204; }
    location / {
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer ${STATIC_TOKEN}";
      proxy_max_temp_file_size 0;
      client_max_body_size 10m;
      client_body_buffer_size 64k;
    }
  }
}
`;
}
